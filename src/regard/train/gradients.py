"""Where the gradient of a step comes from: whole micro-batches, parts of them on several cores, or single examples."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from regard.train.distributed import Processes
from regard.train.optimizer import MasterAdamW
from regard.train.task import Task
from regard.train.workers import Workers


class GradientSource(ABC):
    """Computes gradients and gives them to the optimiser."""

    def __init__(self, task: Task, forward: Any, optimizer: MasterAdamW):
        """
        Args:
            task: knows the batches and the loss.
            forward: the model as it is called, wrapped or compiled.
            optimizer: takes the gradients.
        """
        self.task, self.forward, self.optimizer = task, forward, optimizer

    @abstractmethod
    def compute(self, plans: list[Any]) -> tuple[float, float]:
        """Give the optimiser the gradient of a step over the plans of this process.

        Returns:
            The loss summed over all target tokens of all processes, and how many these are.
        """

    def state_dict(self) -> dict[str, Tensor]:
        """What the next steps depend on beside the weights."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Go on from another's state."""

    def promise(self, steps: int) -> str:
        """What is guaranteed of a run of so many steps, in words; empty where nothing is."""
        return ""

    def close(self) -> None:  # noqa: B027
        """End what was started."""


class Batchwise(GradientSource):
    """One backward pass a micro-batch: on a GPU, over several processes, or compiled."""

    def __init__(self, task: Task, forward: Any, optimizer: MasterAdamW, processes: Processes):
        super().__init__(task, forward, optimizer)
        self.processes = processes

    def compute(self, plans: list[Any]) -> tuple[float, float]:
        """See :meth:`GradientSource.compute`."""
        batches = [self.task.batch(plan) for plan in plans]
        world, device = self.processes.world, self.processes.device
        (tokens,) = self.processes.sum(sum(batch.num_tokens for batch in batches))
        total = torch.zeros((), dtype=torch.float64, device=device)
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with nullcontext() if last or world == 1 else self.forward.no_sync():
                loss = self.task.loss(self.forward, batch.to(device))
                # DistributedDataParallel averages over processes: undo the division
                (loss * (world / tokens)).backward()
            total += loss.detach().double()
        return self.processes.sum(float(total))[0], tokens


class OnWorkers(GradientSource):
    """Every micro-batch divided among the cores of a CPU."""

    def __init__(self, task: Task, forward: Any, optimizer: MasterAdamW, workers: Workers):
        super().__init__(task, forward, optimizer)
        self.workers = workers

    def compute(self, plans: list[Any]) -> tuple[float, float]:
        """See :meth:`GradientSource.compute`."""
        parts = [part for plan in plans for part in self.task.split(plan, self.workers.count)]
        batches = [self.task.batch(part) for part in parts]
        tokens = sum(batch.num_tokens for batch in batches)
        loss, gradients = self.workers.gradients(self.task, self.forward, batches, self.optimizer.parameters, tokens)
        self.optimizer.add(gradients)
        return loss, tokens

    def close(self) -> None:
        """End the threads."""
        self.workers.close()

"""Cores as workers: the examples of a micro-batch divided among threads, each on cores of its own.

PyTorch divides every single operation among the cores and waits for the slowest of them
each time. With the machine to itself that is as fast; beside any other work it is not
(two cores, one of them shared: 1,260 tokens/s against 10,450). The gradients of the
threads are added in a fixed order, so that a run repeats itself bit for bit.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention.dropout import offsets_from
from regard.train.task import Task

#: More threads than this would leave each too few examples, and wait for each other in the interpreter.
MOST_WORKERS = 4


class Workers:
    """Threads that compute gradients."""

    def __init__(self, threads: int):
        """
        Args:
            threads: CPU threads to share out among the workers.
        """
        self.count = min(threads, MOST_WORKERS)
        self._pool = ThreadPoolExecutor(self.count, initializer=_start, initargs=(threads // self.count,))

    def gradients(
        self, task: Task, model: nn.Module, batches: Sequence[Any], parameters: Sequence[Tensor], tokens: float
    ) -> tuple[float, list[Tensor | None]]:
        """The loss summed over ``batches``, and the gradient of that sum divided by ``tokens``.

        Args:
            task: knows the loss.
            model: what to differentiate.
            batches: one is computed by one thread.
            parameters: with respect to which.
            tokens: target tokens of the whole optimiser step.

        Returns:
            The loss, and for each parameter a float32 gradient, or None where the loss does not depend on it.
        """

        def work(batch: Any, seed: int) -> tuple[float, tuple[Tensor | None, ...]]:
            with torch.enable_grad(), offsets_from(seed):
                loss = task.loss(model, batch)
                return float(loss.detach()), torch.autograd.grad(loss / tokens, parameters, allow_unused=True)

        seeds = torch.randint(1 << 62, (len(batches),)).tolist()
        total = 0.0
        sums: list[Tensor | None] = [None] * len(parameters)
        for loss, gradients in self._pool.map(work, batches, seeds):  # in their order, whoever is first
            total += loss
            for i, gradient in enumerate(gradients):
                if gradient is not None:
                    own = sums[i]
                    sums[i] = gradient.float() if own is None else own.add_(gradient)
        return total, sums

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()


def _start(threads: int) -> None:
    # both are settings of the thread, not of the process
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)

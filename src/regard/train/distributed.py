"""The little that the loop needs to know about other processes (started by ``torchrun``)."""

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from regard.base.errors import RegardError

T = TypeVar("T")

# The others wait while the first one prepares the data or validates. A process that dies is noticed at once all the
# same: its connections close, and torchrun ends the rest.
_PATIENCE = timedelta(hours=6)


class Processes:
    """This process's rank among ``world`` of them; a single process needs no set-up."""

    def __init__(self, device: torch.device):
        self.world = int(os.environ.get("WORLD_SIZE", "1"))
        self.rank = int(os.environ.get("RANK", "0"))
        self.here = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        """Processes on this machine."""
        self.device = device
        if self.world > 1 and not dist.is_initialized():
            if device.type == "cuda":
                torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
                self.device = torch.device("cuda", torch.cuda.current_device())
            dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0

    def wrap(self, model: nn.Module, *, leaves_out: bool = False) -> nn.Module:
        """Make backward passes average gradients over all processes; ``leaves_out``: some may have no gradient."""
        return DistributedDataParallel(model, find_unused_parameters=leaves_out) if self.world > 1 else model

    def sum(self, *values: float) -> list[float]:
        """Each value summed over all processes."""
        if self.world == 1:
            return list(values)
        total = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(total)
        return total.tolist()

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """The same small tensor from every process, on the CPU."""
        if self.world == 1:
            return [tensor]
        everyone: list[Any] = [None] * self.world
        dist.all_gather_object(everyone, tensor)
        return everyone

    def first(self, work: Callable[[], T]) -> T:
        """Do ``work`` in the first process while the others wait; its small result, or its failure, is everyone's.

        Raises:
            RegardError: in the other processes, when the first one failed.
        """
        if self.world == 1:
            return work()
        outcome: list[Any] = [None, None]
        error: Exception | None = None
        if self.is_first:
            try:
                outcome[0] = work()
            except Exception as raised:
                error, outcome[1] = raised, f"{type(raised).__name__}: {raised}"
        dist.broadcast_object_list(outcome, src=0)
        if error is not None:
            raise error
        if outcome[1] is not None:
            raise RegardError(f"process {self.rank} stops because the first one failed: {outcome[1]}")
        return outcome[0]

    def close(self) -> None:
        """Leave the group."""
        if self.world > 1 and dist.is_initialized():
            dist.destroy_process_group()

"""What tasks share whose examples a sampler draws: plans of batches, which are arrays of (part, index in part)."""

from typing import Any

import numpy as np

from regard.data.poisson import PoissonSampler
from regard.data.sampler import BatchSampler, seed_of
from regard.train.task import Task


class SampledTask(Task):
    """A task with a sampler; what its plans stand for is left to it."""

    sampler: BatchSampler | PoissonSampler

    def draw(self) -> np.ndarray:
        """The next batch's plan: n×2, part and index in the part."""
        return next(self.sampler)

    def seed_of(self, plan: np.ndarray) -> int:
        """A seed for what is drawn for a plan: another one in each epoch, and the same after a restart."""
        return seed_of(plan, self.sampler.epoch)

    def examples(self, plan: np.ndarray) -> list[np.ndarray]:
        """A plan for each example."""
        return [plan[i : i + 1] for i in range(len(plan))]

    def split(self, plan: np.ndarray, count: int) -> list[np.ndarray]:
        """Every ``count``-th example each: neighbours are of like length."""
        return [plan[i::count] for i in range(min(count, len(plan)))]

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.sampler.epochs

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream stood."""
        self.sampler.load_state_dict(state)

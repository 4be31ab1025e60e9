"""Lots drawn as differential privacy wants them: each example is in a lot or not, whatever the others do."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from regard.base.errors import DataError
from regard.data.dataset import Part


class PoissonSampler:
    """An endless stream of lots, each an n×2 array of (part, index in part); some may be empty."""

    def __init__(self, parts: list[Part], examples: int, *, seed: int):
        """
        Args:
            parts: what to draw from; weights are not looked at.
            examples: how many a lot has on average.
            seed: decides the draws, and must stay secret: who knows who was drawn is promised less privacy.

        Raises:
            DataError: there are fewer examples than a lot should have.
        """
        self.total = sum(len(part.store) for part in parts)
        if self.total < examples:
            raise DataError(f"there are {self.total:,} training examples, fewer than a step takes ({examples:,}).")
        self.parts, self.seed, self.draws = parts, seed, 0
        #: Probability that a lot has an example.
        self.rate = examples / self.total
        self._first = np.cumsum([0, *(len(part.store) for part in parts)])

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        generator = np.random.Generator(np.random.PCG64([self.seed, self.draws]))
        self.draws += 1
        drawn = (generator.random(self.total) < self.rate).nonzero()[0]
        part = np.searchsorted(self._first, drawn, side="right") - 1
        return np.stack([part, drawn - self._first[part]], axis=1)

    @property
    def epochs(self) -> float:
        """How many times an example was drawn on average."""
        return self.draws * self.rate

    @property
    def epoch(self) -> int:
        """The same, complete ones."""
        return int(self.epochs)

    @property
    def batches_in_epoch(self) -> int:
        """Lots until each example was drawn once on average."""
        return round(1 / self.rate)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"draws": self.draws, "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another sampler over the same data stood."""
        self.draws, self.seed = state["draws"], state["seed"]

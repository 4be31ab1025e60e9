"""Which examples make up which batch: shuffled, bucketed by length, filled to a token budget.

Short sequences padded to long ones are most of the cost of careless batching (2.4×
the tokens on Multi30k; 1.01× on the target side here). Batches are made by sorting
on length and then shuffled; the order of an epoch depends on the seed and the epoch
only, so that the state of the sampler is a few numbers.
"""

import hashlib
from collections.abc import Iterator, Sequence, Sized
from typing import Any, Protocol

import numpy as np

from regard.base.errors import DataError


class Drawable(Protocol):
    """What examples are drawn from, such as :class:`regard.data.dataset.Part`."""

    @property
    def store(self) -> Sized:
        """The examples."""
        ...

    @property
    def weight(self) -> float:
        """Times each is seen in an epoch."""
        ...

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and target length of each."""
        ...


def seed_of(plan: np.ndarray, epoch: int) -> int:
    """A seed for what is drawn for a batch; it depends on nothing else, so that a resumed run draws alike."""
    return int.from_bytes(hashlib.blake2b(plan.tobytes(), digest_size=4).digest()) ^ epoch


class BatchSampler:
    """An endless stream of batches, each an n×2 array of (part, index in part)."""

    def __init__(self, parts: Sequence[Drawable], tokens: int, *, seed: int = 0, pool: int = 1 << 20):
        """
        Args:
            parts: what to draw from.
            tokens: real (unpadded) target pieces in a batch; one longer example still makes a batch.
            seed: decides the order.
            pool: examples sorted by length at a time; corpora beyond it are shuffled first.

        Raises:
            DataError: there is nothing to draw from.
        """
        if not any(sum(_copies(len(part.store), part.weight)) for part in parts):
            raise DataError("there are no training examples to draw batches from; look at the weights of the corpora.")
        self.parts, self.tokens, self.seed, self.pool = parts, tokens, seed, pool
        self.epoch = 0
        self.position = 0
        self._lengths = [part.lengths() for part in parts]
        self._planned: tuple[int, list[np.ndarray]] = (-1, [])

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        if self.position >= len(self._batches()):
            self.epoch, self.position = self.epoch + 1, 0
        batch = self._batches()[self.position]
        self.position += 1
        return batch

    def _batches(self) -> list[np.ndarray]:
        """The plan of the present epoch."""
        if self._planned[0] != self.epoch:
            self._planned = (self.epoch, self.plan(self.epoch))
        return self._planned[1]

    @property
    def batches_in_epoch(self) -> int:
        """Number of batches in the present epoch."""
        return len(self._batches())

    @property
    def epochs(self) -> float:
        """Passes over the data so far; a whole number when the last batch of a pass was drawn."""
        return self.epoch + self.position / len(self._batches())

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands."""
        return {"epoch": self.epoch, "position": self.position, "seed": self.seed, "batches": len(self._batches())}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another sampler over the same data stood.

        With another token budget the epoch has other batches; the same share of it then counts as seen.
        """
        self.epoch, self.position, self.seed = state["epoch"], state["position"], state["seed"]
        self._planned = (-1, [])
        count = len(self._batches())
        self.position = round(self.position * count / state.get("batches", count))

    def plan(self, epoch: int) -> list[np.ndarray]:
        """All batches of an epoch, in their order."""
        random = np.random.Generator(np.random.PCG64([self.seed, epoch]))
        drawn = [_draw(len(part.store), part.weight, random) for part in self.parts]
        examples = np.concatenate(
            [np.stack([np.full(len(rows), number), rows], axis=1) for number, rows in enumerate(drawn)]
        )
        sources = np.concatenate([self._lengths[n][0][rows] for n, rows in enumerate(drawn)])
        targets = np.concatenate([self._lengths[n][1][rows] for n, rows in enumerate(drawn)])
        order = random.permutation(len(examples))
        batches: list[np.ndarray] = []
        for start in range(0, len(order), self.pool):
            rows = order[start : start + self.pool]
            # equal lengths are already in random order, and the jitter mixes neighbouring source lengths
            jitter = sources[rows] + random.random(len(rows)) * 0.9
            rows = rows[np.lexsort((jitter, targets[rows]))]
            for cut in _cuts(sources[rows], targets[rows], self.tokens):
                batches.append(examples[rows[cut]])
        return [batches[i] for i in random.permutation(len(batches))]


def _copies(count: int, weight: float) -> tuple[int, int]:
    """How many of ``count`` examples an epoch takes: all of them so many times, and some once more."""
    whole = int(weight)
    return whole * count, round((weight - whole) * count)


def _draw(count: int, weight: float, random: np.random.Generator) -> np.ndarray:
    """Indices of ``count`` examples, each ``weight`` times, rounded down or up at random."""
    _, rest = _copies(count, weight)
    return np.concatenate([np.tile(np.arange(count), int(weight)), random.permutation(count)[:rest]]).astype(np.int64)


def _cuts(sources: np.ndarray, targets: np.ndarray, tokens: int) -> Iterator[slice]:
    """Slices of consecutive examples with at most ``tokens`` target and ``2·tokens`` padded source pieces."""
    start = filled = longest = 0
    for i, (source, target) in enumerate(zip(sources.tolist(), targets.tolist(), strict=True)):
        too_wide = max(longest, source) * (i - start + 1) > 2 * tokens
        if i > start and (filled + target > tokens or too_wide):
            yield slice(start, i)
            start, filled, longest = i, 0, 0
        filled += target
        longest = max(longest, source)
    if start < len(targets):
        yield slice(start, len(targets))

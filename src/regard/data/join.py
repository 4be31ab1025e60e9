"""Longer training examples made of short ones.

A model that has seen single sentences only stops after the first full stop of a
paragraph, or falls into repetition, because longer positions and a sentence end in the
middle never occurred. Joined examples (Kondo et al. 2021, "Sentence concatenation
approach to data augmentation for neural machine translation") mend that at no cost in
data.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import Pair

# Chinese and Japanese, by any of their codes, are written without a space after a stop.
_UNSPACED = frozenset({"zh", "zho", "chi", "cmn", "yue", "ja", "jpn"})
_FINISHED = re.compile(r"[.!?…。！？｡؟।][\"'“”’»›)\]」』）】]*\s*$")


@dataclass(frozen=True)
class JoinConfig:
    """How many joined examples there are, and of which size."""

    share: float = 0.0
    """Joined examples to add, as a share of the pairs: 0.1 adds one for every ten."""
    max_sentences: int = 4
    """Each joins 2 to this many pairs, every number equally often."""
    max_characters: int = 400
    """No joined side is longer; a draw that would be takes fewer pairs, and pairs with a side
    longer than half of this are not joined."""
    seed: int = 0
    """Seed of the draw."""

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 10:
            raise ConfigError(f"share is {self.share}; it must lie in 0 to 10.")
        if self.max_sentences < 2:
            raise ConfigError(f"max_sentences is {self.max_sentences}; joining takes at least 2.")
        if self.max_characters < 20:
            raise ConfigError(f"max_characters is {self.max_characters}; it must be at least 20.")


def join(pairs: Sequence[Pair], config: JoinConfig, source: str, target: str) -> Iterator[Pair]:
    """Yield ``share * len(pairs)`` examples, each of several random pairs joined.

    Pairs are taken that end in a full stop or its like on both sides; where those are
    less than a tenth, any pair is, since captions and verses may have no stops at all.

    Args:
        pairs: the examples to join.
        config: how many and how long.
        source: language code of the first side; zh and ja are joined without a space.
        target: language code of the second side.

    Raises:
        DataError: fewer than two pairs are short enough to be joined.
    """
    count = round(config.share * len(pairs))
    if not count:
        return
    half = (config.max_characters - 1) // 2
    usable = [i for i, pair in enumerate(pairs) if all(side.strip() and len(side) <= half for side in pair)]
    finished = [i for i in usable if all(_FINISHED.search(side) for side in pairs[i])]
    candidates = finished if len(finished) >= max(2, len(usable) // 10) else usable
    if len(candidates) < 2:
        raise DataError(
            f"joining examples needs two pairs of at most {half} characters a side, and of {len(pairs)} pairs "
            f"{len(usable)} are. Raise max_characters, or set share to 0."
        )
    generator = random.Random(config.seed)
    for _ in range(count):
        size = min(generator.randint(2, config.max_sentences), len(candidates))
        joined: Pair | None = None
        for index in generator.sample(candidates, size):
            longer = pairs[index]
            if joined is not None:
                longer = Pair(_glue(joined.source, longer.source, source), _glue(joined.target, longer.target, target))
            if max(map(len, longer)) > config.max_characters:
                break
            joined = longer
        # Two halves always fit.
        assert joined is not None
        yield joined


def _glue(left: str, right: str, language: str) -> str:
    left, right = left.rstrip(), right.lstrip()
    unspaced = re.split("[-_]", language.lower())[0] in _UNSPACED
    # Between two Latin words of a Chinese text there is a space all the same.
    return left + right if unspaced and not (left[-1:].isascii() and right[:1].isascii()) else f"{left} {right}"

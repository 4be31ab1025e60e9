"""Drop the pairs that teach a translation model nothing or the wrong thing, and count why.

Held-out sentences that also stand in the training text make a model look better than it
is, so they are dropped too. Nothing disappears without a number: see :class:`CleanReport`.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from regard.base.errors import ConfigError
from regard.data.chinese import HAN, HANGUL, KANA
from regard.data.corpus import Pair

_UNIT = re.compile(f"[{HAN}{KANA}]|[^\\s{HAN}{KANA}]+")
_HAN = re.compile(f"[{HAN}]")
_SYLLABLE = re.compile(f"[{KANA}{HANGUL}]")
_NO_WORD = re.compile(r"[\W_]+")

# Added to both lengths of a ratio: "Hi." against "Guten Tag!" says nothing, 30 letters
# against 120 do. Measured on English with German, French, Chinese and Japanese: 99.9% of
# the pairs of clean corpora stay below 2.25.
_RATIO_SLACK = 10


@dataclass(frozen=True)
class CleanConfig:
    """Which pairs are dropped."""

    min_length: int = 1
    """Least length of each side in words; a Chinese character or kana counts as a word."""
    max_length: int = 250
    """Greatest length of each side, counted likewise."""
    max_ratio: float = 3.0
    """Greatest ratio of the longer side to the shorter one, in letters; a Chinese character
    counts as three letters, a kana or hangul syllable as two. 0: any ratio."""
    drop_duplicates: bool = True
    """Keep only the first of equal pairs; the same source with another translation stays."""
    drop_identical: bool = True
    """Drop pairs whose target is the source, untranslated."""
    drop_overlap: bool = True
    """Drop pairs that share a side with the development or test set."""

    def __post_init__(self) -> None:
        if self.min_length < 0:
            raise ConfigError(f"min_length is {self.min_length}; it cannot be negative.")
        if self.max_length < max(1, self.min_length):
            raise ConfigError(f"max_length is {self.max_length}; it must be positive and not below min_length.")
        if self.max_ratio != 0 and not self.max_ratio >= 1:
            raise ConfigError(f"max_ratio is {self.max_ratio}; it must be at least 1, or 0 for any ratio.")


REASONS = ("empty", "too short", "too long", "ratio", "identical", "overlap", "duplicate")
"""Why a pair is dropped, in the order of the checks: the first that applies counts."""


@dataclass
class CleanReport:
    """How many pairs were kept and how many dropped for which reason."""

    kept: int = 0
    """Pairs that passed."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Pairs dropped, by one of :data:`REASONS`, or by one that somebody else has."""

    @property
    def total(self) -> int:
        """Pairs read."""
        return self.kept + self.dropped.total()

    def __str__(self) -> str:
        """Return a table with a line for each reason that occurred."""
        rows = [("read", self.total), ("kept", self.kept)]
        reasons = (*REASONS, *(reason for reason in self.dropped if reason not in REASONS))
        rows += [(f"dropped: {reason}", self.dropped[reason]) for reason in reasons if self.dropped[reason]]
        width = max(len(name) for name, _ in rows)
        digits = len(f"{self.total:,}")
        return "\n".join(
            f"{name:<{width}}  {count:>{digits},}  {count / max(self.total, 1):>6.1%}" for name, count in rows
        )


def clean(
    pairs: Iterable[Pair],
    config: CleanConfig,
    held_out: Iterable[Pair] = (),
    report: CleanReport | None = None,
) -> Iterator[Pair]:
    """Yield the pairs worth training on, unchanged and in their order.

    Memory grows by one 64-bit hash a kept pair. Two different sentences share a hash once
    in some 10⁵ corpora of ten million pairs.

    Args:
        pairs: what to clean.
        config: which checks to make.
        held_out: development and test pairs; both of their sides are compared with both
            sides of ``pairs``, without case, punctuation and white space, so that a set
            given in the other direction is found as well.
        report: filled in as the pairs are drawn; complete once the iterator is exhausted.

    Errors: none of its own; those of ``pairs`` pass through.
    """
    report = CleanReport() if report is None else report
    held_out_keys: set[int] = set()
    if config.drop_overlap:
        held_out_keys = {_hash(key) for pair in held_out for side in pair if (key := overlap_key(side))}
    seen: set[int] = set()
    for pair in pairs:
        if reason := _why_not(pair, config, held_out_keys, seen):
            report.dropped[reason] += 1
        else:
            report.kept += 1
            yield pair


def _why_not(pair: Pair, config: CleanConfig, held_out: set[int], seen: set[int]) -> str:
    """Return the reason to drop ``pair``, or an empty string; cheap checks come first."""
    sides = [" ".join(side.split()) for side in pair]
    if not all(sides):
        return "empty"
    lengths = [length_in_words(side) for side in sides]
    if min(lengths) < config.min_length:
        return "too short"
    if max(lengths) > config.max_length:
        return "too long"
    letters = [length_in_letters(side) + _RATIO_SLACK for side in sides]
    if config.max_ratio and max(letters) > config.max_ratio * min(letters):
        return "ratio"
    if config.drop_identical and sides[0] == sides[1]:
        return "identical"
    if held_out and any(_hash(overlap_key(side)) in held_out for side in sides):
        return "overlap"
    if config.drop_duplicates:
        # Last, so that only pairs that are kept take memory.
        key = _hash("\n".join(sides))
        if key in seen:
            return "duplicate"
        seen.add(key)
    return ""


def length_in_words(text: str) -> int:
    """Number of words between white space; each Chinese character or kana is one. Errors: none."""
    return sum(1 for _ in _UNIT.finditer(text))


def length_in_letters(text: str) -> int:
    """Number of characters; a Chinese one counts as three, a kana or hangul syllable as two.

    So counted, a sentence and its translation are about equally long: English is 1.15
    times Chinese and 0.85 times German or French (measured). Errors: none.
    """
    if text.isascii():
        return len(text)
    return len(text) + 2 * len(_HAN.findall(text)) + len(_SYLLABLE.findall(text))


def overlap_key(text: str) -> str:
    """Return ``text`` without case, punctuation and white space; empty where nothing else is there. Errors: none."""
    return _NO_WORD.sub("", text.casefold())


def _hash(text: str) -> int:
    # Python's own hash() differs from run to run. Half a surrogate pair is no UTF-8.
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")

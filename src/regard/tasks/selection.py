"""Which sentences a translator should correct next: those that would teach the model most.

Three reasons, each a number between 0 and 1, are weighed against each other:

- *uncertainty*: the model gave its own translation a low probability (least confidence; Lewis and Gale 1994);
- *novelty*: words and word pairs that stand in no training text (Eck et al. 2005);
- *diversity*: the sentence lies far, in the model's encoder, from what is chosen already. Alone this is greedy
  k-centre (Sener and Savarese 2018); beside the others, maximal marginal relevance (Carbonell and Goldstein 1998).

The same sentences, text and weights give the same choice.
"""

import hashlib
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TYPE_CHECKING, Literal

import numpy as np

from regard.base.errors import ConfigError, DataError
from regard.data.chinese import HAN, KANA
from regard.data.clean import length_in_words
from regard.data.corpus import Pair

if TYPE_CHECKING:
    from regard.tasks.forced import ForcedDecoder
    from regard.tasks.translation import Translator

_WORD = re.compile(f"[{HAN}{KANA}]|[^\\W{HAN}{KANA}]+")
#: Longest n-gram that novelty looks at.
_ORDER = 2
#: Unknown words that a reason names.
_SHOWN = 5

Measure = Literal["log_prob", "entropy"]


@dataclass(frozen=True)
class Weights:
    """How much each reason counts; 0 leaves it out."""

    uncertainty: float = 1.0
    """Of a low probability of the model's own translation."""
    novelty: float = 1.0
    """Of words and word pairs that are in no training text."""
    diversity: float = 1.0
    """Of being unlike what is chosen already."""

    def __post_init__(self) -> None:
        values = [getattr(self, field.name) for field in fields(self)]
        if not all(0 <= value < math.inf for value in values) or not any(values):
            raise ConfigError("the weights of uncertainty, novelty and diversity cannot be negative, nor all be 0.")


@dataclass(frozen=True)
class Candidate:
    """A sentence that may be chosen."""

    text: str
    """The sentence."""
    draft: str
    """What the model makes of it: what a person would correct."""
    doubt: float
    """How unsure the model is: negative mean log-probability of a piece, or mean entropy, in nats."""
    novelty: float
    """Share of its words and word pairs that are not known, 0 to 1."""
    new_words: tuple[str, ...] = ()
    """Its words that are not known."""


@dataclass(frozen=True)
class Chosen:
    """A sentence that was chosen, and why."""

    candidate: Candidate
    """The sentence."""
    gain: float
    """Weighed sum of the three reasons at the moment it was chosen."""
    parts: dict[str, float]
    """The reasons, each from 0 to 1: for uncertainty and novelty, the share of the sentences that have less of it."""

    @property
    def reason(self) -> str:
        """The reasons in words, the weightiest first."""
        c = self.candidate
        words = f": {', '.join(c.new_words[:_SHOWN])}{', …' * (len(c.new_words) > _SHOWN)}" if c.new_words else ""
        told = {
            "uncertainty": f"uncertain ({c.doubt:.2f} nats a piece)",
            "novelty": f"new ({c.novelty:.0%}{words})",
            "diversity": f"unlike those before it ({self.parts.get('diversity', 0):.2f})",
        }
        order = sorted(self.parts, key=lambda name: -self.parts[name])
        return "; ".join(told[name] for name in order if self.parts[name] > 0)


class KnownText:
    """The words and word pairs of training text, as hashes of 64 bits."""

    def __init__(self, texts: Iterable[str] = ()):
        self._hashes = {_hash(gram) for text in texts for order in _grams(text) for gram in order}

    def novelty(self, text: str) -> float:
        """Share of different words that are not known, and of word pairs; the mean of the two."""
        shares = [sum(_hash(g) not in self._hashes for g in order) / len(order) for order in _grams(text) if order]
        return sum(shares) / len(shares) if shares else 0.0

    def new_words(self, text: str) -> tuple[str, ...]:
        """The words that are not known, in the order of the text."""
        return tuple(words[0] for words in _grams(text)[0] if _hash(words) not in self._hashes)


def _grams(text: str) -> list[list[tuple[str, ...]]]:
    """Different sequences of 1 to ``_ORDER`` words; a Chinese character is a word."""
    words = _WORD.findall(text.casefold())
    return [
        list(dict.fromkeys(tuple(words[i : i + n]) for i in range(len(words) - n + 1))) for n in range(1, _ORDER + 1)
    ]


def _hash(words: tuple[str, ...]) -> int:
    data = "\t".join(words).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest())


def candidates(
    translator: "Translator",
    texts: Iterable[str],
    source: str,
    target: str,
    known: KnownText,
    *,
    forced: "ForcedDecoder | None" = None,
    max_words: int = 100,
    chunk: int = 256,
    progress: Callable[[int], None] = lambda lines: None,
    **search: object,
) -> Iterator[Candidate]:
    """The different sentences of a text with what speaks for them.

    Left out are those without a word, and those of more than ``max_words``.

    Args:
        translator: makes the drafts.
        texts: a sentence or more each.
        source: their language.
        target: the drafts' language.
        known: what is not new.
        forced: where given, doubt is the mean entropy that it finds, in place of the negative log-probability.
        max_words: longest sentence.
        chunk: sentences translated together.
        progress: called with the number of sentences done.
        search: how to search: fields of :class:`regard.decode.Options`.

    Raises:
        ConfigError: the model lacks the direction.
    """
    translator.translate([], source, target, **search)
    different, done = _different(texts, max_words), 0
    while together := list(islice(different, chunk)):
        made = [t for t in translator.translate(together, source, target, **search) if t.sentences]
        doubts = [-t.score for t in made]
        if forced is not None:
            judged = forced.judge([Pair(t.source, t.text) for t in made], source, target)
            doubts = [d if j is None else j.entropy for d, j in zip(doubts, judged, strict=True)]
        for t, doubt in zip(made, doubts, strict=True):
            draft = " ".join(t.text.split())
            yield Candidate(t.source, draft, doubt, known.novelty(t.source), known.new_words(t.source))
        done += len(together)
        progress(done)


def _different(texts: Iterable[str], max_words: int) -> Iterator[str]:
    """Each text once and on one line, without the empty and the long ones."""
    seen: set[str] = set()
    for text in texts:
        text = " ".join(text.split())
        if text and text not in seen and length_in_words(text) <= max_words:
            seen.add(text)
            yield text


def choose(
    pool: Sequence[Candidate], count: int, weights: Weights, representations: np.ndarray | None = None
) -> list[Chosen]:
    """Take the sentence with the greatest gain, again and again; of equal ones the first.

    ::

        gain = w₁ · rank(doubt) + w₂ · rank(novelty) + w₃ · min over the chosen of (1 - cos(x, chosen)) / 2

    A rank is the share of the pool that has less of it. The cosines are between representations less their mean:
    all sentences of an encoder lie in one direction. The first sentence is as unlike the others as can be.

    Args:
        pool: what to choose from.
        count: how many to take; all where the pool has no more.
        weights: of the reasons.
        representations: n×D, where each sentence of the pool lies; needed for diversity.

    Raises:
        DataError: the pool is empty.
        ConfigError: diversity counts, and there are no representations.
    """
    if not pool:
        raise DataError("there is no sentence to choose from.")
    base = {
        "uncertainty": weights.uncertainty * _ranks([c.doubt for c in pool]),
        "novelty": weights.novelty * _ranks([c.novelty for c in pool]),
    }
    utility = sum(base.values(), np.zeros(len(pool)))
    units = None
    if weights.diversity:
        if representations is None:
            raise ConfigError("diversity needs the representations of the sentences.")
        units = _directions(representations)
    distance, left = np.ones(len(pool)), np.ones(len(pool), dtype=bool)
    chosen = []
    for _ in range(min(count, len(pool))):
        gains = utility + weights.diversity * distance
        best = int(np.argmax(np.where(left, gains, -np.inf)))
        parts = {name: float(values[best]) for name, values in base.items()}
        parts["diversity"] = float(weights.diversity * distance[best]) if chosen else 0.0
        chosen.append(Chosen(pool[best], float(gains[best]), parts))
        left[best] = False
        if units is not None:
            distance = np.minimum(distance, (1 - units @ units[best]) / 2)
    return chosen


def _ranks(values: Sequence[float]) -> np.ndarray:
    """For each value, the share of the others that are less; equal ones share their places."""
    table = np.asarray(values, dtype=float)
    ordered = np.sort(table)
    less, not_more = np.searchsorted(ordered, table, "left"), np.searchsorted(ordered, table, "right")
    return (less + not_more - 1) / 2 / max(len(table) - 1, 1)


def _directions(representations: np.ndarray) -> np.ndarray:
    """Rows of length 1, after their mean was taken away; one that is the mean stays 0."""
    centred = representations - representations.mean(axis=0)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    return centred / np.where(lengths > 1e-12, lengths, 1)

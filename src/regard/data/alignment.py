"""Word alignment: which words translate each other, learnt from pairs of sentences alone.

A word of the target is taken to come from one word of the source, or from none, and near the place that the
lengths suggest: IBM model 2 with a prior along the diagonal (Dyer, Chahuneau and Smith, 2013, after Brown et al.,
1993), learnt by expectation maximisation in both directions. What both directions agree on is a link (Och and Ney,
2003: the intersection, which is right more often than it is complete).

Everything is arrays over *cells*: a cell is a target word and a source word (or none) of one pair. Ten million cells
take about a second a round and a third of a gigabyte.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

#: How likely a word comes from none.
_NONE = 0.08


@dataclass(frozen=True)
class Lexicon:
    """Words that were linked, and how often. The arrays are parallel, one entry a different link."""

    source_words: list[str]
    """Every word of the source, by id."""
    target_words: list[str]
    """Every word of the target, by id."""
    source: np.ndarray
    """Id of the source word of each link."""
    target: np.ndarray
    """Id of the target word of each link."""
    count: np.ndarray
    """How often the two were linked."""

    @property
    def forward(self) -> np.ndarray:
        """Share of each link among those of its source word: p(target word | source word)."""
        return self.count / np.bincount(self.source, self.count)[self.source]

    @property
    def backward(self) -> np.ndarray:
        """Share of each link among those of its target word: p(source word | target word)."""
        return self.count / np.bincount(self.target, self.count)[self.target]


@dataclass(frozen=True)
class _Side:
    """One language: its words, and all its sentences one after the other."""

    words: list[str]
    ids: np.ndarray
    starts: np.ndarray
    """Where each sentence begins; the last entry is where the last one ends."""


def align(pairs: Iterable[tuple[Sequence[str], Sequence[str]]], *, rounds: int = 5, tension: float = 4.0) -> Lexicon:
    """Learn which words (or pieces) of sentence pairs translate each other.

    Args:
        pairs: sentences as words: source, target. A pair with an empty side says nothing and is left out.
        rounds: of expectation maximisation; as many again place words by the prior too.
        tension: how strongly words keep their places: 0 is model 1, 4 suits European languages.

    Returns:
        The words of all links that both directions agree on, with their counts, most frequent first.
    """
    kept = [pair for pair in pairs if pair[0] and pair[1]]
    source, target = _side([pair[0] for pair in kept]), _side([pair[1] for pair in kept])
    if not kept:
        nothing = np.zeros(0, np.int64)
        return Lexicon([], [], nothing, nothing, nothing)
    to_source = _best(source, target, rounds, tension)
    to_target = _best(target, source, rounds, tension)
    agreed = np.flatnonzero(to_source >= 0)
    agreed = agreed[to_target[to_source[agreed]] == agreed]
    links = source.ids[to_source[agreed]] * len(target.words) + target.ids[agreed]
    found, count = np.unique(links, return_counts=True)
    order = np.argsort(-count, kind="stable")
    found, count = found[order], count[order]
    return Lexicon(source.words, target.words, found // len(target.words), found % len(target.words), count)


def _side(sentences: list[Sequence[str]]) -> _Side:
    numbers: dict[str, int] = {}
    ids = [numbers.setdefault(word, len(numbers)) for sentence in sentences for word in sentence]
    starts = np.concatenate([[0], np.cumsum([len(sentence) for sentence in sentences], dtype=np.int64)])
    return _Side(list(numbers), np.array(ids, dtype=np.int64), starts)


def _best(source: _Side, target: _Side, rounds: int, tension: float) -> np.ndarray:
    """For each word of the target where in ``source.ids`` its most probable source stands; -1 for none."""
    lengths, others = np.diff(source.starts), np.diff(target.starts)
    sentence = np.repeat(np.arange(len(others)), others)
    sizes = lengths[sentence] + 1  # cells of each target word: the sentence's source words, and none
    firsts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    word = np.repeat(np.arange(len(target.ids), dtype=np.int32), sizes)
    offset = np.arange(len(word)) - firsts[word]  # 0 is none
    place = np.where(offset > 0, source.starts[sentence][word] + offset - 1, -1)
    # Source words are counted from 1, since 0 is none.
    keys = np.where(place >= 0, source.ids[place] + 1, 0) * len(target.words) + target.ids[word]
    kinds, kind = np.unique(keys, return_inverse=True)
    kind = kind.astype(np.int32)
    of_source = kinds // len(target.words)
    del keys
    prior = np.ones(len(word), dtype=np.float32)
    table = np.ones(len(kinds))
    for turn in range(2 * rounds):
        if turn == rounds:
            prior = _prior(source, target, sentence, word, offset, firsts, tension)
        share = table[kind] * prior
        share /= np.add.reduceat(share, firsts)[word]
        table = np.bincount(kind, share, minlength=len(kinds))
        table /= np.bincount(of_source, table)[of_source]
    share = table[kind] * prior
    # The first of the cells that reach their word's greatest share.
    reached = np.flatnonzero(share == np.maximum.reduceat(share, firsts)[word])
    chosen = reached[np.unique(word[reached], return_index=True)[1]]
    return place[chosen]


def _prior(
    source: _Side,
    target: _Side,
    sentence: np.ndarray,
    word: np.ndarray,
    offset: np.ndarray,
    firsts: np.ndarray,
    tension: float,
) -> np.ndarray:
    """How probable each cell is by its place alone: most so on the diagonal."""
    lengths, others = np.diff(source.starts), np.diff(target.starts)
    own = (np.arange(len(target.ids)) - target.starts[sentence] + 0.5) / others[sentence]
    away = np.abs((offset - 0.5) / lengths[sentence][word] - own[word])
    weight = np.where(offset > 0, np.exp(-tension * away), 0.0)
    weight *= (1 - _NONE) / np.add.reduceat(weight, firsts)[word]
    return np.where(offset > 0, weight, _NONE).astype(np.float32)

"""Word alignment: against expectation maximisation written out, and on languages made up for it."""

import itertools
import math
import random
from collections import defaultdict

import numpy as np
import pytest

from regard.data import alignment
from regard.data.alignment import align


def linked(pairs: list[tuple[str, str]], **options: float) -> dict[tuple[str, str], int]:
    found = align([(source.split(), target.split()) for source, target in pairs], **options)
    words = zip(found.source, found.target, found.count, strict=True)
    return {(found.source_words[s], found.target_words[t]): int(count) for s, t, count in words}


def test_words_are_told_apart_by_what_they_occur_with() -> None:
    pairs = [("das haus", "the house"), ("das buch", "the book"), ("ein buch", "a book")]
    assert linked(pairs, tension=0) == {("das", "the"): 2, ("haus", "house"): 1, ("buch", "book"): 2, ("ein", "a"): 1}


def test_a_language_in_another_order_is_found_out() -> None:
    generator = random.Random(5)
    words = [f"w{i}" for i in range(40)]
    pairs = []
    for _ in range(600):
        sentence = generator.sample(words, generator.randint(3, 8))
        pairs.append((" ".join(sentence), " ".join(word.upper() for word in reversed(sentence))))
    found = align([(a.split(), b.split()) for a, b in pairs], tension=0)
    right = {(found.source_words[s], found.target_words[t]) for s, t in zip(found.source, found.target, strict=True)}
    assert {(word, word.upper()) for word in words} <= right
    best = found.forward >= 0.9
    assert best.sum() == len(words)
    assert np.allclose(np.bincount(found.source, found.forward), 1)
    assert np.allclose(np.bincount(found.target, found.backward), 1)


def test_nothing_gives_nothing() -> None:
    assert len(align([]).count) == 0
    assert len(align([(["a"], []), ([], ["b"])]).count) == 0


@pytest.mark.parametrize("tension", [0.0, 4.0])
def test_arrays_compute_what_the_formulas_say(tension: float) -> None:
    generator = random.Random(11)
    pairs = [
        (generator.choices("abcdef", k=generator.randint(1, 5)), generator.choices("uvwxyz", k=generator.randint(1, 5)))
        for _ in range(30)
    ]
    source, target = alignment._side([p[0] for p in pairs]), alignment._side([p[1] for p in pairs])
    found = alignment._best(source, target, 3, tension)
    expected = written_out(pairs, 3, tension)
    assert len(found) == len(expected)
    for place, shares in zip(found, expected, strict=True):
        best = max(shares.values())
        assert shares[int(place)] == pytest.approx(best, rel=1e-5)


def written_out(pairs: list[tuple[list[str], list[str]]], rounds: int, tension: float) -> list[dict[int, float]]:
    """For each target word the share of each place in the source (-1: none), by loops."""
    table: defaultdict[tuple[str, str], float] = defaultdict(lambda: 1.0)
    none = "NONE"

    def shares(source: list[str], target: list[str], j: int, with_prior: bool) -> dict[int, float]:
        found = {-1: table[none, target[j]] * (alignment._NONE if with_prior else 1.0)}
        away = [abs((i + 0.5) / len(source) - (j + 0.5) / len(target)) for i in range(len(source))]
        total = sum(math.exp(-tension * d) for d in away)
        for i, word in enumerate(source):
            prior = (1 - alignment._NONE) * math.exp(-tension * away[i]) / total if with_prior else 1.0
            found[i] = table[word, target[j]] * prior
        return {i: share / sum(found.values()) for i, share in found.items()}

    for turn in range(2 * rounds):
        counts: defaultdict[tuple[str, str], float] = defaultdict(float)
        for source, target in pairs:
            for j in range(len(target)):
                for i, share in shares(source, target, j, turn >= rounds).items():
                    counts[none if i < 0 else source[i], target[j]] += share
        totals: defaultdict[str, float] = defaultdict(float)
        for (word, _), count in counts.items():
            totals[word] += count
        table.clear()
        table.update({(word, other): count / totals[word] for (word, other), count in counts.items()})
    starts = [0, *itertools.accumulate(len(source) for source, _ in pairs)]
    return [
        {(start + i if i >= 0 else -1): share for i, share in shares(source, target, j, True).items()}
        for start, (source, target) in zip(starts, pairs, strict=False)
        for j in range(len(target))
    ]

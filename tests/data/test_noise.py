"""What noise does, by hand and by its rates."""

from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.data.noise import corrupt_spans, delete, infill, mask_pieces, permute, spans_at_most

MASK, FIRST = 4, 10
ORDINARY = np.arange(FIRST, 1000)
SENTINELS = np.arange(2000, 2200)


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def text(length: int, seed: int = 0) -> np.ndarray:
    """Pieces without a repetition."""
    return np.random.default_rng(seed).permutation(np.arange(FIRST, FIRST + length))


def within(count: int, total: int, rate: float) -> bool:
    """Whether a count is within four standard deviations of what the rate says."""
    return abs(count - rate * total) <= 4 * (rate * (1 - rate) * total) ** 0.5


# ---- masked language modelling


def test_masking_keeps_the_rates_of_the_paper() -> None:
    random, pieces = generator(), text(200)
    masked = kept = other = 0
    places = np.zeros(200, dtype=int)
    for _ in range(400):
        seen, chosen = mask_pieces(pieces, random, mask=MASK, ordinary=ORDINARY)
        assert len(chosen) == 30  # 15% of 200
        assert np.array_equal(np.delete(seen, chosen), np.delete(pieces, chosen))
        places[chosen] += 1
        masked += int((seen[chosen] == MASK).sum())
        kept += int((seen[chosen] == pieces[chosen]).sum())
        other += int(((seen[chosen] != MASK) & (seen[chosen] != pieces[chosen])).sum())
    total = masked + kept + other
    assert within(masked, total, 0.8)
    assert within(other, total, 0.1 * (1 - 1 / len(ORDINARY)))  # a random piece may be the same one
    assert within(kept, total, 0.1 * (1 + 1 / len(ORDINARY)))
    # every place is as likely: χ² with 199 degrees of freedom has a standard deviation of 20
    assert ((places - 60) ** 2 / (60 * 0.85)).sum() < 199 + 4 * 20


def test_random_pieces_are_ordinary_and_all_of_them_occur() -> None:
    random, found = generator(), set()
    for _ in range(200):
        seen, chosen = mask_pieces(text(20), random, mask=MASK, ordinary=np.arange(5, 9), random_share=1, kept_share=0)
        found |= set(seen[chosen].tolist())
    assert found == {5, 6, 7, 8}


@pytest.mark.parametrize(("length", "count"), [(1, 1), (3, 1), (10, 2), (20, 3)])
def test_at_least_one_piece_is_chosen(length: int, count: int) -> None:
    seen, chosen = mask_pieces(text(length), generator(), mask=MASK, ordinary=ORDINARY, random_share=0, kept_share=0)
    assert len(chosen) == count == (seen == MASK).sum()


def test_whole_words_are_masked_as_wholes() -> None:
    starts = np.array([1, 0, 0, 1, 1, 0, 1, 1, 0, 0, 0, 1], dtype=bool)  # words of 3, 1, 2, 1, 4 and 1 pieces
    words = [{0, 1, 2}, {3}, {4, 5}, {6}, {7, 8, 9, 10}, {11}]
    random, seen_words = generator(), [0] * len(words)
    for _ in range(300):
        _, chosen = mask_pieces(text(12), random, mask=MASK, ordinary=ORDINARY, rate=0.25, word_starts=starts)
        got = set(chosen.tolist())
        for number, word in enumerate(words):
            assert word <= got or not word & got
            seen_words[number] += word <= got
        assert len(got) <= 3
    assert seen_words[4] == 0  # too long for what may be hidden
    assert min(seen_words[:4] + seen_words[5:]) > 0


def test_a_word_longer_than_the_rate_is_hidden_where_there_is_no_other() -> None:
    starts = np.array([0, 0, 0, 0, 0], dtype=bool)  # the rest of a word that was cut
    _, chosen = mask_pieces(text(5), generator(), mask=MASK, ordinary=ORDINARY, word_starts=starts)
    assert chosen.tolist() == [0, 1, 2, 3, 4]


# ---- infilling


def spans_of(pieces: np.ndarray, found: np.ndarray) -> list[int]:
    """The length of each span, where no two masks stand side by side; else those of neighbours as one."""
    lengths, place, run = [], 0, False
    for piece in found:
        if piece == MASK:
            run = True
            continue
        at = int(np.flatnonzero(pieces == piece)[0])
        if run:
            lengths.append(at - place)
        place, run = at + 1, False
    return [*lengths, len(pieces) - place] if run else lengths


def test_infilling_covers_its_share_and_keeps_the_order() -> None:
    random, pieces = generator(), text(100)
    for _ in range(200):
        found = infill(pieces, random, mask=MASK)
        rest = found[found != MASK]
        assert len(rest) == 70
        assert np.array_equal(rest, pieces[np.isin(pieces, rest)])
        assert sum(spans_of(pieces, found)) == 30
        assert len(found) <= len(pieces)


def test_the_lengths_of_spans_are_those_of_a_poisson_distribution() -> None:
    """All but the last of each text, which is made to fit, as the draws were: seen in the number of masks."""
    random, other, pieces = generator(3), generator(4), text(1000)
    found, expected = [], []
    for _ in range(300):
        found.append(int((infill(pieces, random, mask=MASK) == MASK).sum()))
        total = count = 0
        while total < 300:
            total += other.poisson(3)
            count += 1
        expected.append(count)
    error = (np.var(found) / 300 + np.var(expected) / 300) ** 0.5
    assert abs(np.mean(found) - np.mean(expected)) < 4 * error
    assert 0.8 < np.std(found) / np.std(expected) < 1.25
    # single masks that stand for nothing: e⁻³ of the spans
    lengths = [n for seed in range(40) for n in spans_of(pieces, infill(pieces, generator(seed), mask=MASK, rate=0.05))]
    assert within(lengths.count(0), len(lengths), np.exp(-3))


def test_masks_may_stand_anywhere() -> None:
    random, first, last = generator(), 0, 0
    for _ in range(400):
        found = infill(text(10), random, mask=MASK, rate=0.1)  # one piece, one mask: ten arrangements
        assert (found == MASK).sum() == 1
        first += found[0] == MASK
        last += found[-1] == MASK
    assert within(first, 400, 0.1)
    assert within(last, 400, 0.1)


# ---- permutation and deletion


def test_sentences_are_permuted_as_wholes() -> None:
    sentences = [np.array([1, 2]), np.array([3]), np.array([4, 5, 6])]
    seen = {tuple(np.concatenate(permute(sentences, generator(seed))).tolist()) for seed in range(100)}
    assert seen == {
        (1, 2, 3, 4, 5, 6),
        (1, 2, 4, 5, 6, 3),
        (3, 1, 2, 4, 5, 6),
        (3, 4, 5, 6, 1, 2),
        (4, 5, 6, 1, 2, 3),
        (4, 5, 6, 3, 1, 2),
    }


def test_deletion_keeps_its_rate_and_the_order_and_something() -> None:
    random, pieces = generator(), text(50)
    gone = np.zeros(50, dtype=int)
    for _ in range(500):
        found = delete(pieces, random, rate=0.3)
        assert len(found) == 35
        assert np.array_equal(found, pieces[np.isin(pieces, found)])
        gone += ~np.isin(pieces, found)
    assert ((gone - 150) ** 2 / (150 * 0.7)).sum() < 49 + 4 * 10
    assert len(delete(text(1), random, rate=0.9)) == 1


# ---- T5


def put_back(source: np.ndarray, target: np.ndarray) -> list[int]:
    """The text that a source and a target stand for."""
    spans: dict[int, list[int]] = {}
    for piece in target.tolist():
        if piece >= SENTINELS[0]:
            spans[piece] = []
        else:
            spans[list(spans)[-1]].append(piece)
    last = list(spans)[-1]
    assert spans.pop(last) == []
    return [piece for p in source.tolist() for piece in (spans.pop(p) if p >= SENTINELS[0] else [p])]


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 120), st.sampled_from([0.15, 0.5, 0.9]), st.sampled_from([1.0, 3.0, 10.0]), st.integers(0, 99))
def test_source_and_target_make_up_the_text(length: int, rate: float, mean_span: float, seed: int) -> None:
    pieces = text(length)
    source, target = corrupt_spans(pieces, generator(seed), sentinels=SENTINELS, rate=rate, mean_span=mean_span)
    assert put_back(source, target) == pieces.tolist()
    spans = int((source >= SENTINELS[0]).sum())
    assert source[source >= SENTINELS[0]].tolist() == SENTINELS[:spans].tolist()
    assert spans <= spans_at_most(120, rate, mean_span)
    hidden = max(1, min(round(rate * length), length - 1))
    assert len(target) == hidden + spans + 1


def test_span_corruption_keeps_the_rates_of_the_paper() -> None:
    """15% in spans of 3 on average: of 200 pieces 30, in 10 spans, wherever they may fall."""
    random, pieces, hidden = generator(), text(200), np.zeros(200, dtype=int)
    lengths: list[int] = []
    for _ in range(400):
        source, target = corrupt_spans(pieces, random, sentinels=SENTINELS)
        assert (source >= SENTINELS[0]).sum() == 10
        places = np.isin(pieces, target)
        assert places.sum() == 30
        hidden += places
        cuts = np.flatnonzero(target >= SENTINELS[0])
        lengths += np.diff(cuts).tolist()
    shares = np.bincount(np.array(lengths) - 1, minlength=40)[:4] / len(lengths)
    # compositions of 30 into 10 parts, all as likely: P(n) = C(29 - n, 8) / C(29, 9)
    for n, share in enumerate(shares[1:], start=1):
        expected = comb(29 - n, 8) / comb(29, 9)
        assert abs(share - expected) < 4 * (expected / len(lengths)) ** 0.5
    assert hidden[0] == 0  # a text begins with a piece that stays, and ends with a span, as in the paper's code
    assert hidden[-1] == 400


def test_a_text_of_one_piece_is_all_span() -> None:
    source, target = corrupt_spans(np.array([77]), generator(), sentinels=SENTINELS)
    assert source.tolist() == [2000]
    assert target.tolist() == [2000, 77, 2001]


# ---- all of them


@pytest.mark.parametrize("seed", [0, 1])
def test_the_same_generator_gives_the_same_noise(seed: int) -> None:
    pieces = text(60)

    def all_noise() -> list[list[int]]:
        random = generator(seed)
        return [
            *(part.tolist() for part in mask_pieces(pieces, random, mask=MASK, ordinary=ORDINARY)),
            infill(pieces, random, mask=MASK).tolist(),
            delete(pieces, random, rate=0.2).tolist(),
            *(part.tolist() for part in corrupt_spans(pieces, random, sentinels=SENTINELS)),
        ]

    assert all_noise() == all_noise()
    assert pieces.tolist() == text(60).tolist()  # what was given is as it was

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import DataError
from regard.data.sampler import BatchSampler


class Lengths:
    """What a sampler sees of a part."""

    def __init__(self, lengths: list[tuple[int, int]], weight: float = 1.0) -> None:
        self.store, self.weight = lengths, weight

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        table = np.array(self.store, dtype=np.int32).reshape(-1, 2)
        return table[:, 0], table[:, 1]


def sampler(*parts: Lengths, tokens: int = 50, **options: int) -> BatchSampler:
    return BatchSampler(list(parts), tokens, **options)  # type: ignore[arg-type]


def some(count: int, seed: int = 0) -> list[tuple[int, int]]:
    """Lengths as sentences and their translations have them."""
    random = np.random.default_rng(seed)
    targets = np.clip(random.lognormal(2.3, 0.6, count), 1, 100).astype(int)
    sources = np.clip(targets * random.uniform(0.7, 1.4, count), 1, 100).astype(int)
    return list(zip(sources.tolist(), targets.tolist(), strict=True))


parts = st.lists(
    st.builds(
        Lengths,
        st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), max_size=40),
        st.sampled_from([0.2, 0.5, 1.0, 1.5, 2.0, 3.0]),
    ),
    min_size=1,
    max_size=3,
).filter(lambda parts: any(len(p.store) >= 5 for p in parts))


@settings(deadline=None)
@given(parts, st.integers(1, 80), st.integers(1, 100), st.integers(0, 3))
def test_an_epoch_has_each_example_weight_times_in_batches_within_the_budget(
    parts: list[Lengths], tokens: int, pool: int, epoch: int
) -> None:
    batches = sampler(*parts, tokens=tokens, pool=pool, seed=7).plan(epoch)
    seen = Counter((int(part), int(index)) for batch in batches for part, index in batch)
    for number, part in enumerate(parts):
        counts = [seen[number, index] for index in range(len(part.store))]
        assert sum(counts) == int(part.weight) * len(counts) + round(part.weight % 1 * len(counts))
        assert all(int(part.weight) <= count <= int(part.weight) + 1 for count in counts)
    for batch in batches:
        sources, targets = zip(*(parts[part].store[index] for part, index in batch), strict=True)
        assert len(batch) == 1 or sum(targets) <= tokens
        assert len(batch) == 1 or len(batch) * max(sources) <= 2 * tokens


@settings(deadline=None, max_examples=50)
@given(parts, st.integers(1, 60), st.integers(0, 60))
def test_the_state_goes_on_where_it_stood(parts: list[Lengths], tokens: int, taken: int) -> None:
    first, second = sampler(*parts, tokens=tokens, seed=3), sampler(*parts, tokens=tokens, seed=99)
    for _ in range(taken):
        next(first)
    second.load_state_dict(first.state_dict())
    assert second.epochs == first.epochs
    for _ in range(30):
        assert np.array_equal(next(first), next(second))
    assert first.state_dict() == second.state_dict()


def test_states_of_the_first_version_are_read() -> None:
    lengths = Lengths(some(200))
    first, second = sampler(lengths, seed=1), sampler(lengths, seed=1)
    for _ in range(5):
        next(first)
    second.load_state_dict({"epoch": 0, "position": 5, "seed": 1})
    assert np.array_equal(next(first), next(second))


def test_with_another_budget_the_same_share_of_the_epoch_is_seen() -> None:
    lengths = Lengths(some(2000))
    small, large = sampler(lengths, tokens=100), sampler(lengths, tokens=400)
    for _ in range(small.batches_in_epoch // 2):
        next(small)
    large.load_state_dict(small.state_dict())
    assert large.epochs == pytest.approx(0.5, abs=0.02)
    assert large.epoch == 0


def test_the_order_is_that_of_the_seed_and_the_epoch() -> None:
    lengths = Lengths(some(300))
    first, again, other = sampler(lengths, seed=1), sampler(lengths, seed=1), sampler(lengths, seed=2)
    flat = [np.concatenate(s.plan(e)).tolist() for s, e in ((first, 0), (again, 0), (first, 1), (other, 0))]
    assert flat[0] == flat[1]
    assert flat[0] != flat[2]
    assert flat[0] != flat[3]


def test_the_order_stays_what_it_was() -> None:
    """A run that an earlier version began must go on in the same order."""
    first = Lengths([(3 + i * 7 % 11, 2 + i * 5 % 13) for i in range(30)])
    second = Lengths([(1 + i * 3 % 7, 1 + i * 2 % 9) for i in range(20)], weight=1.5)
    plan = sampler(first, second, tokens=40, pool=32, seed=1).plan(2)
    assert [batch.tolist() for batch in plan[:2]] == [[[0, 17], [0, 20], [0, 2]], [[0, 15], [0, 10], [0, 23]]]
    assert len(plan) == 12


def test_fractions_take_another_part_each_epoch() -> None:
    one = sampler(Lengths(some(1000), weight=0.25))
    epochs = [{int(i) for batch in one.plan(epoch) for _, i in batch} for epoch in range(20)]
    assert all(len(epoch) == 250 for epoch in epochs)
    assert len(epochs[0] & epochs[1]) < 100
    assert len(set.union(*epochs)) > 980


def test_the_stream_runs_through_the_epochs() -> None:
    stream = sampler(Lengths(some(100)), tokens=100, seed=5)
    count = stream.batches_in_epoch
    taken = [next(stream) for _ in range(count)]
    assert (stream.epoch, stream.epochs) == (0, 1.0)
    assert all(np.array_equal(a, b) for a, b in zip(taken, stream.plan(0), strict=True))
    assert np.array_equal(next(stream), stream.plan(1)[0])
    assert stream.epoch == 1
    assert 1 < stream.epochs < 1.2


def test_little_is_padding() -> None:
    lengths = some(20_000)
    padded = real = sources = 0
    for batch in sampler(Lengths(lengths), tokens=2000).plan(0):
        rows = np.array([lengths[i] for _, i in batch])
        padded += rows[:, 1].max() * len(rows)
        real += rows[:, 1].sum()
        sources += rows[:, 0].max() * len(rows)
    assert padded / real < 1.02
    assert sources / sum(s for s, _ in lengths) < 1.5


@pytest.mark.parametrize("pool", [100, 1000, 1 << 20])
def test_a_corpus_beyond_the_pool_is_shuffled_whole(pool: int) -> None:
    stream = sampler(Lengths(some(3000)), tokens=200, pool=pool)
    batches = stream.plan(0)
    assert sorted(int(i) for batch in batches for _, i in batch) == list(range(3000))
    # no stretch of the epoch has short sentences only
    lengths = np.array(some(3000))[:, 1]
    means = [lengths[[i for _, i in batch]].mean() for batch in batches]
    quarter = len(means) // 4
    assert abs(np.mean(means[:quarter]) - np.mean(means[-quarter:])) < np.std(means)


@pytest.mark.parametrize(
    "found", [[], [Lengths([])], [Lengths(some(3), weight=0.1)]], ids=["none", "empty", "fraction"]
)
def test_nothing_to_draw_from(found: list[Lengths]) -> None:
    with pytest.raises(DataError, match="no training examples"):
        sampler(*found)


def test_a_part_that_gives_nothing_this_epoch_does_no_harm() -> None:
    assert len(np.concatenate(sampler(Lengths([(3, 3)] * 5), Lengths([(2, 2)], weight=0.1)).plan(0))) == 5

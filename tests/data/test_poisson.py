from pathlib import Path

import numpy as np
import pytest

from regard.base.errors import DataError
from regard.data.dataset import Part
from regard.data.poisson import PoissonSampler


class Store:
    """Something with a length."""

    def __init__(self, count: int):
        self.count = count

    def __len__(self) -> int:
        return self.count


def parts(*counts: int) -> list[Part]:
    return [Part(Store(count)) for count in counts]  # type: ignore[arg-type]


def test_each_example_comes_with_the_same_probability_by_itself() -> None:
    sampler, seen, sizes = PoissonSampler(parts(30, 20), 5, seed=1), np.zeros((4000, 50)), []
    assert sampler.rate == 0.1
    for lot in range(4000):
        plan = next(sampler)
        seen[lot, plan[:, 1] + 30 * plan[:, 0]] = 1
        assert (plan[:, 1] < np.array([30, 20])[plan[:, 0]]).all()
        sizes.append(len(plan))
    four = 4 * (0.1 * 0.9 / 4000) ** 0.5
    assert (np.abs(seen.mean(0) - 0.1) < four).all()
    assert abs(np.var(sizes) - 50 * 0.1 * 0.9) < 0.5  # binomial: nobody's place depends on another's
    correlation = np.corrcoef(seen.T)[~np.eye(50, dtype=bool)]
    assert np.abs(correlation).max() < 5 / 4000**0.5
    assert min(sizes) == 0


def test_it_goes_on_where_another_stood() -> None:
    first = PoissonSampler(parts(40), 8, seed=7)
    for _ in range(5):
        next(first)
    second = PoissonSampler(parts(40), 8, seed=8)
    second.load_state_dict(first.state_dict())
    assert first.epochs == second.epochs == 1.0
    for _ in range(3):
        np.testing.assert_array_equal(next(first), next(second))


def test_a_lot_of_more_than_there_is(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there are 3 training examples, fewer than a step takes"):
        PoissonSampler(parts(3), 4, seed=0)

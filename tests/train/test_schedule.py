import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.train.config import ScheduleConfig
from regard.train.schedule import learning_rate


def rates(steps: int, **settings: object) -> list[float]:
    config = ScheduleConfig(**settings)  # type: ignore[arg-type]
    return [learning_rate(step, config, steps) for step in range(1, steps + 1)]


def test_warm_up_is_a_line_to_the_peak() -> None:
    assert rates(4, peak=0.8, warmup=4) == pytest.approx([0.2, 0.4, 0.6, 0.8])


def test_inverse_square_root() -> None:
    after = rates(100, peak=0.5, warmup=16)[16:]
    assert after == pytest.approx([0.5 * 4 / math.sqrt(step) for step in range(17, 101)])


def test_inverse_square_root_without_warm_up_starts_at_the_peak() -> None:
    assert rates(4, peak=1.0, warmup=0) == pytest.approx([1, 2**-0.5, 3**-0.5, 0.5])


def test_cosine_goes_from_the_peak_to_the_minimum() -> None:
    found = rates(12, kind="cosine", peak=1.0, warmup=2, minimum=0.2)
    assert found[1] == pytest.approx(1.0)
    assert found[6] == pytest.approx(0.6)  # half of the way
    assert found[11] == pytest.approx(0.2)


def test_cosine_stays_at_the_minimum_when_the_run_goes_on() -> None:
    config = ScheduleConfig(kind="cosine", peak=1.0, warmup=2, minimum=0.2)
    assert learning_rate(50, config, 12) == pytest.approx(0.2)


def test_constant() -> None:
    assert rates(5, kind="constant", peak=0.3, warmup=2)[1:] == pytest.approx([0.3] * 4)


def test_the_last_step_may_be_unknown() -> None:
    assert learning_rate(9, ScheduleConfig(peak=0.5, warmup=4), 0) == pytest.approx(0.5 * 2 / 3)
    assert learning_rate(9, ScheduleConfig(kind="constant", peak=0.5, warmup=4), 0) == 0.5


def test_cool_down_is_a_line_that_would_reach_zero_after_the_last_step() -> None:
    found = rates(10, kind="constant", peak=1.0, warmup=0, cooldown=4)
    assert found == pytest.approx([1] * 6 + [0.8, 0.6, 0.4, 0.2])


def test_a_cool_down_longer_than_the_run_takes_all_of_it() -> None:
    assert rates(4, kind="constant", peak=1.0, warmup=0, cooldown=100) == pytest.approx([0.8, 0.6, 0.4, 0.2])


@given(
    st.sampled_from(["inverse_sqrt", "cosine", "constant"]),
    st.integers(0, 50),
    st.integers(0, 50),
    st.integers(1, 200),
)
def test_rates_are_positive_never_above_the_peak_and_fall_after_the_warm_up(
    kind: str, warmup: int, cooldown: int, steps: int
) -> None:
    found = rates(steps, kind=kind, peak=0.01, warmup=warmup, cooldown=cooldown)
    assert all(0 <= rate <= 0.01 * (1 + 1e-9) for rate in found)
    assert all(b <= a * (1 + 1e-9) for a, b in zip(found[warmup:], found[warmup + 1 :], strict=False))
    assert all(rate > 0 for rate in found[:-1])

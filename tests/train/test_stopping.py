import math

import pytest

from regard.base.errors import ConfigError
from regard.train.config import StoppingConfig
from regard.train.stopping import EarlyStopping


def run(values: list[float], *, higher: bool = False, **settings: object) -> EarlyStopping:
    stopping = EarlyStopping(StoppingConfig(**settings), higher)  # type: ignore[arg-type]
    for step, value in enumerate(values, start=1):
        stopping.update({"loss": value}, step)
    return stopping


@pytest.mark.parametrize(
    ("values", "higher", "exhausted", "best_step"),
    [
        ([3, 2, 1], False, False, 3),
        ([3, 2, 2.5], False, False, 2),
        ([3, 2, 2.5, 2.1], False, True, 2),
        ([3, 2, 2.5, 1.9, 2.0], False, False, 4),
        ([3, 2, 2], False, False, 2),  # as good is not better
        ([1, 2, 1.5, 1.9], True, True, 2),
        ([-1, -2, -3], True, True, 1),
        ([math.nan, math.nan], False, True, 0),
        ([math.nan, 3, math.nan], False, False, 2),
    ],
)
def test_patience(values: list[float], higher: bool, exhausted: bool, best_step: int) -> None:
    stopping = run(values, higher=higher, patience=2)
    assert stopping.exhausted == exhausted
    assert stopping.best_step == best_step


def test_small_improvements_do_not_count() -> None:
    assert run([3.0, 2.95, 2.91], patience=2, min_delta=0.1).exhausted
    assert not run([3.0, 2.95, 2.89], patience=2, min_delta=0.1).exhausted


def test_without_patience_it_never_stops() -> None:
    assert not run([1, 2, 3, 4, 5]).exhausted


def test_the_state_survives() -> None:
    first = run([3, 2, 2.5], patience=2)
    second = EarlyStopping(first.config, False)
    second.load_state_dict(first.state_dict())
    second.update({"loss": 2.4}, 4)
    assert second.exhausted
    assert (second.best, second.best_step) == (2, 2)


def test_a_metric_that_is_not_measured_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'chrff', which validation does not measure\. Did you mean 'chrf'"):
        EarlyStopping(StoppingConfig(metric="chrff"), True).score({"chrf": 1.0})

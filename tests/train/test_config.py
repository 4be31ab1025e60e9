from typing import Any

import pytest

from regard.base.errors import ConfigError
from regard.train.config import ScheduleConfig, StoppingConfig, TrainConfig


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "set steps, minutes or epochs"),
        ({"steps": -1}, "steps is -1"),
        ({"steps": 1, "tokens": 0}, "tokens is 0; it must be at least 1"),
        ({"steps": 1, "accumulate": 0}, "accumulate"),
        ({"steps": 1, "log_every": 0}, "log_every"),
        ({"steps": 1, "checkpoint_every": 0}, "checkpoint_every"),
        ({"steps": 1, "validate_every": -1}, "validate_every"),
        ({"steps": 1, "seed": -1}, "seed"),
        ({"minutes": float("nan")}, "minutes"),
        ({"minutes": float("inf")}, "minutes"),
        ({"steps": 1, "clip": -1.0}, "clip"),
        ({"steps": 1, "weight_decay": -0.1}, "weight_decay"),
        ({"steps": 1, "eps": 0.0}, "eps"),
        ({"steps": 1, "betas": (0.9, 1.0)}, "betas"),
        ({"steps": 1, "label_smoothing": 1.0}, "label_smoothing"),
        ({"steps": 1, "ema": 1.0}, "ema"),
        ({"steps": 1, "final": "ema"}, "final: ema needs ema"),
        ({"steps": 1, "final": "average_last"}, "keep_last of at least 2"),
        ({"steps": 1, "final": "average_best"}, "keep_best"),
        ({"steps": 1, "keep_last": 0}, "keep_last"),
        ({"steps": 1, "keep_best": 1, "validate_every": 0}, "need validate_every"),
        ({"steps": 1, "stopping": StoppingConfig(patience=2), "validate_every": 0}, "need validate_every"),
        ({"minutes": 1, "schedule": ScheduleConfig(kind="cosine")}, "set steps"),
        ({"minutes": 1, "schedule": ScheduleConfig(cooldown=10)}, "set steps"),
    ],
)
def test_what_cannot_be_or_has_no_effect_is_an_error(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TrainConfig(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"peak": 0.0}, "peak"),
        ({"warmup": -1}, "warmup"),
        ({"cooldown": -1}, "cooldown"),
        ({"minimum": 1e-4}, "no effect with kind: inverse_sqrt"),
        ({"kind": "cosine", "minimum": 1.0}, "at most 0.001"),
        ({"kind": "cosine", "minimum": 1e-4, "cooldown": 5}, "set one of the two"),
    ],
)
def test_schedules(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ScheduleConfig(**settings)


@pytest.mark.parametrize("settings", [{"patience": -1}, {"min_delta": 0.1}, {"patience": 1, "min_delta": -1.0}])
def test_stopping(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"patience|min_delta"):
        StoppingConfig(**settings)


@pytest.mark.parametrize("end", [{"steps": 1}, {"minutes": 0.5}, {"epochs": 1}])
def test_any_end_will_do(end: dict[str, Any]) -> None:
    assert TrainConfig(**end)

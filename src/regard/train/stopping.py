"""Early stopping, with a state that survives a restart."""

from typing import Any

from regard.base.errors import ConfigError, did_you_mean
from regard.train.config import StoppingConfig


class EarlyStopping:
    """Counts validations without improvement of one metric."""

    def __init__(self, config: StoppingConfig, higher_is_better: bool):
        self.config, self.higher = config, higher_is_better
        self.best: float | None = None
        self.best_step = 0
        self.bad = 0

    def update(self, metrics: dict[str, float], step: int) -> bool:
        """Take in a validation; returns whether it is the best so far.

        Raises:
            ConfigError: the watched metric is not among ``metrics``.
        """
        if self.config.metric not in metrics:
            raise ConfigError(
                f"stopping.metric '{self.config.metric}' is not measured in validation."
                + did_you_mean(self.config.metric, metrics)
            )
        value = metrics[self.config.metric]
        gain = 0.0 if self.best is None else (value - self.best if self.higher else self.best - value)
        if self.best is None or gain > self.config.min_delta:
            self.best, self.best_step, self.bad = value, step, 0
            return True
        self.bad += 1
        return False

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return bool(self.config.patience) and self.bad >= self.config.patience

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best, "best_step": self.best_step, "bad": self.bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best, self.best_step, self.bad = state["best"], state["best_step"], state["bad"]

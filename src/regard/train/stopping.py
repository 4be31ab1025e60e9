"""Early stopping, with a state that survives a restart."""

import math
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

    def score(self, metrics: dict[str, float]) -> float:
        """The watched metric.

        Raises:
            ConfigError: it is not among ``metrics``.
        """
        name = self.config.metric
        if name not in metrics:
            raise ConfigError(
                f"stopping.metric is '{name}', which validation does not measure.{did_you_mean(name, metrics)}"
            )
        return metrics[name]

    def update(self, metrics: dict[str, float], step: int) -> None:
        """Take in a validation; a value that is not a number is no improvement."""
        value = self.score(metrics)
        best = math.inf * (-1 if self.higher else 1) if self.best is None else self.best
        if (value - best if self.higher else best - value) > self.config.min_delta:
            self.best, self.best_step, self.bad = value, step, 0
        else:
            self.bad += 1

    @property
    def exhausted(self) -> bool:
        """Whether patience has run out."""
        return bool(self.config.patience) and self.bad >= self.config.patience

    def verdict(self) -> str:
        """Why to stop, in words; empty where patience has not run out."""
        if not self.exhausted:
            return ""
        best = "none" if self.best is None else f"{self.best:.4f} at step {self.best_step:,}"
        return f"{self.config.metric} has not improved in {self.bad} validations (best: {best})"

    def state_dict(self) -> dict[str, Any]:
        """The best validation and how many came after it, as JSON values."""
        return {"best": self.best, "best_step": self.best_step, "bad": self.bad}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on counting from another's state."""
        self.best, self.best_step, self.bad = state["best"], state["best_step"], state["bad"]

"""What the trainer must be told to train something: the seam between the loop and a job."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from torch import Tensor, nn


class Task(ABC):
    """A source of batches, a loss on them, and a way to judge the model."""

    #: Whether a larger value of a validation metric is better; others count as losses.
    higher_is_better: frozenset[str] = frozenset({"bleu", "chrf", "accuracy"})

    @abstractmethod
    def draw(self) -> Any:
        """Advance the stream by one micro-batch and return its plan: what is in it, cheaply."""

    @abstractmethod
    def batch(self, plan: Any) -> Any:
        """Turn a plan into tensors; has ``num_tokens`` and ``to(device)``."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss summed over ``batch.num_tokens`` tokens, by one call of ``model``."""

    @abstractmethod
    def describe(self, plan: Any) -> str:
        """Name the examples of a plan, for the message when a batch breaks the training."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Judge ``model`` (in evaluation mode, holding the weights to judge). Must draw no random numbers."""
        return {}

    @abstractmethod
    def save(self, folder: Path, weights: dict[str, Tensor], history: list[dict[str, float]]) -> None:
        """Write the finished model, with everything that using it takes, into the empty ``folder``."""

    @property
    @abstractmethod
    def epoch(self) -> int:
        """Passes over the data that are complete."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream over the same data stood."""

"""What the trainer must be told to train something: the seam between the loop and a job."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Outcome:
    """What a run came to; the task makes the model folder of it."""

    weights: dict[str, Tensor]
    """Float32 weights of the model, by name."""
    chosen: str
    """Which weights these are, in words."""
    metrics: dict[str, float]
    """What validation says of them; empty where it was not asked."""
    history: list[dict[str, float]]
    """A record for each progress line and each validation (whose values begin with ``valid_``)."""
    steps: int
    """Optimiser steps taken."""
    tokens: int
    """Target tokens trained on."""
    minutes: float
    """Time spent in steps."""
    device: str
    """The hardware's name."""
    promise: str = ""
    """What is guaranteed of the run, in words, such as its privacy."""


class Task(ABC):
    """A source of batches, a loss on them, and a way to judge the model."""

    #: Whether a larger value of a validation metric is better; others count as losses.
    higher_is_better: frozenset[str] = frozenset({"bleu", "chrf", "accuracy"})
    #: Whether a loss may not depend on some of the trained weights, where layers are left out at random.
    leaves_out: bool = False
    #: Probability with which :meth:`draw` takes each example, where it takes each by itself.
    sample_rate: float | None = None

    @abstractmethod
    def draw(self) -> Any:
        """Advance the stream by one micro-batch and return its plan: what is in it, cheaply."""

    @abstractmethod
    def batch(self, plan: Any) -> Any:
        """Turn a plan into tensors; has ``num_tokens`` and ``to(device)``. The same plan gives the same batch."""

    def split(self, plan: Any, count: int) -> list[Any]:
        """Divide a plan into at most ``count`` plans of about equal work, none of them empty."""
        return [plan]

    @abstractmethod
    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The loss summed over ``batch.num_tokens`` tokens, by one call of ``model``.

        On a CPU several threads call it at once: random numbers come from :class:`regard.attention.Dropout` only.
        """

    @abstractmethod
    def examples(self, plan: Any) -> Sequence[Any]:
        """A plan for each single example of ``plan``, to find the one that breaks the training."""

    @abstractmethod
    def describe(self, plan: Any) -> str:
        """Name the examples of a plan, so that a person finds them."""

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Judge ``model`` (in evaluation mode, holding the weights to judge); runs in the first process only."""
        return {}

    @abstractmethod
    def save(self, folder: Path, outcome: Outcome) -> None:
        """Write the finished model, with everything that using it takes, into the empty ``folder``."""

    def adjust(self, step: int, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:  # noqa: B027
        """Look at a step that was just taken, and change the weights in place where the method wants it.

        Args:
            step: which one, from 1.
            weights: float32 trainable weights after the step, by name.
            gradients: what the step was taken on, by name.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What :meth:`adjust` remembers, for a checkpoint."""
        return {}

    def load_tensors(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:  # noqa: B027
        """Go on from what :meth:`tensors` gave, on ``device``; the tensors are copied, never shared."""

    @property
    @abstractmethod
    def epochs(self) -> float:
        """Passes over the data so far; whole when one is complete."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, as JSON values."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream over the same data stood."""

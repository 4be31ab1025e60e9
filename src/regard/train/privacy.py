"""Differential privacy: what a single example can do to the weights is bounded, and drowned in noise.

DP-SGD (Abadi et al. 2016, algorithm 1), for a lot L into which each example comes with probability q::

    g = 1/(qN) · ( Σ_{i∈L} gᵢ · min(1, C/‖gᵢ‖) + σ C · 𝒩(0, I) )

gᵢ is the gradient of the mean loss of the target tokens of example i over all trained weights. Whatever is made of g
afterwards (Adam, clipping, averages) costs no privacy. What a run costs in all, (ε, δ), is what Opacus' Rényi
accountant says (Mironov et al. 2019).

The noise and the draws come from seeds of the system's own, not from ``train.seed``: who knows them could take the
noise off again.
"""

import importlib.util
import secrets
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from regard.base.errors import ConfigError
from regard.train.config import PrivacyConfig
from regard.train.gradients import GradientSource
from regard.train.optimizer import MasterAdamW
from regard.train.task import Task


def check_accountant(config: PrivacyConfig | None) -> None:
    """Find out before any work is done whether privacy can be accounted for.

    Raises:
        ConfigError: Opacus is not installed.
    """
    if config is not None and importlib.util.find_spec("opacus") is None:
        raise ConfigError(
            "train.privacy needs Opacus to say how private a run is. Install it (pip install 'regard[private]')."
        )


def spent(noise: float, rate: float, steps: int, delta: float) -> float:
    """ε after ``steps`` steps.

    Args:
        noise: σ.
        rate: q, probability that an example is in a lot.
        steps: how many.
        delta: δ.
    """
    from opacus.accountants import RDPAccountant

    accountant = RDPAccountant()
    accountant.history = [(noise, rate, steps)]
    with warnings.catch_warnings():  # that a bound may be looser than need be
        warnings.simplefilter("ignore")
        return float(accountant.get_epsilon(delta))


def noise_for(epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The σ with which ``steps`` steps cost at most ``epsilon``.

    Raises:
        ConfigError: no reasonable one is enough.
    """
    from opacus.accountants.utils import get_noise_multiplier

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return float(
                get_noise_multiplier(
                    target_epsilon=epsilon, target_delta=delta, sample_rate=rate, steps=steps, accountant="rdp"
                )
            )
        except ValueError as error:
            raise ConfigError(
                f"train.privacy: no noise makes {steps:,} steps cost at most ε = {epsilon:g}; allow more, "
                "or take fewer steps or smaller lots."
            ) from error


class Private(GradientSource):
    """Gradients of single examples: clipped, added up, and noise on top."""

    def __init__(
        self, task: Task, forward: Any, optimizer: MasterAdamW, config: PrivacyConfig, steps: int, device: torch.device
    ):
        """
        Args:
            task: draws each example with the probability ``task.sample_rate``.
            forward: the model.
            optimizer: takes the gradients.
            config: clipping, noise or budget.
            steps: of the whole run, which a budget is meant for.
            device: of the model.

        Raises:
            ConfigError: the task draws in another way, or no noise keeps to the budget.
        """
        super().__init__(task, forward, optimizer)
        if task.sample_rate is None:
            raise ConfigError("train.privacy needs examples that are drawn one by one, which this task does not do.")
        self.config, self.device, self.rate = config, device, task.sample_rate
        self.noise = config.noise or noise_for(config.epsilon, self.rate, steps, config.delta)
        self.generator = torch.Generator().manual_seed(secrets.randbits(63))

    def compute(self, plans: list[Any]) -> tuple[float, float]:
        """See :meth:`GradientSource.compute`."""
        parameters = self.optimizer.parameters
        sums = [torch.zeros_like(master) for master in self.optimizer.masters]
        total, tokens = 0.0, 0
        for example in (example for plan in plans for example in self.task.examples(plan)):
            batch = self.task.batch(example)
            loss = self.task.loss(self.forward, batch.to(self.device))
            gradients = torch.autograd.grad(loss / batch.num_tokens, parameters, allow_unused=True)
            add_clipped(sums, gradients, self.config.clip)
            total, tokens = total + float(loss.detach()), tokens + batch.num_tokens
        for value in sums:
            drawn = torch.randn(value.shape, generator=self.generator)
            value.add_(drawn.to(value.device), alpha=self.noise * self.config.clip).div_(self.config.examples)
        self.optimizer.add(sums)
        return total, tokens

    def state_dict(self) -> dict[str, Tensor]:
        """Where the noise stands, and what all steps have in common."""
        return {"generator": self.generator.get_state(), "terms": self._terms}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on with another's noise.

        Raises:
            ConfigError: the steps so far were taken on other terms, of which the promise would not hold.
        """
        if "terms" not in state or not torch.equal(state["terms"], self._terms):
            raise ConfigError(
                "the run so far has other noise, clipping or sampling; leave train.privacy, and train.steps where "
                "epsilon is given, as they were, or set another output."
            )
        self.generator.set_state(state["generator"].cpu())

    @property
    def _terms(self) -> Tensor:
        return torch.tensor([self.noise, self.config.clip, self.rate], dtype=torch.float64)

    def promise(self, steps: int) -> str:
        """The guarantee after ``steps`` steps."""
        delta = self.config.delta
        return (
            f"({spent(self.noise, self.rate, steps, delta):.2f}, {delta:g})-differentially private for one training "
            f"example (noise {self.noise:.3f}, clipped at {self.config.clip:g}, {steps:,} steps with sampling rate "
            f"{self.rate:.4g}; Rényi accountant of Opacus)"
        )


def add_clipped(sums: Sequence[Tensor], gradients: Sequence[Tensor | None], most: float) -> None:
    """Add an example's gradients to ``sums``, made shorter where they are longer than ``most`` all together."""
    present = [(value, g.to(value.dtype)) for value, g in zip(sums, gradients, strict=True) if g is not None]
    norm = torch.nn.utils.get_total_norm([gradient for _, gradient in present])
    factor = (most / norm.clamp_min(1e-12)).clamp_max(1.0)
    for value, gradient in present:
        value.add_(gradient * factor)

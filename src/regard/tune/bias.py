"""Bias-only tuning (BitFit, Ben Zaken et al. 2022): nothing learns but the biases of layers and normalisations.

What is kept is the change of each bias, zero at first.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.tune.method import Delta, Method, adapt, choose, places


@dataclass(frozen=True)
class Bias(Method):
    """A change of each bias."""

    name: ClassVar[str] = "bias"

    targets: tuple[str, ...] = ("*",)
    """Modules whose biases to tune: names or patterns, such as decoder.* or norm; by default all that have one."""

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        biased = {n: m for n, m in places(model, nn.Linear, nn.LayerNorm) if m.bias is not None}
        if not biased:
            raise ConfigError("this model has no biases to tune (bias: false, norm: rmsnorm); take another method.")
        for place in choose(biased, self.targets):
            adapt(model, place, adapter, BiasDelta(biased[place]))


class BiasDelta(Delta):
    """A vector added to the output of one module."""

    can_merge = True

    def __init__(self, module: nn.Module):
        super().__init__()
        assert isinstance(module.bias, Tensor)
        self.shift = nn.Parameter(torch.zeros_like(module.bias))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """…×out to …×out."""
        return self.shift.expand_as(y)

    def change(self) -> dict[str, Tensor]:
        """See :meth:`Delta.change`."""
        return {"bias": self.shift}

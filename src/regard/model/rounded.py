"""Quantisation-aware training (Jacob et al. 2018): the products of the native engine's int8, with gradients.

The engine rounds each row of a weight matrix, and each row of its input, to 255 levels around zero::

    s = max |x| / 127        x̂ = s · round(x / s)        y = x̂ Ŵᵀ + b

On processors without VNNI it rounds inputs to 128 levels from the lowest to the highest instead; a model is trained
for the first kind, since it will run on either. Training through that rounding, whose gradient is taken for 1
(straight through, Bengio et al. 2013), finds weights that lose less by it.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class _RoundRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # type: ignore[override]
        scale = x.abs().amax(dim=-1, keepdim=True) / 127
        scale = torch.where(scale == 0, torch.ones_like(scale), scale)
        return torch.round(x / scale).clamp_(-127, 127) * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        return gradient


def round_rows(x: Tensor) -> Tensor:
    """…×D to …×D, each row on the 255 levels that int8 has for it; the gradient goes straight through."""
    return _RoundRows.apply(x)  # type: ignore[return-value]


def round_inputs(x: Tensor) -> Tensor:
    """…×D to …×D: rows that are multiplied with a weight matrix."""
    return round_rows(x)


class RoundedLinear(nn.Linear):
    """A linear layer that computes as the native engine does in int8."""

    def forward(self, input: Tensor) -> Tensor:
        """…×in to …×out."""
        return F.linear(round_inputs(input), round_rows(self.weight), self.bias)


class RoundedEmbedding(nn.Embedding):
    """A table whose rows are those that the native engine has in int8."""

    def forward(self, input: Tensor) -> Tensor:
        """Ids … to …×D."""
        return round_rows(super().forward(input))


def round_products(model: nn.Module) -> None:
    """Make all linear layers and tables of ``model`` compute as the native engine does in int8.

    The parameters stay the same objects under the same names: what shares one goes on to.
    """
    for module in model.modules():
        # the class is all that differs; a copy of each layer would have to be given every parameter and hook
        if type(module) is nn.Linear:
            module.__class__ = RoundedLinear
        elif type(module) is nn.Embedding:
            module.__class__ = RoundedEmbedding


def inputs_of(head: nn.Linear, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Hidden states and weight of the vocabulary head, rounded where it rounds: for who multiplies them itself."""
    if isinstance(head, RoundedLinear):
        return round_inputs(hidden), round_rows(head.weight)
    return hidden, head.weight

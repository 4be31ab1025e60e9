"""From scores to weights: softmax, and three that give exactly zero to what does not matter.

Each maps the last dimension of its input to numbers that are not negative and sum to 1.
A score of -inf, or one far below the others, gets the weight 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Normaliser = Callable[[Tensor], Tensor]


def softmax(scores: Tensor) -> Tensor:
    """exp(zᵢ) / Σⱼ exp(zⱼ)."""
    return torch.softmax(scores, dim=-1)


def sparsemax(scores: Tensor) -> Tensor:
    """The nearest point of the simplex, max(zᵢ - τ, 0) (Martins and Astudillo 2016, equation 3)."""
    return _Sparsemax.apply(scores)  # type: ignore[return-value]


def entmax15(scores: Tensor) -> Tensor:
    """1.5-entmax, max(zᵢ/2 - τ, 0)², between softmax and sparsemax (Peters et al. 2019, section 3.1)."""
    return _Entmax15.apply(scores)  # type: ignore[return-value]


@dataclass(frozen=True)
class TopK:
    """Softmax over the k highest scores, 0 elsewhere (Zhao et al. 2019, Explicit Sparse Transformer)."""

    k: int
    """How many keys may have a weight."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise ValueError(f"TopK keeps at least one key, got k={self.k}")

    def __call__(self, scores: Tensor) -> Tensor:
        if scores.shape[-1] <= self.k:
            return torch.softmax(scores, dim=-1)
        kept = scores.detach().topk(self.k, dim=-1).indices
        dropped = torch.ones_like(scores, dtype=torch.bool).scatter_(-1, kept, False)
        return torch.softmax(scores.masked_fill(dropped, float("-inf")), dim=-1)


def _sorted_wide(scores: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    """Scores, times ``factor``, in at least float32, the highest at 0 and none below -2; and the same in order.

    The threshold is at least -1, so what is cut has no weight either way, and the sums are spared -inf.
    """
    wide = scores if scores.dtype == torch.float64 else scores.float()
    if not scores.shape[-1]:
        return wide, wide
    wide = ((wide - wide.amax(-1, keepdim=True)) * factor).clamp(min=-2.0)
    return wide, wide.sort(dim=-1, descending=True).values


def _threshold(candidates: Tensor, inside: Tensor) -> Tensor:
    """The candidate at the size of the support, which is how many scores are ``inside``."""
    return candidates.gather(-1, inside.sum(-1, keepdim=True) - 1)


class _Sparsemax(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        wide, ordered = _sorted_wide(scores, 1.0)
        if not scores.shape[-1]:
            return scores.clone()
        size = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=wide.dtype)
        total = ordered.cumsum(-1)
        threshold = _threshold((total - 1) / size, 1 + size * ordered > total)
        weights = (wide - threshold).clamp(min=0).to(scores.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        (weights,) = ctx.saved_tensors
        support = (weights > 0).to(weights.dtype)
        inside = gradients[0] * support  # proposition 2
        return inside - support * (inside.sum(-1, keepdim=True) / support.sum(-1, keepdim=True))


class _Entmax15(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, scores: Tensor) -> Tensor:
        wide, ordered = _sorted_wide(scores, 0.5)
        if not scores.shape[-1]:
            return scores.clone()
        size = torch.arange(1, scores.shape[-1] + 1, device=scores.device, dtype=wide.dtype)
        mean = ordered.cumsum(-1) / size
        # algorithm 2: for each size of the support, the τ with which the squares sum to 1
        spread = ordered.square().cumsum(-1) - size * mean.square()
        candidates = mean - ((1 - spread) / size).clamp(min=0).sqrt()
        threshold = _threshold(candidates, candidates <= ordered)
        weights = (wide - threshold).clamp(min=0).square()
        weights = weights.to(scores.dtype)
        ctx.save_for_backward(weights)
        return weights

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # type: ignore[override]
        (weights,) = ctx.saved_tensors
        positive = weights > 0
        root = torch.where(positive, weights, 1).sqrt() * positive  # no √0, whose own gradient is infinite
        inside = gradients[0] * root  # proposition 2, with α = 1.5
        return inside - root * (inside.sum(-1, keepdim=True) / root.sum(-1, keepdim=True))

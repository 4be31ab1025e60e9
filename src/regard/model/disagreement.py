"""How far two passes disagree on the next piece, fused with the output projection.

The symmetric divergence of R-Drop (Wu et al. 2021, equation 3), ½ (KL(p ‖ q) + KL(q ‖ p)) = ½ Σ (p - q)(log p - log q).
As in :mod:`regard.model.loss`, logits exist a chunk of rows at a time; with d = log p - log q the gradient with respect
to the logits of p is ½ (p (d - KL(p ‖ q)) + p - q), and that of q the same the other way round.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.model.loss import over_chunks, wide_type

#: Logits held at a time, in elements: several tables of float32 are at work on them.
CHUNK_ELEMENTS = 1 << 22


def disagreement(first: Tensor, second: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """The symmetric divergence between the predictions of two passes, summed over tokens.

    Args:
        first: tokens×D hidden states of one pass.
        second: those of the other.
        weight: W×D output projection.
        bias: W, added to the logits.

    Returns:
        A float32 (float64 for float64 input) scalar that carries gradients to all four (once: it cannot be
        differentiated twice).
    """
    pairs = torch.stack([first, second], dim=1).flatten(0, 1)  # a token's two states beside each other
    return _FusedDisagreement.apply(pairs, weight, bias)  # type: ignore[return-value]


class _FusedDisagreement(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pairs: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # type: ignore[override]
        wide = wide_type(pairs)

        def judge(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            log_p = torch.log_softmax(logits.to(wide).unflatten(0, (-1, 2)), dim=-1)  # tokens×2×W
            p = log_p.exp()
            both = p - p.flip(1)
            d = log_p - log_p.flip(1)
            divergence = (p * d).sum(-1, keepdim=True)
            gradient = (p * (d - divergence) + both) / 2
            return gradient.flatten(0, 1).to(logits.dtype), divergence.sum() / 2

        rows = 2 * max(64, CHUNK_ELEMENTS // len(weight) // 2)
        total, *gradients = over_chunks(pairs, weight, bias, rows, judge, ctx.needs_input_grad)
        leaves = (pairs, weight, bias)
        ctx.save_for_backward(
            *(
                None if g is None or leaf is None else g.to(leaf.dtype)
                for g, leaf in zip(gradients, leaves, strict=True)
            )
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        return tuple(None if grad is None else grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors)

"""Cross-entropy with label smoothing, fused with the output projection.

The logits of a batch (tokens × W) are by far its largest tensor. Here they exist a
chunk of rows at a time, and the gradient is computed together with the loss, while
the chunk is still in the cache. Label smoothing (Szegedy et al. 2016) needs no pass
over the logits of its own: its gradient is a rank-one correction.
"""

from typing import Any

import torch
from torch import Tensor

#: Logits held at a time, in elements; larger chunks fall out of the cache, smaller ones starve the matrix product.
CHUNK_ELEMENTS = 1 << 24


def cross_entropy(hidden: Tensor, weight: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Sum over tokens of (1-ε)·(-log p(y)) + ε·mean over the vocabulary of (-log p).

    Args:
        hidden: tokens×D, without padding.
        weight: W×D output projection.
        targets: tokens, the right pieces.
        label_smoothing: ε in [0, 1).

    Returns:
        The sum, a float32 (float64 for float64 input) scalar that carries gradients to
        ``hidden`` and ``weight``.
    """
    return _FusedCrossEntropy.apply(hidden, weight, targets, label_smoothing)  # type: ignore[return-value]


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        vocab, needs_grad = len(weight), any(ctx.needs_input_grad)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        hidden_grad = torch.empty_like(hidden) if needs_grad else None
        weight_grad = torch.zeros(weight.shape, dtype=wide, device=weight.device) if needs_grad else None
        rows = max(256, CHUNK_ELEMENTS // vocab)
        for start in range(0, len(hidden), rows):
            h, y = hidden[start : start + rows], targets[start : start + rows]
            row = torch.arange(len(h), device=h.device)
            logits = torch.mm(h, weight.t())
            gold = logits[row, y].to(wide)
            probabilities = torch.softmax(logits, dim=-1)
            gold_probability = probabilities[row, y]
            # log Σ exp(logits) = gold logit - log p(gold): no further pass over the logits
            log_sum = gold - gold_probability.to(wide).log()
            rare = (gold_probability < 1e-30).nonzero()[:, 0]
            if len(rare):  # p(gold) underflows: take the long way for these rows
                log_sum[rare] = torch.logsumexp(logits[rare].to(wide), dim=-1)
            total += (log_sum - (1 - smoothing) * gold).sum()
            if hidden_grad is not None and weight_grad is not None:
                gradient = probabilities
                gradient[row, y] = gold_probability - (1 - smoothing)  # scatter_ would copy the chunk twice in bf16
                torch.mm(gradient, weight, out=hidden_grad[start : start + rows])
                if weight.dtype == wide:
                    weight_grad.addmm_(gradient.t(), h)
                else:
                    weight_grad += torch.mm(gradient.t(), h)
        if smoothing:
            total -= smoothing * (hidden.to(wide).sum(0) @ weight.to(wide).mean(0))
        if hidden_grad is not None and weight_grad is not None:
            if smoothing:
                hidden_grad -= (smoothing * weight.to(wide).mean(0)).to(hidden.dtype)
                weight_grad -= smoothing / vocab * hidden.to(wide).sum(0)
            ctx.save_for_backward(hidden_grad, weight_grad.to(weight.dtype))
        return total

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        hidden_grad, weight_grad = ctx.saved_tensors
        scale = grad_outputs[0]
        return hidden_grad * scale.to(hidden_grad.dtype), weight_grad * scale.to(weight_grad.dtype), None, None

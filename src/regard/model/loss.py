"""Cross-entropy with label smoothing, fused with the output projection.

The logits of a batch (tokens × W) are by far its largest tensor. Here they exist a
chunk of rows at a time, and the gradient is computed together with the loss, while
the chunk is still in the cache. Label smoothing (Szegedy et al. 2016) needs no pass
over the logits of its own: its gradient is a rank-one correction.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

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
        ``hidden`` and ``weight`` (once: it cannot be differentiated twice).

    Raises:
        ValueError: not one target for each row of ``hidden``, or a negative one.
    """
    if hidden.dim() != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(f"want one target a row of tokens×D, got {tuple(targets.shape)} for {tuple(hidden.shape)}")
    if len(targets) and int(targets.min()) < 0:  # -100 would silently count from the end of the vocabulary
        raise ValueError(f"targets are pieces, got {int(targets.min())}; leave padding out instead of marking it")
    return _FusedCrossEntropy.apply(hidden, weight, targets, label_smoothing)  # type: ignore[return-value]


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        wide = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        vocab = len(weight)
        total = torch.zeros((), dtype=wide, device=hidden.device)
        wants_hidden, wants_weight = ctx.needs_input_grad[:2]
        hidden_grad = torch.empty_like(hidden) if wants_hidden else None
        weight_grad = torch.zeros(weight.shape, dtype=wide, device=weight.device) if wants_weight else None
        # below it, log p(gold) would be inaccurate or infinite
        smallest = max(1e-30, torch.finfo(hidden.dtype).tiny)
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
            rare = (gold_probability < smallest).nonzero()[:, 0]
            if len(rare):  # take the long way for these rows
                log_sum[rare] = torch.logsumexp(logits[rare].to(wide), dim=-1)
            total += (log_sum - (1 - smoothing) * gold).sum()
            if hidden_grad is None and weight_grad is None:
                continue
            gradient = probabilities
            gradient[row, y] = gold_probability - (1 - smoothing)  # scatter_ would copy the chunk twice in bf16
            if hidden_grad is not None:
                torch.mm(gradient, weight, out=hidden_grad[start : start + rows])
            if weight_grad is not None:
                if weight.dtype == wide:
                    weight_grad.addmm_(gradient.t(), h)
                else:
                    weight_grad += torch.mm(gradient.t(), h)
        if smoothing:
            hidden_sum, weight_mean = hidden.to(wide).sum(0), weight.to(wide).mean(0)
            total -= smoothing * (hidden_sum @ weight_mean)
            if hidden_grad is not None:
                hidden_grad -= (smoothing * weight_mean).to(hidden.dtype)
            if weight_grad is not None:
                weight_grad -= smoothing / vocab * hidden_sum
        ctx.save_for_backward(hidden_grad, None if weight_grad is None else weight_grad.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None]:
        hidden_grad, weight_grad = (
            None if grad is None else grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_grad, weight_grad, None, None

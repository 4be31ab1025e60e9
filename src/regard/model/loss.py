"""Cross-entropy with label smoothing, fused with the output projection.

The logits of a batch (tokens × W) are by far its largest tensor. Here they exist a
chunk of rows at a time, and the gradient is computed together with the loss, while
the chunk is still in the cache. Label smoothing (Szegedy et al. 2016) needs no pass
over the logits of its own: its gradient is a rank-one correction.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.base.kernels import training_kernel

#: Logits held at a time, in elements; larger chunks fall out of the cache, smaller ones starve the matrix product.
CHUNK_ELEMENTS = 1 << 25


def cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, label_smoothing: float = 0.0, bias: Tensor | None = None
) -> Tensor:
    """Sum over tokens of (1-ε)·(-log p(y)) + ε·mean over the vocabulary of (-log p).

    Args:
        hidden: tokens×D, without padding.
        weight: W×D output projection.
        targets: tokens, the right pieces.
        label_smoothing: ε in [0, 1).
        bias: W, added to the logits.

    Returns:
        The sum, a float32 (float64 for float64 input) scalar that carries gradients to
        ``hidden``, ``weight`` and ``bias`` (once: it cannot be differentiated twice).

    Raises:
        ValueError: not one target for each row of ``hidden``, or one outside the vocabulary.
    """
    if hidden.dim() != 2 or targets.shape != hidden.shape[:1]:
        raise ValueError(f"want one target a row of tokens×D, got {tuple(targets.shape)} for {tuple(hidden.shape)}")
    if len(targets):  # -100 would silently count from the end of the vocabulary
        lowest, highest = (int(number) for number in targets.aminmax())
        if lowest < 0:
            raise ValueError(f"targets are pieces, got {lowest}; leave padding out instead of marking it")
        if highest >= len(weight):
            raise ValueError(f"targets are pieces below {len(weight)}, got {highest}")
    return _FusedCrossEntropy.apply(hidden, weight, targets, label_smoothing, bias)  # type: ignore[return-value]


def _logits_gradient(
    logits: Tensor, targets: Tensor, smoothing: float, wide: torch.dtype
) -> tuple[Tensor, Tensor | float]:
    """Of rows of logits, which it may overwrite: softmax less 1 - ε at the target, and the loss.

    The loss is the sum over rows of log Σ exp(logits) - (1 - ε) · logit of the target: all
    but what the smoothing spreads evenly.
    """
    kernel = training_kernel("cross_entropy_gradient", logits.dtype) if logits.device.type == "cpu" else None
    if kernel is not None and not torch.compiler.is_compiling():
        targets = targets.long().contiguous()  # a name keeps it alive during the call
        return logits, kernel(*logits.shape, smoothing, targets.data_ptr(), logits.data_ptr())
    row = torch.arange(len(logits), device=logits.device)
    gold = logits[row, targets].to(wide)
    probabilities = torch.softmax(logits, dim=-1)
    gold_probability = probabilities[row, targets]
    # log Σ exp(logits) = gold logit - log p(gold): no further pass over the logits
    log_sum = gold - gold_probability.to(wide).log()
    # below the smallest number of this precision log p(gold) would be inaccurate or infinite
    rare = (gold_probability < max(1e-30, torch.finfo(logits.dtype).tiny)).nonzero()[:, 0]
    if len(rare):  # take the long way for these rows
        log_sum[rare] = torch.logsumexp(logits[rare].to(wide), dim=-1)
    probabilities[row, targets] = gold_probability - (1 - smoothing)  # scatter_ would copy the chunk twice in bf16
    return probabilities, (log_sum - (1 - smoothing) * gold).sum()


def wide_type(hidden: Tensor) -> torch.dtype:
    """What losses on ``hidden`` are summed in: float64 for float64, else float32."""
    return torch.float64 if hidden.dtype == torch.float64 else torch.float32


def over_chunks(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    rows: int,
    judge: Callable[[Tensor, slice], tuple[Tensor, Tensor | float]],
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None]:
    """A loss on logits that exist ``rows`` rows at a time, and its gradients.

    Args:
        hidden: tokens×D.
        weight: W×D output projection.
        bias: W, added to the logits.
        rows: of a chunk.
        judge: takes the logits of a slice of the rows, which it may overwrite; gives the gradient with respect to
            them, and their loss.
        wanted: whether the gradients of ``hidden``, ``weight`` and ``bias`` are.

    Returns:
        The sum of the losses and the three gradients, None where not wanted; those of ``weight`` and ``bias`` are
        float32 or float64.
    """
    wide = wide_type(hidden)
    total = torch.zeros((), dtype=wide, device=hidden.device)
    hidden_grad = torch.empty_like(hidden) if wanted[0] else None
    weight_grad: Tensor | None = None
    bias_grad = torch.zeros(len(weight), dtype=wide, device=weight.device) if wanted[2] else None
    for start in range(0, len(hidden), rows):
        chunk = slice(start, start + rows)
        h = hidden[chunk]
        logits = torch.mm(h, weight.t()) if bias is None else torch.addmm(bias, h, weight.t())
        gradient, loss = judge(logits, chunk)
        total += loss
        if not any(wanted):
            continue
        if hidden_grad is not None:
            torch.mm(gradient, weight, out=hidden_grad[chunk])
        if wanted[1]:
            product = torch.mm(gradient.t(), h)
            weight_grad = product.to(wide) if weight_grad is None else weight_grad.add_(product)
        if bias_grad is not None:
            bias_grad += gradient.sum(0, dtype=wide)
    if wanted[1] and weight_grad is None:  # no tokens
        weight_grad = torch.zeros(weight.shape, dtype=wide, device=weight.device)
    return total, hidden_grad, weight_grad, bias_grad


class _FusedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, bias: Tensor | None
    ) -> Tensor:
        wide, vocab = wide_type(hidden), len(weight)

        def judge(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor | float]:
            return _logits_gradient(logits, targets[rows], smoothing, wide)

        wanted = (ctx.needs_input_grad[0], ctx.needs_input_grad[1], ctx.needs_input_grad[4])
        rows = max(256, CHUNK_ELEMENTS // vocab)
        total, hidden_grad, weight_grad, bias_grad = over_chunks(hidden, weight, bias, rows, judge, wanted)
        if smoothing:
            hidden_sum, weight_mean = hidden.to(wide).sum(0), weight.to(wide).mean(0)
            total -= smoothing * (hidden_sum @ weight_mean)
            if bias is not None:
                total -= smoothing * len(hidden) * bias.to(wide).mean()
            if hidden_grad is not None:
                hidden_grad -= (smoothing * weight_mean).to(hidden.dtype)
            if weight_grad is not None:
                weight_grad -= smoothing / vocab * hidden_sum
            if bias_grad is not None:
                bias_grad -= smoothing / vocab * len(hidden)
        ctx.save_for_backward(
            hidden_grad,
            None if weight_grad is None else weight_grad.to(weight.dtype),
            None if bias_grad is None or bias is None else bias_grad.to(bias.dtype),
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, None, None, Tensor | None]:
        hidden_grad, weight_grad, bias_grad = (
            None if grad is None else grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_grad, weight_grad, None, None, bias_grad

"""Kernels that compute what the reference computes, faster, and the choice among them.

``explicit`` writes the products out and keeps the T×S weights: fastest for short
sequences on a CPU, above all in bf16. ``sdpa`` is PyTorch's fused kernel, which
never holds the weights. Measured on 2 Zen 5 cores, forward and backward (ms, one
thread, batch 8, 8 heads of 64): length 256 in bf16, explicit 23, sdpa 47; length
1024 in fp32, explicit 1607, sdpa 516.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from regard.attention.mask import Mask, MaskView
from regard.attention.reference import reference_attention
from regard.base.errors import did_you_mean

KernelName = Literal["auto", "reference", "explicit", "sdpa"]
Drop = Callable[[Tensor], Tensor]


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scale: float, dropout: Drop | None = None
) -> Tensor:
    """Two batched products around a softmax; shapes as in :func:`reference_attention`."""
    if mask is None or mask.allows_everything:
        scores = torch.matmul(query * scale, key.transpose(-1, -2))
    else:  # scale and mask in one pass over the scores
        scores = torch.add(mask.additive(query.dtype), torch.matmul(query, key.transpose(-1, -2)), alpha=scale)
    weights = torch.softmax(scores, dim=-1)
    if mask is not None and mask.may_have_empty_rows:
        weights = weights * mask.rows_with_keys()
    if dropout is not None:
        weights = dropout(weights)
    return torch.matmul(weights, value)


def sdpa_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scale: float, dropout_rate: float = 0.0
) -> Tensor:
    """PyTorch's fused kernel; shapes as in :func:`reference_attention`.

    A mask in place of ``is_causal`` costs 1.9× on a CPU, hence the special case.
    """
    if mask is None or mask.allows_everything:
        return F.scaled_dot_product_attention(query, key, value, dropout_p=dropout_rate, scale=scale)
    if mask.is_plain_causal:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=dropout_rate, scale=scale)
    additive = mask.additive(query.dtype)
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=additive, dropout_p=dropout_rate, scale=scale)
    return output * mask.rows_with_keys() if mask.may_have_empty_rows else output


class KernelChoice(NamedTuple):
    """Which kernel runs, and why."""

    kernel: str
    reason: str


#: Up to this many keys the explicit kernel wins on a CPU while training, by dtype (docs/log.md).
EXPLICIT_MAX_KEYS = {torch.bfloat16: 512, torch.float32: 128}


def which_kernel(
    *, device: str, dtype: torch.dtype, num_queries: int, num_keys: int, training: bool, need_weights: bool = False
) -> KernelChoice:
    """Say which kernel :func:`attend` takes for such a call, and why."""
    if need_weights:
        return KernelChoice("reference", "the weights were asked for")
    if dtype == torch.float64:
        return KernelChoice("explicit", "float64 has no fused kernel worth the name")
    if device == "cpu" and training and num_keys <= EXPLICIT_MAX_KEYS.get(dtype, 0):
        return KernelChoice("explicit", f"{num_keys} keys in {dtype} on a CPU: writing the weights out is faster")
    return KernelChoice("sdpa", "PyTorch's fused kernel never holds the T×S weights")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask | None = None,
    *,
    positions: Tensor | None = None,
    scale: float | None = None,
    dropout: Drop | None = None,
    dropout_rate: float = 0.0,
    kernel: KernelName = "auto",
) -> Tensor:
    """Attention over heads: softmax(scale · Q Kᵀ) V.

    Args:
        query: B×H×T×K.
        key: B×H×S×K.
        value: B×H×S×V; V may differ from K.
        mask: which keys each query may attend to; None for all.
        positions: T or B×T absolute positions of the queries, for masks that depend
            on them. Default: the last T of S.
        scale: factor on the dot products; default K**-0.5.
        dropout: applied to the weights by the explicit kernel.
        dropout_rate: the same rate, for kernels that draw their own masks.
        kernel: ``auto`` to choose by :func:`which_kernel`.

    Returns:
        B×H×T×V. A query that may attend to nothing gets zeros.

    Raises:
        ValueError: shapes that do not fit together, or an unknown kernel.
    """
    _check_shapes(query, key, value)
    scale = query.shape[-1] ** -0.5 if scale is None else scale
    num_queries, num_keys = query.shape[-2], key.shape[-2]
    view = None if mask is None else mask.view(num_queries, num_keys, query.device, positions)
    if kernel == "auto":
        kernel = which_kernel(
            device=query.device.type,
            dtype=query.dtype,
            num_queries=num_queries,
            num_keys=num_keys,
            training=query.requires_grad,
        ).kernel  # type: ignore[assignment]
    if kernel == "explicit":
        return explicit_attention(query, key, value, view, scale, dropout)
    if kernel == "sdpa":
        return sdpa_attention(query, key, value, view, scale, dropout_rate)
    if kernel == "reference":
        return reference_attention(query, key, value, view, scale)[0]
    raise ValueError(f"unknown kernel '{kernel}'.{did_you_mean(kernel, ('auto', 'reference', 'explicit', 'sdpa'))}")


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    if query.shape[-1] != key.shape[-1] or key.shape[-2] != value.shape[-2] or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            "attention wants query B×H×T×K, key B×H×S×K and value B×H×S×V, got "
            f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )

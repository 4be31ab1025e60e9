"""Kernels that compute what the reference computes, faster, and the choice among them.

``explicit`` writes the products out and keeps the T×S weights: fastest for short
sequences on a CPU, above all in bf16. ``sdpa`` is PyTorch's fused kernel, which
never holds the weights. Measured on 2 Zen 5 cores, forward and backward (ms, one
thread, batch 8, 8 heads of 64): length 256 in bf16, explicit 23, sdpa 47; length
1024 in fp32, explicit 1607, sdpa 516.
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from regard.attention.dropout import Dropout
from regard.attention.mask import Mask, MaskView
from regard.attention.reference import reference_attention
from regard.base.errors import did_you_mean

KernelName = Literal["auto", "reference", "explicit", "sdpa"]


def explicit_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scale: float, dropout: Dropout | None = None
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
    query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scale: float, dropout: Dropout | None = None
) -> Tensor:
    """PyTorch's fused kernel; shapes as in :func:`reference_attention`.

    A mask in place of ``is_causal`` costs 1.9× on a CPU, hence the special case.
    """
    dropout_rate = dropout.rate if dropout is not None and dropout.training else 0.0
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

#: Without gradients the explicit kernel wins on a CPU from so many matrices (B·H) on, up to so many keys: decoding
#: steps of many sentences (docs/log.md). A single sentence is faster through sdpa.
MANY_MATRICES, MANY_MAX_KEYS = 128, 256


def which_kernel(
    *,
    device: str,
    dtype: torch.dtype,
    num_queries: int,
    num_keys: int,
    training: bool,
    dropout: bool = False,
    equal_widths: bool = True,
    need_weights: bool = False,
    num_matrices: int = 1,
) -> KernelChoice:
    """Say which kernel :func:`attend` takes for such a call, and why not another.

    Args:
        device: its type, such as ``cpu`` or ``cuda``.
        dtype: of queries, keys and values.
        num_queries: T.
        num_keys: S.
        training: whether gradients are wanted.
        dropout: whether weights are dropped.
        equal_widths: whether V is K.
        need_weights: whether the weights are wanted, as by :meth:`MultiHeadAttention.weights`.
        num_matrices: B·H, how many such problems there are at once.
    """
    if need_weights:
        return KernelChoice("reference", "the weights are wanted, and the other kernels do not return them")
    if dtype == torch.float64:
        return KernelChoice("explicit", "float64 is for checking: sdpa cannot be differentiated twice")
    if device == "cpu" and (dropout or not equal_widths):
        reason = "with dropout" if dropout else "where V is not K"
        return KernelChoice("explicit", f"on a CPU, sdpa writes the weights out as well {reason}")
    if device == "cpu" and training:
        most = EXPLICIT_MAX_KEYS.get(dtype, 0)
        name = str(dtype).removeprefix("torch.")
        if num_keys <= most:
            return KernelChoice("explicit", f"faster than sdpa up to {most} keys, training in {name} on a CPU")
        return KernelChoice("sdpa", f"faster than explicit above {most} keys, training in {name} on a CPU")
    if device == "cpu" and num_matrices >= MANY_MATRICES and num_keys <= MANY_MAX_KEYS:
        return KernelChoice("explicit", f"faster than sdpa for {num_matrices} matrices of {num_keys} keys on a CPU")
    return KernelChoice("sdpa", f"never holds the {num_queries}×{num_keys} weights, as explicit does")


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask | None = None,
    *,
    positions: Tensor | None = None,
    scale: float | None = None,
    dropout: Dropout | None = None,
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
        dropout: on the weights, while it is in training mode (sdpa takes its rate and
            draws its own masks).
        kernel: ``auto`` to choose by :func:`which_kernel`.

    Returns:
        B×H×T×V. A query that may attend to nothing gets zeros.

    Raises:
        ValueError: shapes that do not fit together, an unknown kernel, or one that
            cannot do what is asked of it.
    """
    _check_shapes(query, key, value)
    factor: float = query.shape[-1] ** -0.5 if scale is None else scale
    num_queries, num_keys = query.shape[-2], key.shape[-2]
    view = None if mask is None else mask.view(num_queries, num_keys, query.device, positions)
    if view is not None:
        _check_rows(view, len(query))
    if kernel == "auto":
        kernel = which_kernel(
            device=query.device.type,
            dtype=query.dtype,
            num_queries=num_queries,
            num_keys=num_keys,
            training=torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)),
            dropout=dropout is not None and dropout.training and dropout.rate > 0,
            equal_widths=value.shape[-1] == query.shape[-1],
            num_matrices=query.shape[0] * query.shape[1],
        ).kernel  # type: ignore[assignment]
    if kernel == "explicit":
        return explicit_attention(query, key, value, view, factor, dropout)
    if kernel == "sdpa":
        return sdpa_attention(query, key, value, view, factor, dropout)
    if kernel == "reference":
        if dropout is not None and dropout.training and dropout.rate:
            raise ValueError("the reference kernel has no dropout; use explicit or sdpa")
        return reference_attention(query, key, value, view, factor)[0]
    raise ValueError(f"unknown kernel '{kernel}'.{did_you_mean(kernel, ('auto', 'reference', 'explicit', 'sdpa'))}")


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    fit = query.dim() == key.dim() == value.dim() == 4 and query.shape[-1] == key.shape[-1]
    if not fit or key.shape[:3] != value.shape[:3] or query.shape[:2] != key.shape[:2]:
        raise ValueError(
            "attention wants query B×H×T×K, key B×H×S×K and value B×H×S×V, got "
            f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )


def _check_rows(view: MaskView, rows: int) -> None:
    """A mask of other rows would otherwise be broadcast, or fail deep inside a kernel."""
    if not view.allows_everything and not view.is_plain_causal and view.boolean().shape[0] not in (1, rows):
        raise ValueError(f"the mask has {view.boolean().shape[0]} rows, but there are {rows} rows of queries")

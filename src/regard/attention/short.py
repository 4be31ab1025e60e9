"""The kernel for training on short sequences in bf16 on a CPU, compiled from ``base/native/attention.cpp``.

PyTorch runs a softmax over few keys row by row, and every product of small matrices with
copies around it. Here one call does all of it for all heads, reads queries, keys and
values where the projections left them, and keeps nothing for the gradient but them.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.attention.dropout import Dropout
from regard.attention.scoring import Scoring
from regard.attention.view import TableView
from regard.base.kernels import training_kernels

#: Head widths that the kernel takes are multiples of this: pairs of bf16 fill a vector.
WIDTHS = 32


def short_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: TableView | None,
    scoring: Scoring,
    added: Tensor | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """Softmax over dot products; arguments as in :func:`explicit_attention`, bf16 on a CPU, with nothing added.

    It runs on the calling thread and can be differentiated once.
    """
    assert added is None, "dispatch gives it nothing to add"
    assert dropout is None, "dispatch gives it no dropout"
    product = scoring.similarity.as_product(query, key)
    assert product is not None, "dispatch gives it dot products only"
    query, key, scale = product
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    allowed = None if mask is None or mask.allows_everything else mask.boolean()
    return _ShortAttention.apply(query, key, value, allowed, scale)  # type: ignore[return-value]


class _ShortAttention(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor | None, scale: float
    ) -> Tensor:
        query, key, value = map(_rows_contiguous, (query, key, value))
        if allowed is not None and allowed.stride(-1) != 1:
            allowed = allowed.contiguous()
        output = _like_projected(query, value.shape[-1])
        _kernels().attention_forward(
            _sizes(query, key, value, scale), *map(_heads, (query, key, value)), _table(allowed), _heads(output)
        )
        ctx.save_for_backward(query, key, value, allowed)
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, allowed = ctx.saved_tensors
        output_gradient = _rows_contiguous(output_gradient)  # a name keeps it alive during the call
        gradients = [_like_projected(x, x.shape[-1]) for x in (query, key, value)]
        _kernels().attention_backward(
            _sizes(query, key, value, ctx.scale),
            *map(_heads, (query, key, value)),
            _table(allowed),
            _heads(output_gradient),
            *map(_heads, gradients),
        )
        return *gradients, None, None


def _kernels() -> Any:
    kernels = training_kernels()
    assert kernels is not None, "dispatch has asked"
    return kernels


def _rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_projected(x: Tensor, width: int) -> Tensor:
    """An empty B×H×T×width that lies in memory as B×T×H×width, the layout of the projections."""
    batch, heads, rows, _ = x.shape
    return x.new_empty(batch, rows, heads, width).transpose(1, 2)


def _heads(x: Tensor) -> tuple[int, ...]:
    return x.data_ptr(), *x.stride()[:3]


def _table(allowed: Tensor | None) -> tuple[int, int, int]:
    if allowed is None:
        return 0, 0, 0
    return allowed.data_ptr(), allowed.stride(0) if len(allowed) > 1 else 0, allowed.stride(2)


def _sizes(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[float, ...]:
    batch, heads, queries, width = query.shape
    return batch, heads, queries, key.shape[2], width, value.shape[-1], scale

"""The kernel for a CPU with AVX-512, compiled from ``base/native/attention.h``: tiles that stay in the cache.

Scores exist for 64 queries and 64 keys at a time (Dao et al. 2022, FlashAttention), and are computed again for the
gradient, so memory grows with the length alone. Tiles in which nobody sees anything are left out: half of a causal
mask, most of a window. What masks and terms say comes as two numbers a query and one number a distance.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.attention.scoring import Scoring
from regard.attention.view import MaskView
from regard.base.kernels import training_kernel

#: The types that it computes in; sums are float32.
TYPES = (torch.bfloat16, torch.float32)

#: Head widths that it takes are multiples of this: pairs of bf16 fill a vector.
WIDTHS = 32

#: Products (B·H·T·S·(K+V)) below which a second thread costs more than it brings: starting one takes some 20 µs.
_WORTH_A_THREAD = 1 << 24


def tiled_attention(query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scoring: Scoring) -> Tensor:
    """Softmax over dot products, and terms that look at distances only; it can be differentiated once.

    Args:
        query: B×H×T×K, at the end of the keys where there are terms.
        key: B×G×S×K.
        value: B×G×S×V.
        mask: who may attend to whom.
        scoring: similarity and terms.
    """
    num_queries, num_keys = query.shape[2], key.shape[2]
    added = None
    if scoring.terms:  # the kernel reads them from that of the first query and the last key on
        distances = torch.arange(1 - num_keys, num_queries, device=query.device)
        added = scoring.by_distance(query, distances).float().flip(-1)
    product = scoring.as_product(query, key)
    assert product is not None, "dispatch gives it dot products only"
    query, key, scale = product
    query, key = query.to(value.dtype), key.to(value.dtype)  # autocasting may have widened what a similarity changed
    return _Tiled.apply(query, key, value, added, _allowed(mask, num_queries, num_keys), scale)  # type: ignore[return-value]


def _allowed(mask: MaskView | None, num_queries: int, num_keys: int) -> tuple[Tensor, Tensor, Tensor | None]:
    """Where the keys of each query begin and end, (B or 1)×T int32, and where they may have gaps also (B or 1)×S×T."""
    runs = None if mask is None or mask.allows_everything else mask.runs()
    if runs is not None:
        return *runs, None
    start = torch.zeros(1, num_queries, dtype=torch.int32)
    table = None
    if mask is not None and not mask.allows_everything:
        table = mask.boolean()[:, 0].transpose(1, 2).contiguous()
    return start, torch.full_like(start, num_keys), table


class _Tiled(torch.autograd.Function):
    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        added: Tensor | None,
        allowed: tuple[Tensor, Tensor, Tensor | None],
        scale: float,
    ) -> Tensor:
        query, key, value = map(_rows_contiguous, (query, key, value))
        added = None if added is None else added.contiguous()
        output = _like_projected(query, value.shape[-1])
        statistics = query.new_empty(*query.shape[:2], 2, query.shape[2], dtype=torch.float32)
        _kernel("forward", query)(
            _sizes(query, key, value, scale),
            *map(_heads, (query, key, value)),
            _rules(allowed),
            _address(added),
            _heads(output),
            statistics.data_ptr(),
        )
        ctx.save_for_backward(query, key, value, added, output, statistics, *allowed)
        ctx.scale = scale
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        query, key, value, added, output, statistics, *allowed = ctx.saved_tensors
        output_gradient = _rows_contiguous(output_gradient)  # a name keeps it alive during the call
        gradients = [_like_projected(x, x.shape[-1]) for x in (query, key, value)]
        added_gradient = torch.zeros_like(added) if ctx.needs_input_grad[3] else None
        _kernel("backward", query)(
            _sizes(query, key, value, ctx.scale),
            *map(_heads, (query, key, value)),
            _rules(allowed),
            _address(added),
            _heads(output),
            statistics.data_ptr(),
            _heads(output_gradient),
            *map(_heads, gradients),
            _address(added_gradient),
        )
        return *gradients, added_gradient, None, None


def _kernel(name: str, like: Tensor) -> Any:
    return training_kernel(f"attention_{name}", like.dtype)


def _rows_contiguous(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_projected(x: Tensor, width: int) -> Tensor:
    """An empty B×H×T×width that lies in memory as B×T×H×width, the layout of the projections."""
    batch, heads, rows, _ = x.shape
    return x.new_empty(batch, rows, heads, width).transpose(1, 2)


def _address(x: Tensor | None) -> int:
    return 0 if x is None else x.data_ptr()


def _heads(x: Tensor) -> tuple[int, ...]:
    return x.data_ptr(), *x.stride()[:3]


def _rules(allowed: Any) -> tuple[int, ...]:
    """Addresses of the three tensors, and how far apart two rows of the batch are in them; 0 where all share one."""
    start, stop, table = allowed
    by_row = start.stride(0) if len(start) > 1 else 0
    return (
        start.data_ptr(),
        stop.data_ptr(),
        by_row,
        _address(table),
        table.stride(0) if table is not None and len(table) > 1 else 0,
    )


def _sizes(query: Tensor, key: Tensor, value: Tensor, scale: float) -> tuple[float, ...]:
    (batch, heads, queries, width), (groups, keys) = query.shape, key.shape[1:3]
    work = batch * heads * queries * keys * (width + value.shape[-1])
    threads = torch.get_num_threads() if work > _WORTH_A_THREAD else 1
    return batch, heads, groups, queries, keys, width, value.shape[-1], scale, threads

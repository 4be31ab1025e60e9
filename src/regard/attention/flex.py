"""FlexAttention: PyTorch compiles a kernel for the mask and the terms at hand, which skips what is masked.

On a GPU forwards and backwards, on a CPU forwards only. Compiling takes from seconds to half a minute for
each new kind of mask, so that this kernel runs where it is asked for by name.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from regard.attention.scoring import Scoring
from regard.attention.view import MaskView

_compiled: dict[str, Callable[..., Any]] = {}


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskView | None,
    scoring: Scoring,
    *,
    compiled: bool = True,
) -> Tensor:
    """As the reference, for a dot product under a softmax and terms that do not look at the queries.

    Args:
        query: B×H×T×K.
        key: B×G×S×K.
        value: B×G×S×V.
        mask: who may attend to whom.
        scoring: similarity and position.
        compiled: False to run PyTorch's plain implementation, which holds T×S scores, to check the other.
    """
    from torch.nn.attention import flex_attention as flex

    product = scoring.as_product(query, key)
    assert product is not None, "dispatch gives flex dot products only"
    wide, key, scale = product
    attend: Callable[..., Any] = _compile("attend", flex.flex_attention) if compiled else flex.flex_attention
    output = attend(
        wide,
        key,
        value,
        score_mod=_score_mod(query, key.shape[2], mask, scoring),
        block_mask=None if mask is None or mask.allows_everything else _block_mask(mask, compiled),
        scale=scale,
        enable_gqa=key.shape[1] != query.shape[1],
    )
    if mask is None or mask.allows_everything or not mask.may_have_empty_rows:
        return output
    return torch.where(output.isfinite(), output, 0.0)


def _compile(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    if name not in _compiled:
        _compiled[name] = torch.compile(function)
    return _compiled[name]


def _block_mask(mask: MaskView, compiled: bool) -> Any:
    """The mask's rule as FlexAttention wants it."""
    from torch.nn.attention import flex_attention as flex

    rule, positions, first = mask.mask.rule, mask.query_positions(), mask.first_key
    shared = len(positions) == 1

    def mask_mod(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return rule(row, query, positions[row * 0 if shared else row, query], key + first)

    rows = max(mask.mask.rows, len(positions))
    make: Callable[..., Any] = _compile("mask", flex.create_block_mask) if compiled else flex.create_block_mask
    return make(mask_mod, rows, None, mask.num_queries, mask.num_keys, device=mask.device)


def _score_mod(query: Tensor, num_keys: int, mask: MaskView | None, scoring: Scoring) -> Callable[..., Tensor] | None:
    """The terms, read from one number for each head and distance."""
    if not scoring.terms:
        return None
    num_queries = query.shape[2]
    if mask is None or mask.positions is None:
        positions = torch.arange(num_keys - num_queries, num_keys, device=query.device)[None]
    else:
        positions = mask.query_positions() - mask.first_key
    lowest, highest = -int(positions.max()), num_keys - 1 - int(positions.min())
    distances = torch.arange(lowest, highest + 1, device=query.device)
    table, shared = scoring.by_distance(query, distances), len(positions) == 1

    def score_mod(score: Tensor, row: Tensor, head: Tensor, number: Tensor, key: Tensor) -> Tensor:
        return score + table[head, key - positions[row * 0 if shared else row, number] - lowest]

    return score_mod

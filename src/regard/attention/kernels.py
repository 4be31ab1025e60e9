"""Kernels that compute what the reference computes, faster.

``explicit`` writes the products out and keeps the T×S weights: fastest for short
sequences on a CPU, above all in bf16, and the one that can do everything. ``sdpa`` is
PyTorch's fused kernel, which never holds the weights. ``blocked`` cuts a window into
blocks and gives them to one of the two. Which one a call takes is said in ``dispatch``.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from regard.attention.dropout import Dropout
from regard.attention.scoring import Scoring
from regard.attention.view import MaskView, TableView

Kernel = Callable[[Tensor, Tensor, Tensor, TableView | None, Scoring, Tensor | None, Dropout | None], Tensor]

#: T×S from which on a mask is worth avoiding even where that means some idle queries.
_LARGE_TABLE = 1 << 20


def explicit_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: TableView | None,
    scoring: Scoring,
    added: Tensor | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """Two batched products around the normaliser; shapes as in :func:`reference_attention`.

    Args:
        query: B×H×T×K.
        key: B×G×S×K.
        value: B×G×S×V.
        mask: who may attend to whom.
        scoring: similarity and normaliser; its terms come in ``added``.
        added: (B or 1)×H×T×S, added to the scores.
        dropout: on the weights.
    """
    num_heads, groups = query.shape[1], key.shape[1]
    bias = _bias(query, mask, added)
    product = scoring.as_product(query, key)
    if product is None:
        scores = scoring.similarity(scoring.content(query), key.repeat_interleave(num_heads // groups, dim=1))
        scores = scores if bias is None else scores + bias
    else:
        query, key, scale = product
        if bias is None:
            scores = _by_group(query * scale, key.transpose(-1, -2))
        else:  # scale and bias in one pass over the scores
            scores = torch.add(bias, _by_group(query, key.transpose(-1, -2)), alpha=scale)
    weights = scoring.normaliser(scores)
    some = _rows_with_keys(mask, scoring, bias)
    if some is not None:
        weights = weights * some
    if dropout is not None:
        weights = dropout(weights)
    return _by_group(weights, value)


def sdpa_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: TableView | None,
    scoring: Scoring,
    added: Tensor | None = None,
    dropout: Dropout | None = None,
) -> Tensor:
    """PyTorch's fused kernel, for a dot product under a softmax; arguments as in :func:`explicit_attention`.

    A mask in place of ``is_causal`` costs 1.9× on a CPU, hence the special cases.
    """
    rate = dropout.rate if dropout is not None and dropout.training else 0.0
    product = scoring.as_product(query, key)
    assert product is not None, "dispatch gives sdpa dot products only"
    query, key, scale = product
    if key.shape[1] != query.shape[1]:
        groups = query.shape[1] // key.shape[1]
        key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    if added is None and (mask is None or mask.allows_everything):
        return F.scaled_dot_product_attention(query, key, value, dropout_p=rate, scale=scale)
    if added is None and mask is not None and mask.is_plain_causal:
        return F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=rate, scale=scale)
    behind = key.shape[2] - query.shape[2]
    if added is None and _is_causal_at_end(mask) and behind > 0 and key.shape[2] * query.shape[2] >= _LARGE_TABLE:
        query = F.pad(query, (0, 0, behind, 0))  # as many queries as keys: a plain causal mask, which need not exist
        output = F.scaled_dot_product_attention(query, key, value, is_causal=True, dropout_p=rate, scale=scale)
        return output[:, :, behind:]
    bias = _bias(query, mask, added)
    output = F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=rate, scale=scale)
    some = _rows_with_keys(mask, scoring, bias)
    return output if some is None else output * some


def blocked_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: MaskView,
    scoring: Scoring,
    inner: Kernel,
    dropout: Dropout | None = None,
) -> Tensor:
    """A window, cut into blocks of queries that see the block before them and the block after.

    Time and memory grow with T times the window. It is plain PyTorch around another kernel, and
    so can be trained anywhere.

    Args:
        query: B×H×T×K, at the end of the keys.
        key: B×G×S×K.
        value: B×G×S×V.
        mask: one whose reach is bounded on both sides.
        scoring: as for ``inner``; its terms are computed once for all blocks.
        inner: the kernel for the blocks.
        dropout: on the weights.
    """
    left, right = mask.mask.reach
    assert left is not None, "dispatch gives windows only"
    assert right is not None, "dispatch gives windows only"
    (rows, _, num_queries, _), num_keys = query.shape, key.shape[2]
    width = block_width(left, right)
    count = -(-num_queries // width)
    behind, missing = num_keys - num_queries, count * width - num_queries
    before = max(0, left - behind)  # keys that the first block looks for in vain

    def fold(x: Tensor) -> Tensor:
        """B×H×(blocks·width)×K to (B·blocks)×H×width×K."""
        return x.transpose(1, 2).reshape(rows * count, -1, *x.shape[1::2]).transpose(1, 2)

    def neighbours(x: Tensor) -> Tensor:
        """B×G×S×K to (B·blocks)×G×(left+width+right)×K."""
        starts = range(0, left + width + right, width)
        x = x[:, :, max(0, behind - left) :].transpose(1, 2)  # B×(left+T)×G×K
        x = F.pad(x, (0, 0, 0, 0, before, (count + len(starts) - 1) * width - before - x.shape[1]))
        parts = [x[:, start : start + count * width].unflatten(1, (count, width)) for start in starts]
        parts[-1] = parts[-1][:, :, : left + width + right - starts[-1]]
        return torch.cat(parts, dim=2).flatten(0, 1).transpose(1, 2)

    added = None
    folded = fold(F.pad(query, (0, 0, 0, missing)))
    if scoring.terms:
        added = scoring.added(folded, left + width + right, ahead=right)
    output = inner(folded, neighbours(key), neighbours(value), mask.blocks(width, rows), scoring, added, dropout)
    output = output.transpose(1, 2).reshape(rows, count * width, *output.shape[1::2]).transpose(1, 2)
    return output[:, :, :num_queries]


def block_width(left: int, right: int) -> int:
    """Queries in a block: as many as the window is wide, but no fewer than pay for a matrix product."""
    return max(left + right, 32)


def _by_group(x: Tensor, shared: Tensor) -> Tensor:
    """x @ shared, B×H×T×K with B×G×K×S: consecutive heads of x share one matrix, which is not copied."""
    heads, groups, rows = x.shape[1], shared.shape[1], x.shape[2]
    if heads == groups:
        return torch.matmul(x, shared)
    together = x.unflatten(1, (groups, -1)).flatten(2, 3)  # B×G×(H/G·T)×K
    return torch.matmul(together, shared).unflatten(2, (-1, rows)).flatten(1, 2)


def _bias(query: Tensor, mask: TableView | None, added: Tensor | None) -> Tensor | None:
    """What is added to the scores for the mask and the terms."""
    if mask is None or mask.allows_everything:
        return added
    additive = mask.additive(query.dtype)
    return additive if added is None else additive + added


def _rows_with_keys(mask: TableView | None, scoring: Scoring, bias: Tensor | None) -> Tensor | None:
    """Which queries see any key, (B or 1)×(H or 1)×T×1; None where all do."""
    if scoring.span is not None and bias is not None:
        return (bias > torch.finfo(bias.dtype).min / 4).any(-1, keepdim=True)
    if mask is None or mask.allows_everything or not mask.may_have_empty_rows:
        return None
    return mask.rows_with_keys()


def _is_causal_at_end(mask: TableView | None) -> bool:
    return isinstance(mask, MaskView) and mask.mask.is_causal and mask.positions is None

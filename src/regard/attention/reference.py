"""What attention is (Vaswani et al. 2017, equation 1, and its variants).

This kernel is the specification: short, any dtype, differentiable, and it returns
the weights. Every faster kernel is tested against it in float64.
"""

import torch
from torch import Tensor

from regard.attention.scoring import PLAIN, Scoring
from regard.attention.view import TableView


def reference_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: TableView | None = None,
    scoring: Scoring = PLAIN,
    positions: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """normalise(similarity(Q, K) + terms of the distance) V, with zeros for a query that may attend to nothing.

    Args:
        query: B×H×T×K.
        key: B×G×S×K, where G divides H: consecutive H / G heads of queries share one of keys.
        value: B×G×S×V.
        mask: where ``True``, the query may attend.
        scoring: similarity, normaliser and position.
        positions: (B or 1)×T positions of the queries, counted from the first key; default the last T.

    Returns:
        The output, B×H×T×V, and the weights, B×H×T×S.
    """
    (num_queries, num_keys), groups = (query.shape[2], key.shape[2]), query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, dim=1), value.repeat_interleave(groups, dim=1)
    keys = torch.arange(num_keys, device=query.device)
    if positions is None:
        positions = torch.arange(num_keys - num_queries, num_keys, device=query.device)[None]
    scores = scoring.similarity(scoring.content(query), key)
    added = scoring.added_at(query, positions, keys)
    if added is not None:
        scores = scores + added
    if mask is not None:
        scores = scores.masked_fill(~mask.boolean(), float("-inf"))
    some = (scores > torch.finfo(scores.dtype).min / 4).any(-1, keepdim=True)  # lower ones are masked, or out of a span
    weights = scoring.normaliser(scores.masked_fill(~some, 0.0)) * some
    return torch.einsum("bhts,bhsv->bhtv", weights, value), weights

"""Scaled dot-product attention as written (Vaswani et al. 2017, equation 1).

This kernel is the specification: short, any dtype, differentiable, and it returns
the weights. Every faster kernel is tested against it in float64.
"""

import torch
from torch import Tensor

from regard.attention.mask import MaskView


def reference_attention(
    query: Tensor, key: Tensor, value: Tensor, mask: MaskView | None, scale: float
) -> tuple[Tensor, Tensor]:
    """softmax(scale · Q Kᵀ) V, with zeros for a query that may attend to nothing.

    Args:
        query: B×H×T×K.
        key: B×H×S×K.
        value: B×H×S×V.
        mask: where ``True``, the query may attend.
        scale: factor on the dot products, usually K**-0.5.

    Returns:
        The output, B×H×T×V, and the weights, B×H×T×S.
    """
    scores = scale * torch.einsum("bhtk,bhsk->bhts", query, key)
    if mask is None:
        weights = torch.softmax(scores, dim=-1)
    else:
        scores = scores.masked_fill(~mask.boolean(), float("-inf"))
        some = mask.rows_with_keys()
        weights = torch.softmax(scores.masked_fill(~some, 0.0), dim=-1) * some
    return torch.einsum("bhts,bhsv->bhtv", weights, value), weights

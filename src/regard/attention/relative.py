"""Positions at the scores: terms that depend on how far a key stands from its query.

A term is computed once for each *distance* (position of the key minus that of the query), of
which T queries and S keys in a row have T + S - 1, and then laid out as T×S. Distances rather
than positions are all that these methods know, so a cache may drop old keys and rows may begin
in different columns.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from regard.attention.positions import SinusoidalPositions


class ScoreTerm(nn.Module, ABC):
    """Something added to the scores."""

    #: Whether the term depends on the queries, and thus needs a similarity that is a plain q·k.
    needs_query: ClassVar[bool] = False
    #: Whether :meth:`content` changes the queries.
    moves_queries: ClassVar[bool] = False

    def content(self, query: Tensor) -> Tensor:
        """The queries, B×H×T×K, that are compared with the keys."""
        return query

    @abstractmethod
    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """The term for each of n distances.

        Args:
            query: B×H×T×K.
            distances: n consecutive integers, position of the key minus that of the query.
            scale: factor of the similarity on q·k.

        Returns:
            (B or 1)×H×(T or 1)×n.
        """


def lay_out(table: Tensor, num_queries: int, num_keys: int) -> Tensor:
    """From distances to keys: entry (t, s) is ``table`` at distance number s - t + T - 1.

    Args:
        table: (B or 1)×H×(T or 1)×(T+S-1), by distance from the lowest, that of the last query to the first key.
        num_queries: T.
        num_keys: S.

    Returns:
        (B or 1)×H×T×S.
    """
    if table.shape[2] == 1:
        return table[:, :, 0].unfold(-1, num_keys, 1).flip(-2)
    # Drop the first T - 1 numbers: read with rows that are one shorter, each row begins one earlier than the last.
    shorter = table.shape[-1] - 1
    flat = table.flatten(2)[:, :, num_queries - 1 : num_queries - 1 + num_queries * shorter]
    return flat.unflatten(-1, (num_queries, shorter))[..., :num_keys]


def gather_by_distance(table: Tensor, distance: Tensor, lowest: int) -> Tensor:
    """As :func:`lay_out` for queries that stand anywhere.

    Args:
        table: (B or 1)×H×(T or 1)×n.
        distance: (B or 1)×T×S.
        lowest: the distance that ``table`` begins with.
    """
    rows = max(len(table), len(distance))
    _, num_queries, num_keys = distance.shape
    table = table.expand(rows, -1, num_queries, -1)
    index = (distance - lowest)[:, None].expand(rows, table.shape[1], num_queries, num_keys)
    return table.gather(-1, index)


class ALiBi(ScoreTerm):
    """-m · |distance| with a fixed slope m for each head (Press et al. 2022, section 3)."""

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.slopes = alibi_slopes(num_heads)  # plain numbers: a change to bf16 must not round them

    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """1×H×1×n."""
        wide = torch.promote_types(query.dtype, torch.float32)
        slopes = torch.tensor(self.slopes, dtype=wide, device=query.device)
        return -(slopes[:, None] * distances.abs())[None, :, None].to(query.dtype)


def alibi_slopes(num_heads: int) -> list[float]:
    """2^(-8/H), 2^(-16/H) …; where H is no power of two, filled up from the series of the next one."""
    whole = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8 * (i + 1) / whole) for i in range(whole)]
    return slopes + [2.0 ** (-4 * (2 * i + 1) / whole) for i in range(num_heads - whole)]


class T5Bias(ScoreTerm):
    """A learned number for each head and bucket of distances (Raffel et al. 2020, section 2.1).

    Half of the buckets are for one distance each, the others grow to ``max_distance``.
    """

    def __init__(self, num_heads: int, *, bidirectional: bool, num_buckets: int = 32, max_distance: int = 128):
        """
        Args:
            num_heads: H.
            bidirectional: whether keys after the query have buckets of their own (half of them).
            num_buckets: rows of the table.
            max_distance: all distances from it on share a bucket.
        """
        super().__init__()
        if num_buckets < 4 or num_buckets % 2:
            raise ValueError(f"T5Bias wants an even number of at least 4 buckets, got num_buckets={num_buckets}")
        exact = num_buckets // (4 if bidirectional else 2)
        if max_distance <= exact:
            raise ValueError(
                f"T5Bias has a bucket for each distance up to {exact}: max_distance must be higher, got {max_distance}"
            )
        self.num_heads, self.bidirectional = num_heads, bidirectional
        self.num_buckets, self.max_distance = num_buckets, max_distance
        self.table = nn.Parameter(torch.zeros(num_buckets, num_heads))

    def buckets(self, distances: Tensor) -> Tensor:
        """The bucket of each distance."""
        count = self.num_buckets // 2 if self.bidirectional else self.num_buckets
        start = torch.where(distances > 0, count, 0) if self.bidirectional else torch.zeros_like(distances)
        away = distances.abs() if self.bidirectional else (-distances).clamp(min=0)
        exact = count // 2
        # float32, as where the trained tables come from: at the borders of buckets it matters
        growth = (away.clamp(min=1).float() / exact).log() / math.log(self.max_distance / exact)
        far = (exact + (growth * (count - exact)).long()).clamp(max=count - 1)
        return start + torch.where(away < exact, away, far)

    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """1×H×1×n."""
        return self.table[self.buckets(distances)].t()[None, :, None]


class ShawPositions(ScoreTerm):
    """q·r with a learned vector r for each distance, clipped (Shaw et al. 2018, equation 4).

    The paper's second table, added to the values, is left out: in its table 3 it makes no difference.
    """

    needs_query = True

    def __init__(self, head_dim: int, max_distance: int = 16):
        super().__init__()
        if max_distance < 1:
            raise ValueError(f"ShawPositions wants a max_distance of at least 1, got {max_distance}")
        self.head_dim, self.max_distance = head_dim, max_distance
        self.table = nn.Parameter(torch.empty(2 * max_distance + 1, head_dim))
        nn.init.xavier_uniform_(self.table)

    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """B×H×T×n."""
        clipped = distances.clamp(-self.max_distance, self.max_distance) + self.max_distance
        return scale * torch.matmul(query, self.table.t()).index_select(-1, clipped)


class TransformerXLPositions(ScoreTerm):
    """(q + u)·k + (q + v)·W r with the sinusoidal vector r of the distance (Dai et al. 2019, section 3.3).

    u says which keys are worth a look wherever they stand, v which distances are, whatever stands there.
    """

    needs_query = moves_queries = True

    def __init__(self, d_model: int, num_heads: int, head_dim: int):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.sines = SinusoidalPositions(d_model)
        self.project = nn.Linear(d_model, num_heads * head_dim, bias=False)
        self.content_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        self.position_bias = nn.Parameter(torch.zeros(num_heads, head_dim))
        nn.init.xavier_uniform_(self.project.weight)

    def content(self, query: Tensor) -> Tensor:
        """q + u."""
        return query + self.content_bias[:, None]

    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """B×H×T×n."""
        back = -distances  # the paper counts from the key to the query
        sines = self.sines(back.abs()).to(query.dtype)
        odd = torch.arange(sines.shape[1], device=sines.device) % 2 == 0
        sines = torch.where(odd & (back < 0)[:, None], -sines, sines)  # the sine is odd, the cosine even
        keys = self.project(sines).view(len(distances), self.num_heads, -1)  # n×H×K
        return scale * torch.einsum("bhtk,nhk->bhtn", query + self.position_bias[:, None], keys)

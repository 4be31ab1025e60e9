"""What one pass of an attention compared, from which its weights can be had at any time later."""

from collections.abc import Sequence

import torch
from torch import Tensor

from regard.attention.mask import Mask
from regard.attention.reference import reference_attention
from regard.attention.scoring import Scoring

Numbers = int | slice | Sequence[int] | None


class Look:
    """Queries and keys of one pass, kept by reference: no T×S tensor exists until weights are asked for."""

    def __init__(
        self,
        scoring: Scoring,
        query: Tensor,
        key: Tensor,
        mask: Mask | None,
        positions: Tensor | None,
        rows: int,
        first_key: int = 0,
    ):
        """
        Args:
            scoring: how weights are made of them.
            query: B×H×T×K; or, where rows share a memory, fewer rows with the queries of each side by side.
            key: rows×G×S×K.
            mask: who may attend to whom.
            positions: of the queries, for the mask; None for the last of the keys.
            rows: B.
            first_key: position of the first key.
        """
        self.scoring, self.query, self.key, self.mask = scoring, query, key, mask
        self.positions, self.rows, self.first_key = positions, rows, first_key

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """B, H, T and S of all the weights."""
        _, num_heads, num_queries, _ = self.query.shape
        return self.rows, num_heads, num_queries // self._sharing, self.key.shape[2]

    @property
    def _sharing(self) -> int:
        """How many rows share one row of the keys."""
        return self.rows // max(1, len(self.query))

    def weights(
        self,
        *,
        rows: Numbers = None,
        heads: Numbers = None,
        queries: Numbers = None,
        differentiable: bool = True,
    ) -> Tensor:
        """The weights, before dropout, of the rows, heads and queries asked for (each a number, a slice or several).

        They come from the reference kernel, which sees those rows and queries only (and, where the scores
        have nothing that was learned for each head, those heads only).

        Args:
            rows: of the batch; None for all.
            heads: None for all.
            queries: None for all.
            differentiable: whether gradients may flow back through them to what was recorded with gradients.

        Returns:
            rows×heads×queries×S.

        Raises:
            IndexError: there is no such row, head or query.
        """
        num_rows, num_heads, num_queries, _ = self.shape
        device = self.query.device
        row, head, number = (
            _index(asked, size, what, device)
            for asked, size, what in (
                (rows, num_rows, "row"),
                (heads, num_heads, "head"),
                (queries, num_queries, "query"),
            )
        )
        with torch.set_grad_enabled(differentiable and torch.is_grad_enabled()):
            return self._weights(row, head, number)

    def _weights(self, row: Tensor, head: Tensor, number: Tensor) -> Tensor:
        sharing, (_, num_heads, num_queries, num_keys) = self._sharing, self.shape
        of, place = row // sharing, (row % sharing)[:, None] * num_queries + number  # its keys' row; R×t
        query = self.query[of[:, None], :, place].transpose(1, 2)  # R×H×t×K
        key = self.key[of]
        alone = self.scoring.treats_heads_alike
        if alone:
            group = head // (num_heads // key.shape[1])
            query, key = query[:, head], key[:, group]
        at = torch.arange(num_keys - num_queries, num_keys, device=query.device)[number][None] + self.first_key
        if self.positions is not None:
            positions = self.positions if self.positions.dim() == 2 else self.positions.expand(len(self.query), -1)
            at = positions[of[:, None], place]
        view = None
        if self.mask is not None:
            view = self.mask.some(of, place, at, num_keys, self.first_key)
        value = key.new_empty(*key.shape[:3], 0)
        weights = reference_attention(query, key, value, view, self.scoring, at - self.first_key)[1]
        return weights if alone else weights[:, head]


def _index(asked: Numbers, size: int, what: str, device: torch.device) -> Tensor:
    """What was asked for, as numbers from 0."""
    numbers = range(size)
    if asked is None:
        found = numbers
    elif isinstance(asked, slice):
        found = numbers[asked]
    else:
        wanted = [asked] if isinstance(asked, int) else asked
        for number in wanted:
            if not -size <= number < size:
                raise IndexError(f"there is no {what} {number}: this pass had {size}")
        found = [numbers[number] for number in wanted]
    return torch.tensor(list(found), dtype=torch.long, device=device)

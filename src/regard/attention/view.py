"""A mask evaluated for the queries and keys at hand, in the forms that kernels want.

Nothing is evaluated before a kernel asks for it: where a kernel's own causal flag or the
mask's reach says enough, there is never a T×S tensor.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from regard.attention.mask import Mask


class TableView:
    """A table of who may attend to whom, (B or 1)×1×T×S booleans, and the same as numbers to add to scores."""

    #: True where a kernel's own causal flag says the same as this mask.
    is_plain_causal = False
    #: True where the mask forbids nothing.
    allows_everything = False

    def __init__(self, table: Tensor | None, may_have_empty_rows: bool):
        self._table = table
        #: True where some query might see no key at all; its output must then be zero.
        self.may_have_empty_rows = may_have_empty_rows
        self._rows_with_keys: Tensor | None = None
        self._additive: dict[torch.dtype, Tensor] = {}

    def boolean(self) -> Tensor:
        """(B or 1)×1×T×S, ``True`` where the query may attend."""
        assert self._table is not None
        return self._table

    def additive(self, dtype: torch.dtype) -> Tensor:
        """(B or 1)×1×T×S, 0 where the query may attend and half the lowest number of ``dtype`` elsewhere.

        Finite rather than -inf: an empty row then gives a finite softmax, which the
        kernel replaces by zeros, and no NaN in the gradient.
        """
        if dtype not in self._additive:
            table = self.boolean()
            once = table[:, :, :1] if table.stride(2) == 0 else table  # a rule that does not look at queries
            lowest = torch.finfo(dtype).min / 2  # half: adding it to a score must not overflow
            additive = torch.zeros(once.shape, dtype=dtype, device=table.device).masked_fill_(~once, lowest)
            self._additive[dtype] = additive.expand(table.shape)
        return self._additive[dtype]

    def runs(self) -> tuple[Tensor, Tensor] | None:
        """The first key that each query sees, and the one after the last, (B or 1)×T int32; None if there are gaps."""
        return None

    def rows_with_keys(self) -> Tensor:
        """(B or 1)×1×T×1, ``True`` where the query sees at least one key."""
        if self._rows_with_keys is None:
            self._rows_with_keys = self.boolean().any(-1, keepdim=True)
        return self._rows_with_keys


class MaskView(TableView):
    """A mask evaluated, when first asked, for some queries and keys."""

    def __init__(
        self,
        mask: "Mask",
        num_queries: int,
        num_keys: int,
        device: torch.device,
        positions: Tensor | None,
        first_key: int = 0,
    ):
        """
        Args:
            mask: the rule.
            num_queries: T.
            num_keys: S.
            device: where to evaluate.
            positions: T or B×T positions of the queries; None for the last T of the keys.
            first_key: position of the first key.

        Raises:
            ValueError: the mask is one of other sizes.
        """
        mask.check(num_queries, first_key + num_keys)
        self.mask, self.num_queries, self.num_keys, self.device = mask, num_queries, num_keys, device
        self.positions, self.first_key = positions, first_key
        at_end = positions is None
        self.is_plain_causal = mask.is_causal and at_end and num_queries == num_keys
        self.allows_everything = mask.allows_everything(num_queries, num_keys, at_end, first_key + num_keys)
        # queries at unknown positions, or more of them than keys, may stand before key 0
        sees_some = mask.allows_itself or (mask.allows_first_key and not first_key)
        super().__init__(None, not sees_some or not at_end or num_queries > num_keys)
        self._blocks: dict[tuple[int, int], TableView] = {}
        self._runs: tuple[Tensor, Tensor] | None = None

    def boolean(self) -> Tensor:
        """(B or 1)×1×T×S, ``True`` where the query may attend."""
        if self._table is None:
            queries = self.query_positions()
            keys = torch.arange(self.first_key, self.first_key + self.num_keys, device=self.device)[None, None]
            if self.mask.looks_at_queries:
                allowed = self.mask.allowed(queries[:, :, None], keys)
            else:
                allowed = self.mask.allowed(queries[:, :1, None], keys)
            self._table = allowed.expand(len(allowed), self.num_queries, self.num_keys)[:, None]
        return self._table

    def runs(self) -> tuple[Tensor, Tensor] | None:
        """As :meth:`TableView.runs`, in memory that grows with T; keys are counted from the first at hand."""
        if self._runs is None:
            queries = self.query_positions()
            rows = torch.arange(self.mask.rows, device=self.device)[:, None]
            run = self.mask.run(rows, queries)
            if run is None:
                return None
            shape = torch.broadcast_shapes(rows.shape, queries.shape)
            defaults = (self.first_key, self.first_key + self.num_keys)
            bounds = [
                queries.new_full(shape, default) if bound is None else bound.expand(shape)
                for bound, default in zip(run, defaults, strict=True)
            ]
            start, stop = ((bound - self.first_key).clamp(0, self.num_keys).int() for bound in bounds)
            self._runs = start.contiguous(), stop.contiguous()
        return self._runs

    def query_positions(self) -> Tensor:
        """(B or 1)×T positions of the queries."""
        if self.positions is None:
            stop = self.first_key + self.num_keys
            return torch.arange(stop - self.num_queries, stop, device=self.device)[None]
        return self.positions[None] if self.positions.dim() == 1 else self.positions

    def blocks(self, width: int, rows: int) -> TableView:
        """The view of blocks of ``width`` queries, each with the keys within the mask's reach; see ``blocked``.

        Its table has (B·blocks)×1×width×(left + width + right), for a batch of ``rows`` rows.
        """
        if (width, rows) not in self._blocks:
            left, right = self.mask.reach
            assert left is not None, "only windows have blocks"
            assert right is not None, "only windows have blocks"
            count = -(-self.num_queries // width)
            queries = torch.arange(count * width, device=self.device).view(1, -1, 1)
            keys = torch.arange(-left, width + right, device=self.device)
            keys = keys + width * torch.arange(count, device=self.device)[:, None]  # blocks × keys
            keys = keys.repeat_interleave(width, dim=0)[None]  # 1 × queries × keys of their block
            behind = self.num_keys - self.num_queries  # queries and keys are counted from the first query here
            exists = (keys >= -behind) & (keys < self.num_queries)
            start = self.first_key + behind
            numbers = queries.clamp(max=self.num_queries - 1)
            allowed = self.mask.allowed(queries + start, keys + start, numbers) & exists
            table = allowed.view(len(allowed), count, 1, width, -1)
            if len(allowed) != rows:
                table = table.expand(rows, -1, -1, -1, -1)
            self._blocks[width, rows] = TableView(table.flatten(0, 1), self.may_have_empty_rows)
        return self._blocks[width, rows]

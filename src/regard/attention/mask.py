"""Who may attend to whom: one mask type, combined with ``&`` and ``|``.

``True`` means *may attend*, everywhere. A mask is a rule, not a tensor: it is
evaluated for the query positions and the keys at hand, so that the same
``Mask.causal()`` serves a whole sentence, one decoding step, a batch whose rows
stand at different positions, the blocks of a window, or a compiled kernel. Without
explicit positions the queries are aligned to the *end* of the keys, which is what a
key-value cache needs. A mask is a value: it copies the tensors it is made of.

Shapes: B batch, T queries, S keys.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor

from regard.attention.view import MaskView, TableView

#: Views that a mask remembers; the layers of one model ask for one or two different ones.
_REMEMBERED_VIEWS = 4

#: Positions of the first key of a run and of the one after its last; None for no bound on that side.
Run = tuple[Tensor | None, Tensor | None]

Bound = TypeVar("Bound", int, Tensor)


class Mask(ABC):
    """A rule that says which key positions each query position may attend to."""

    #: How many rows of a batch the rule tells apart; 1 where it is the same for all.
    rows: int = 1
    #: True where every query at position 0 or later sees key 0, so that none of them is without keys.
    allows_first_key: bool = False
    #: True where every query sees the key at its own position, if there is one.
    allows_itself: bool = False
    #: True where the rule is the causal one, and nothing else.
    is_causal: bool = False
    #: True where two queries of a row may see different keys.
    looks_at_queries: bool = True
    #: How far before and after its own position a query may look; None for as far as it likes.
    reach: tuple[int | None, int | None] = (None, None)

    def __init__(self) -> None:
        self._views: dict[tuple, MaskView] = {}

    @abstractmethod
    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        """Whether queries may attend to keys; any integers of shapes that broadcast.

        Args:
            row: row of the batch.
            number: which of the T queries it is.
            query: its position.
            key: position of the key; it need not exist, the answer then does not matter.
        """

    def run(self, row: Tensor, query: Tensor) -> Run | None:
        """The keys that queries may attend to, where these are always one run without gaps; None where they may not be.

        What takes T×S booleans to say in general takes two numbers a query then.

        Args:
            row: rows of the batch, of a shape that broadcasts with the next.
            query: positions of queries.
        """
        return None

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        """True where the rule is known, without evaluating it, to forbid nothing.

        Args:
            num_queries: T.
            num_keys: S.
            at_end: whether the queries are the last of the keys, one after the other.
            stop: position after that of the last key.
        """
        return False

    def check(self, num_queries: int, num_keys: int) -> None:  # noqa: B027 - most rules fit any size
        """Raise ValueError where the mask is known to be one of other sizes."""

    def allowed(
        self,
        query_positions: Tensor,
        key_positions: Tensor,
        numbers: Tensor | None = None,
        rows: Tensor | None = None,
    ) -> Tensor:
        """Evaluate the rule.

        Args:
            query_positions: (B or 1)×T×1 absolute positions.
            key_positions: (B or 1)×(T or 1)×S absolute positions.
            numbers: (B or 1)×T×1 places of the queries among all of them; default 0 to T - 1.
            rows: B×1×1 rows of the batch; default all that the mask tells apart.

        Returns:
            (B or 1)×T×S booleans, or a shape that broadcasts to it.
        """
        device = query_positions.device
        if rows is None:
            rows = torch.arange(self.rows, device=device)[:, None, None]
        if numbers is None:
            numbers = torch.arange(query_positions.shape[1], device=device)[None, :, None]
        return self.rule(rows, numbers, query_positions, key_positions)

    def some(self, rows: Tensor, numbers: Tensor, positions: Tensor, num_keys: int, first_key: int) -> TableView:
        """Evaluate for some of the queries only.

        Args:
            rows: R rows of the batch.
            numbers: R×t places of the queries among all of them.
            positions: (R or 1)×t positions of the queries.
            num_keys: S.
            first_key: position of the first key.
        """
        keys = torch.arange(first_key, first_key + num_keys, device=rows.device)[None, None]
        allowed = self.allowed(positions[:, :, None], keys, numbers[:, :, None], rows[:, None, None])
        return TableView(allowed.expand(*numbers.shape, num_keys)[:, None], may_have_empty_rows=True)

    def view(
        self,
        num_queries: int,
        num_keys: int,
        device: torch.device,
        positions: Tensor | None = None,
        *,
        first_key: int = 0,
    ) -> MaskView:
        """Evaluate for ``num_queries`` against ``num_keys``; remembered, since every layer asks the same.

        Args:
            positions: T or B×T absolute positions of the queries; such a view is not
                remembered. Default: the last T of the S positions.
            first_key: position of the first key, where a cache has dropped those before.

        Raises:
            ValueError: ``positions`` are not those of ``num_queries`` queries.
        """
        if positions is not None:
            if positions.dim() not in (1, 2) or positions.shape[-1] != num_queries:
                raise ValueError(f"positions of {num_queries} queries are T or B×T, got {tuple(positions.shape)}")
            return MaskView(self, num_queries, num_keys, device, positions, first_key)
        # a tensor made in inference mode cannot take part in training later (torch.compile cannot ask)
        inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        key = (num_queries, num_keys, device, inference, first_key)
        if key not in self._views:
            if len(self._views) == _REMEMBERED_VIEWS:
                del self._views[next(iter(self._views))]
            self._views[key] = MaskView(self, num_queries, num_keys, device, None, first_key)
        return self._views[key]

    def __and__(self, other: "Mask") -> "Mask":
        return _And(self, other) if isinstance(other, Mask) else NotImplemented

    def __or__(self, other: "Mask") -> "Mask":
        return _Or(self, other) if isinstance(other, Mask) else NotImplemented

    @staticmethod
    def causal() -> "Mask":
        """A query sees the keys up to and including its own position."""
        return _Causal()

    @staticmethod
    def padding(lengths: Tensor) -> "Mask":
        """Row b sees its first ``lengths[b]`` keys only. ``lengths``: B integers, none negative."""
        return _Padding(lengths)

    @staticmethod
    def since(starts: Tensor) -> "Mask":
        """Row b sees its keys from position ``starts[b]`` on. ``starts``: B integers."""
        return _Since(starts)

    @staticmethod
    def window(left: int, right: int) -> "Mask":
        """A query at position p sees keys from ``p - left`` to ``p + right``, both included.

        With a causal mask, ``right`` is 0: another is refused, since it would say the opposite.
        """
        return _Window(left, right)

    @staticmethod
    def prefix(length: int | Tensor) -> "Mask":
        """Every query sees the first ``length`` keys (one number, or B of them)."""
        return _Prefix(length)

    @staticmethod
    def documents(ids: Tensor) -> "Mask":
        """A query sees the keys of its own document. ``ids``: S or B×S document numbers by position.

        A query whose position has no number sees nothing.
        """
        return _Documents(ids)

    @staticmethod
    def boolean(allowed: Tensor) -> "Mask":
        """An arbitrary T×S or B×T×S table, ``True`` where the query may attend.

        A size of 1 stands for all rows or queries: B×1×S says which keys each row of a batch sees.
        """
        return _Boolean(allowed)


def check_mask(mask: Mask | None) -> None:
    """Raise ValueError where something else is given as a mask, such as a tensor of booleans or of -∞."""
    if mask is not None and not isinstance(mask, Mask):
        what = f"a tensor {tuple(mask.shape)} {mask.dtype}" if isinstance(mask, Tensor) else type(mask).__name__
        raise ValueError(
            f"mask wants a regard.attention.Mask, got {what}. Mask.boolean(allowed) makes one of booleans, where True "
            "means may attend; Mask.padding(lengths) one of lengths"
        )


def _check_tensor(value: object, rule: str, name: str) -> None:
    if not isinstance(value, Tensor):
        raise ValueError(f"Mask.{rule} wants {name} as a tensor, got {type(value).__name__}")


def _row_numbers(numbers: Tensor, rule: str, name: str) -> Tensor:
    """A copy of one integer a row of the batch."""
    _check_tensor(numbers, rule, name)
    if numbers.dim() != 1 or numbers.dtype.is_floating_point or numbers.dtype == torch.bool:
        raise ValueError(
            f"Mask.{rule} wants {name} as a vector of B integers, got {tuple(numbers.shape)} {numbers.dtype}"
        )
    return numbers.detach().clone()


def _of_row(numbers: Tensor, row: Tensor) -> Tensor:
    """What each row has (or all rows share) of the first dimension of ``numbers``."""
    numbers = numbers.to(row.device)
    return numbers[row] if len(numbers) > 1 else numbers[row * 0]


class _Causal(Mask):
    allows_first_key = allows_itself = is_causal = True
    reach = (None, 0)

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key <= query

    def run(self, row: Tensor, query: Tensor) -> Run:
        return None, query + 1

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        return at_end and num_queries == 1


class _Padding(Mask):
    looks_at_queries = False

    def __init__(self, lengths: Tensor):
        super().__init__()
        self.lengths = _row_numbers(lengths, "padding", "lengths")
        self.rows = len(lengths)
        self.shortest = int(lengths.min()) if lengths.numel() else 0
        if self.shortest < 0:
            raise ValueError(f"Mask.padding wants lengths that are not negative, got {self.shortest}")
        self.allows_first_key = self.shortest > 0

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key < _of_row(self.lengths, row)

    def run(self, row: Tensor, query: Tensor) -> Run:
        return None, _of_row(self.lengths, row)

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        return self.shortest >= stop


class _Since(Mask):
    looks_at_queries = False

    def __init__(self, starts: Tensor):
        super().__init__()
        self.starts = _row_numbers(starts, "since", "starts")
        self.rows = len(starts)

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key >= _of_row(self.starts, row)

    def run(self, row: Tensor, query: Tensor) -> Run:
        return _of_row(self.starts, row), None


class _Window(Mask):
    allows_itself = True

    def __init__(self, left: int, right: int):
        super().__init__()
        for side, given in (("left", left), ("right", right)):
            if isinstance(given, bool) or not isinstance(given, int):
                raise ValueError(f"Mask.window wants {side} as a whole number of positions, got {given!r}")
        if left < 0 or right < 0:
            raise ValueError(f"Mask.window wants left and right that are not negative, got left={left}, right={right}")
        self.left, self.right = left, right
        self.reach = (left, right)

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return (key >= query - self.left) & (key <= query + self.right)

    def run(self, row: Tensor, query: Tensor) -> Run:
        return query - self.left, query + self.right + 1

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        return at_end and self.left >= num_keys - 1 and self.right >= num_queries - 1


class _Prefix(Mask):
    looks_at_queries = False

    def __init__(self, length: int | Tensor):
        super().__init__()
        self.length = _row_numbers(torch.as_tensor(length).reshape(-1), "prefix", "length")
        self.rows = len(self.length)
        self.allows_first_key = bool((self.length > 0).all())

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return key < _of_row(self.length, row)

    def run(self, row: Tensor, query: Tensor) -> Run:
        return None, _of_row(self.length, row)


class _Documents(Mask):
    def __init__(self, ids: Tensor):
        super().__init__()
        _check_tensor(ids, "documents", "ids")
        if ids.dim() not in (1, 2):
            raise ValueError(f"Mask.documents wants ids as S or B×S document numbers, got {tuple(ids.shape)}")
        self.ids = (ids if ids.dim() == 2 else ids[None]).detach().clone()
        self.rows = len(self.ids)
        self._in_order = bool((self.ids.diff(dim=1) >= 0).all())

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        known = self.ids.shape[1]
        return (self._at(row, query) == self._at(row, key)) & (query >= 0) & (query < known)

    def run(self, row: Tensor, query: Tensor) -> Run | None:
        if not self._in_order:  # a document may stand in several places
            return None
        row, query = torch.broadcast_tensors(row, query)
        ids = self.ids.to(row.device)[row[:, 0] if self.rows > 1 else row[:, 0] * 0]
        start, stop = (torch.searchsorted(ids, self._at(row, query), right=right) for right in (False, True))
        return start, torch.where((query >= 0) & (query < ids.shape[1]), stop, 0)

    def _at(self, row: Tensor, position: Tensor) -> Tensor:
        row = row if self.rows > 1 else row * 0
        return self.ids.to(row.device)[row, position.clamp(0, self.ids.shape[1] - 1)]

    def check(self, num_queries: int, num_keys: int) -> None:
        if self.ids.shape[1] < num_keys:
            raise ValueError(f"Mask.documents has ids for {self.ids.shape[1]} positions, but there are {num_keys} keys")


class _Boolean(Mask):
    def __init__(self, allowed: Tensor):
        super().__init__()
        _check_tensor(allowed, "boolean", "allowed")
        if allowed.dtype != torch.bool or allowed.dim() not in (2, 3):
            raise ValueError(
                "Mask.boolean wants allowed as T×S or B×T×S booleans (True = may attend), "
                f"got {tuple(allowed.shape)} {allowed.dtype}"
            )
        self.table = (allowed if allowed.dim() == 3 else allowed[None]).detach().clone()
        self.rows = len(self.table)

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        _, queries, keys = self.table.shape
        row = row if self.rows > 1 else row * 0
        number = number if queries > 1 else number * 0
        return self.table.to(row.device)[row, number, key.clamp(0, keys - 1)]

    def check(self, num_queries: int, num_keys: int) -> None:
        if self.table.shape[1] not in (1, num_queries) or self.table.shape[2] not in (1, num_keys):
            raise ValueError(
                f"Mask.boolean has allowed of {self.table.shape[1]}×{self.table.shape[2]}, "
                f"but there are {num_queries} queries and {num_keys} keys"
            )


class _Pair(Mask):
    """Two masks in one."""

    def __init__(self, first: Mask, second: Mask):
        super().__init__()
        if 1 not in (first.rows, second.rows) and first.rows != second.rows:
            raise ValueError(f"masks of {first.rows} and of {second.rows} rows do not go together")
        self.first, self.second = first, second
        self.rows = first.rows if second.rows == 1 else second.rows
        self.looks_at_queries = first.looks_at_queries or second.looks_at_queries

    def check(self, num_queries: int, num_keys: int) -> None:
        self.first.check(num_queries, num_keys)
        self.second.check(num_queries, num_keys)


class _And(_Pair):
    def __init__(self, first: Mask, second: Mask):
        super().__init__(first, second)
        _refuse_contradiction(first, second)
        _refuse_contradiction(second, first)
        self.allows_first_key = first.allows_first_key and second.allows_first_key
        self.allows_itself = first.allows_itself and second.allows_itself
        self.reach = (_stricter(first.reach[0], second.reach[0], min), _stricter(first.reach[1], second.reach[1], min))

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return self.first.rule(row, number, query, key) & self.second.rule(row, number, query, key)

    def run(self, row: Tensor, query: Tensor) -> Run | None:
        one, other = self.first.run(row, query), self.second.run(row, query)
        if one is None or other is None:
            return None
        return _stricter(one[0], other[0], torch.maximum), _stricter(one[1], other[1], torch.minimum)

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        return all(mask.allows_everything(num_queries, num_keys, at_end, stop) for mask in (self.first, self.second))


class _Or(_Pair):
    def __init__(self, first: Mask, second: Mask):
        super().__init__(first, second)
        self.allows_first_key = first.allows_first_key or second.allows_first_key
        self.allows_itself = first.allows_itself or second.allows_itself
        self.reach = (_looser(first.reach[0], second.reach[0], max), _looser(first.reach[1], second.reach[1], max))

    def rule(self, row: Tensor, number: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return self.first.rule(row, number, query, key) | self.second.rule(row, number, query, key)

    def run(self, row: Tensor, query: Tensor) -> Run | None:
        one, other = self.first.run(row, query), self.second.run(row, query)
        if one is None or other is None or one[0] is not None or other[0] is not None:
            return None  # runs that do not begin together may leave a gap
        return None, _looser(one[1], other[1], torch.maximum)

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool, stop: int) -> bool:
        return any(mask.allows_everything(num_queries, num_keys, at_end, stop) for mask in (self.first, self.second))


def _refuse_contradiction(one: Mask, other: Mask) -> None:
    """Raise ValueError where a window in ``one`` shows what ``other`` hides."""
    if isinstance(one, _And):
        _refuse_contradiction(one.first, other)
        _refuse_contradiction(one.second, other)
    elif isinstance(one, _Window) and one.right and other.reach[1] == 0:
        raise ValueError(
            f"Mask.window got right={one.right}, which contradicts the mask beside it: that one is causal and hides "
            "every key after the query. right=0 goes with it"
        )


def _stricter(one: Bound | None, other: Bound | None, choose: Callable[[Bound, Bound], Bound]) -> Bound | None:
    """Both of two bounds, where None is none."""
    return other if one is None else one if other is None else choose(one, other)


def _looser(one: Bound | None, other: Bound | None, choose: Callable[[Bound, Bound], Bound]) -> Bound | None:
    """Either of two bounds."""
    return None if one is None or other is None else choose(one, other)

"""Who may attend to whom: one mask type, combined with ``&`` and ``|``.

``True`` means *may attend*, everywhere. A mask is a rule, not a tensor: it is
evaluated for the query positions and the number of keys at hand, so that the
same ``Mask.causal()`` serves a whole sentence, one decoding step, or a batch
whose rows stand at different positions. Without explicit positions the queries
are aligned to the *end* of the keys, which is what a key-value cache needs.
A mask is a value: it copies the tensors it is made of.

Shapes: B batch, T queries, S keys.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor

#: Views that a mask remembers; the layers of one model ask for one or two different ones.
_REMEMBERED_VIEWS = 4


class Mask(ABC):
    """A rule that says which key positions each query position may attend to."""

    #: True where every query at position 0 or later sees key 0, so that none of them is without keys.
    allows_first_key: bool = False
    #: True where two queries of a row may see different keys.
    looks_at_queries: bool = True

    def __init__(self) -> None:
        self._views: dict[tuple, MaskView] = {}

    @abstractmethod
    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        """Evaluate the rule.

        Args:
            query_positions: (B or 1)×T×1 absolute positions.
            key_positions: 1×1×S absolute positions, ``arange(S)``.

        Returns:
            (B or 1)×T×S booleans, or a shape that broadcasts to it.
        """

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool) -> bool:
        """True where the rule is known, without evaluating it, to forbid nothing.

        Args:
            at_end: whether the queries are the last of the keys, one after the other.
        """
        return False

    def view(
        self, num_queries: int, num_keys: int, device: torch.device, positions: Tensor | None = None
    ) -> "MaskView":
        """Evaluate for ``num_queries`` against ``num_keys``; remembered, since every layer asks the same.

        Args:
            positions: T or B×T absolute positions of the queries; such a view is not
                remembered. Default: the last T of the S positions.

        Raises:
            ValueError: ``positions`` are not those of ``num_queries`` queries.
        """
        if positions is not None:
            if positions.dim() not in (1, 2) or positions.shape[-1] != num_queries:
                raise ValueError(f"positions of {num_queries} queries are T or B×T, got {tuple(positions.shape)}")
            return MaskView(self, num_queries, num_keys, device, positions)
        # a tensor made in inference mode cannot take part in training later (torch.compile cannot ask)
        inference = not torch.compiler.is_compiling() and torch.is_inference_mode_enabled()
        key = (num_queries, num_keys, device, inference)
        if key not in self._views:
            if len(self._views) == _REMEMBERED_VIEWS:
                del self._views[next(iter(self._views))]
            self._views[key] = MaskView(self, num_queries, num_keys, device, None)
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
        """Row b sees its first ``lengths[b]`` keys only. ``lengths``: B integers."""
        return _Padding(lengths)

    @staticmethod
    def since(starts: Tensor) -> "Mask":
        """Row b sees its keys from position ``starts[b]`` on. ``starts``: B integers."""
        return _Since(starts)

    @staticmethod
    def window(left: int, right: int) -> "Mask":
        """A query at position p sees keys from ``p - left`` to ``p + right``, both included."""
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


class MaskView:
    """A mask evaluated for one set of queries and keys, in the forms that the kernels want."""

    def __init__(self, mask: Mask, num_queries: int, num_keys: int, device: torch.device, positions: Tensor | None):
        self.mask = mask
        self.num_queries = num_queries
        self.num_keys = num_keys
        self.device = device
        self._positions = positions
        self._boolean: Tensor | None = None
        self._rows_with_keys: Tensor | None = None
        self._additive: dict[torch.dtype, Tensor] = {}

    @property
    def is_plain_causal(self) -> bool:
        """True where a kernel's own causal flag says the same as this mask."""
        return isinstance(self.mask, _Causal) and self.num_queries == self.num_keys and self._positions is None

    @property
    def allows_everything(self) -> bool:
        """True where one causal query at the end of the keys, or an unpadded batch, makes the mask idle."""
        return self.mask.allows_everything(self.num_queries, self.num_keys, self._positions is None)

    @property
    def may_have_empty_rows(self) -> bool:
        """True where some query might see no key at all; its output must then be zero."""
        # queries at unknown positions, or more of them than keys, may stand before key 0
        return not self.mask.allows_first_key or self._positions is not None or self.num_queries > self.num_keys

    def boolean(self) -> Tensor:
        """(B or 1)×1×T×S, ``True`` where the query may attend."""
        if self._boolean is None:
            positions = self._positions
            if positions is None:
                positions = torch.arange(self.num_keys - self.num_queries, self.num_keys, device=self.device)
            if positions.dim() == 1:
                positions = positions[None]
            keys = torch.arange(self.num_keys, device=self.device)[None, None]
            allowed = self.mask.allowed(positions[:, :, None], keys)
            shape = (allowed.shape[0], self.num_queries, self.num_keys)
            self._boolean = allowed.expand(shape)[:, None]
        return self._boolean

    def additive(self, dtype: torch.dtype) -> Tensor:
        """(B or 1)×1×T×S, 0 where the query may attend and half the lowest number of ``dtype`` elsewhere.

        Finite rather than -inf: an empty row then gives a finite softmax, which the
        kernel replaces by zeros, and no NaN in the gradient.
        """
        if dtype not in self._additive:
            boolean = self.boolean()
            lowest = torch.finfo(dtype).min / 2  # half: adding it to a score must not overflow
            additive = torch.zeros(boolean.shape, dtype=dtype, device=boolean.device)
            self._additive[dtype] = additive.masked_fill_(~boolean, lowest)
        return self._additive[dtype]

    def rows_with_keys(self) -> Tensor:
        """(B or 1)×1×T×1, ``True`` where the query sees at least one key."""
        if self._rows_with_keys is None:
            self._rows_with_keys = self.boolean().any(-1, keepdim=True)
        return self._rows_with_keys


def _row_numbers(numbers: Tensor, rule: str) -> Tensor:
    """A copy of one integer a row of the batch."""
    if numbers.dim() != 1 or numbers.dtype.is_floating_point or numbers.dtype == torch.bool:
        raise ValueError(f"Mask.{rule} wants a vector of B integers, got {tuple(numbers.shape)} {numbers.dtype}")
    return numbers.detach().clone()


class _Causal(Mask):
    allows_first_key = True

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions <= query_positions

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool) -> bool:
        return at_end and num_queries == 1


class _Padding(Mask):
    looks_at_queries = False

    def __init__(self, lengths: Tensor):
        super().__init__()
        self.lengths = _row_numbers(lengths, "padding")
        self.shortest = int(lengths.min()) if lengths.numel() else 0
        self.allows_first_key = self.shortest > 0

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions < self.lengths.to(key_positions.device)[:, None, None]

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool) -> bool:
        return self.shortest >= num_keys


class _Since(Mask):
    looks_at_queries = False

    def __init__(self, starts: Tensor):
        super().__init__()
        self.starts = _row_numbers(starts, "since")

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions >= self.starts.to(key_positions.device)[:, None, None]


class _Window(Mask):
    def __init__(self, left: int, right: int):
        super().__init__()
        if left < 0 or right < 0:
            raise ValueError(f"Mask.window wants non-negative sides, got left={left}, right={right}")
        self.left, self.right = left, right

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return (key_positions >= query_positions - self.left) & (key_positions <= query_positions + self.right)


class _Prefix(Mask):
    looks_at_queries = False

    def __init__(self, length: int | Tensor):
        super().__init__()
        self.length = _row_numbers(torch.as_tensor(length).reshape(-1), "prefix")
        self.allows_first_key = bool((self.length > 0).all())

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions < self.length.to(key_positions.device)[:, None, None]


class _Documents(Mask):
    def __init__(self, ids: Tensor):
        super().__init__()
        if ids.dim() not in (1, 2):
            raise ValueError(f"Mask.documents wants S or B×S document numbers, got {tuple(ids.shape)}")
        self.ids = (ids if ids.dim() == 2 else ids[None]).detach().clone()

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        num_keys, known = key_positions.shape[-1], self.ids.shape[1]
        if known < num_keys:
            raise ValueError(f"Mask.documents has numbers for {known} positions, but there are {num_keys} keys")
        ids = self.ids.to(key_positions.device)
        queries = query_positions[:, :, 0].expand(max(len(ids), len(query_positions)), -1)  # B×T
        numbered = (queries >= 0) & (queries < known)
        query_ids = ids.expand(len(queries), -1).gather(1, queries.clamp(0, max(known - 1, 0)))
        return (query_ids[:, :, None] == ids[:, None, :num_keys]) & numbered[:, :, None]


class _Boolean(Mask):
    def __init__(self, allowed: Tensor):
        super().__init__()
        if allowed.dtype != torch.bool or allowed.dim() not in (2, 3):
            raise ValueError(
                "Mask.boolean wants T×S or B×T×S booleans (True = may attend), "
                f"got {tuple(allowed.shape)} {allowed.dtype}"
            )
        self.table = (allowed if allowed.dim() == 3 else allowed[None]).detach().clone()

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        num_queries, num_keys = query_positions.shape[1], key_positions.shape[-1]
        if self.table.shape[1] not in (1, num_queries) or self.table.shape[2] not in (1, num_keys):
            raise ValueError(
                f"Mask.boolean has a table of {self.table.shape[1]}×{self.table.shape[2]}, "
                f"but there are {num_queries} queries and {num_keys} keys"
            )
        return self.table.to(key_positions.device)


class _And(Mask):
    def __init__(self, first: Mask, second: Mask):
        super().__init__()
        self.first, self.second = first, second
        self.allows_first_key = first.allows_first_key and second.allows_first_key
        self.looks_at_queries = first.looks_at_queries or second.looks_at_queries

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return self.first.allowed(query_positions, key_positions) & self.second.allowed(query_positions, key_positions)

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool) -> bool:
        return all(mask.allows_everything(num_queries, num_keys, at_end) for mask in (self.first, self.second))


class _Or(Mask):
    def __init__(self, first: Mask, second: Mask):
        super().__init__()
        self.first, self.second = first, second
        self.allows_first_key = first.allows_first_key or second.allows_first_key
        self.looks_at_queries = first.looks_at_queries or second.looks_at_queries

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return self.first.allowed(query_positions, key_positions) | self.second.allowed(query_positions, key_positions)

    def allows_everything(self, num_queries: int, num_keys: int, at_end: bool) -> bool:
        return any(mask.allows_everything(num_queries, num_keys, at_end) for mask in (self.first, self.second))

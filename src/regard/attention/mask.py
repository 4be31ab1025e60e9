"""Who may attend to whom: one mask type, combined with ``&`` and ``|``.

``True`` means *may attend*, everywhere. A mask is a rule, not a tensor: it is
evaluated for the query positions and the number of keys at hand, so that the
same ``Mask.causal()`` serves a whole sentence, one decoding step, or a batch
whose rows stand at different positions. Without explicit positions the queries
are aligned to the *end* of the keys, which is what a key-value cache needs.

Shapes: B batch, T queries, S keys.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor


class Mask(ABC):
    """A rule that says which key positions each query position may attend to."""

    #: True where the rule always lets a query see key 0, so that no row can be empty.
    allows_first_key: bool = False

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

    def view(self, num_queries: int, num_keys: int, device: torch.device, positions: Tensor | None = None) -> "MaskView":
        """Evaluate for ``num_queries`` against ``num_keys``; remembered, since every layer asks the same.

        Args:
            positions: T or B×T absolute positions of the queries. Default: the last T of the S positions.
        """
        key = (num_queries, num_keys, device, None if positions is None else id(positions))
        if key not in self._views:
            self._views[key] = MaskView(self, num_queries, num_keys, device, positions)
        return self._views[key]

    def __and__(self, other: "Mask") -> "Mask":
        return _And(self, other)

    def __or__(self, other: "Mask") -> "Mask":
        return _Or(self, other)

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
        """A query sees the keys of its own document. ``ids``: S or B×S document numbers by position."""
        return _Documents(ids)

    @staticmethod
    def boolean(allowed: Tensor) -> "Mask":
        """An arbitrary T×S or B×T×S table, ``True`` where the query may attend."""
        return _Boolean(allowed)


class MaskView:
    """A mask evaluated for one set of queries and keys, in the forms that the kernels want."""

    def __init__(self, mask: Mask, num_queries: int, num_keys: int, device: torch.device, positions: Tensor | None):
        self.mask = mask
        self.num_queries = num_queries
        self.num_keys = num_keys
        self.device = device
        self._positions = positions  # kept, so that the id() in the memo stays unique
        self._boolean: Tensor | None = None
        self._additive: dict[torch.dtype, Tensor] = {}

    @property
    def is_plain_causal(self) -> bool:
        """True where a kernel's own causal flag says the same as this mask."""
        return isinstance(self.mask, _Causal) and self.num_queries == self.num_keys and self._positions is None

    @property
    def allows_everything(self) -> bool:
        """True where one causal query at the end of the keys, or an unpadded batch, makes the mask idle."""
        causal_step = isinstance(self.mask, _Causal) and self.num_queries == 1 and self._positions is None
        return causal_step or (isinstance(self.mask, _Padding) and self.mask.shortest >= self.num_keys)

    @property
    def may_have_empty_rows(self) -> bool:
        """True where some query might see no key at all; its output must then be zero."""
        return not self.mask.allows_first_key

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
        """(B or 1)×1×T×S, 0 where the query may attend and the lowest number of ``dtype`` elsewhere.

        The lowest finite number rather than -inf: an empty row then gives a finite
        softmax, which the kernel replaces by zeros, and no NaN in the gradient.
        """
        if dtype not in self._additive:
            boolean = self.boolean()
            lowest = torch.finfo(dtype).min / 2  # half: adding it to a score must not overflow
            additive = torch.zeros(boolean.shape, dtype=dtype, device=boolean.device)
            self._additive[dtype] = additive.masked_fill_(~boolean, lowest)
        return self._additive[dtype]

    def rows_with_keys(self) -> Tensor:
        """(B or 1)×1×T×1, ``True`` where the query sees at least one key."""
        return self.boolean().any(-1, keepdim=True)


class _Causal(Mask):
    allows_first_key = True

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions <= query_positions


class _Padding(Mask):
    def __init__(self, lengths: Tensor):
        super().__init__()
        if lengths.dim() != 1 or lengths.dtype.is_floating_point:
            raise ValueError(f"Mask.padding wants a vector of B integer lengths, got {tuple(lengths.shape)} {lengths.dtype}")
        self.lengths = lengths
        self.shortest = int(lengths.min()) if lengths.numel() else 0
        self.allows_first_key = self.shortest > 0

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions < self.lengths.to(key_positions.device)[:, None, None]


class _Since(Mask):
    def __init__(self, starts: Tensor):
        super().__init__()
        self.starts = starts

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
    def __init__(self, length: int | Tensor):
        super().__init__()
        self.length = torch.as_tensor(length)
        self.allows_first_key = bool((self.length > 0).all())

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return key_positions < self.length.to(key_positions.device).reshape(-1, 1, 1)


class _Documents(Mask):
    def __init__(self, ids: Tensor):
        super().__init__()
        self.ids = ids if ids.dim() == 2 else ids[None]

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        ids = self.ids.to(key_positions.device)
        queries = query_positions[:, :, 0].expand(max(len(ids), len(query_positions)), -1)
        query_ids = ids.expand(len(queries), -1).gather(1, queries)
        return query_ids[:, :, None] == ids[:, None, : key_positions.shape[-1]]


class _Boolean(Mask):
    def __init__(self, table: Tensor):
        super().__init__()
        if table.dtype != torch.bool:
            raise ValueError(f"Mask.boolean wants booleans (True = may attend), got {table.dtype}")
        self.table = table if table.dim() == 3 else table[None]

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return self.table.to(key_positions.device)


class _And(Mask):
    def __init__(self, first: Mask, second: Mask):
        super().__init__()
        self.first, self.second = first, second
        self.allows_first_key = first.allows_first_key and second.allows_first_key

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return self.first.allowed(query_positions, key_positions) & self.second.allowed(query_positions, key_positions)


class _Or(Mask):
    def __init__(self, first: Mask, second: Mask):
        super().__init__()
        self.first, self.second = first, second
        self.allows_first_key = first.allows_first_key or second.allows_first_key

    def allowed(self, query_positions: Tensor, key_positions: Tensor) -> Tensor:
        return self.first.allowed(query_positions, key_positions) | self.second.allowed(query_positions, key_positions)

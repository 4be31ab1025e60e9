"""Keys and values kept between decoding steps, in memory that is allocated once.

All rows write to the same column, so that a step writes a slice and reads a
slice. A row that joined later simply has its first key in a later column: the
columns before it are masked (``Mask.since``), not moved. Behind a window, columns that
no later query can see are forgotten: such a cache never grows.
"""

import torch
from torch import Tensor


class KeyValueCache:
    """Keys B×G×L×K and values B×G×L×V with room for L columns, of which ``used`` are filled.

    Columns keep their numbers when those before them are forgotten.
    """

    def __init__(self, key: Tensor, value: Tensor, window: int | None = None):
        self._key, self._value = key, value
        #: How many columns before its own a query may see; None for all.
        self.window = window
        #: Columns written so far.
        self.used = 0
        self._forgotten = 0  # columns, those at the front

    @classmethod
    def empty(
        cls,
        rows: int,
        num_heads: int,
        capacity: int,
        head_dim: int,
        value_dim: int,
        *,
        dtype: torch.dtype,
        device: torch.device,
        window: int | None = None,
    ) -> "KeyValueCache":
        """Allocate room for ``capacity`` columns, or, behind a ``window``, for as many as it needs."""
        if window is not None:
            capacity = min(capacity, _room(window))
        # zeros, not empty: a masked column takes part in 0 × value, and 0 × NaN is NaN
        return cls(
            torch.zeros(rows, num_heads, capacity, head_dim, dtype=dtype, device=device),
            torch.zeros(rows, num_heads, capacity, value_dim, dtype=dtype, device=device),
            window,
        )

    @property
    def capacity(self) -> int:
        return self._key.shape[2]

    @property
    def rows(self) -> int:
        return self._key.shape[0]

    def append(self, key: Tensor, value: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Write T new columns (B×G×T×K, B×G×T×V) and return all from column ``first`` on.

        Behind a window, fewer: those that the new columns can see. What is returned is a view:
        it changes with the cache. For inference only.

        Raises:
            IndexError: the cache is full.
        """
        count = key.shape[2]
        if self.used + count - self._forgotten > self.capacity:
            if self.window is None:
                raise IndexError(f"key-value cache of {self.capacity} columns is full")
            self._move(max(self._forgotten, self.used - self.window), max(_room(self.window), self.window + count))
        stop = self.used + count - self._forgotten
        start = first - self._forgotten
        if self.window is not None:
            start = max(start, stop - count - self.window, 0)
        self._key[:, :, stop - count : stop] = key
        self._value[:, :, stop - count : stop] = value
        self.used += count
        return self._key[:, :, start:stop], self._value[:, :, start:stop]

    def select(self, rows: Tensor, first: int = 0) -> None:
        """Make row i what row ``rows[i]`` was (beams that branch, sentences that finish).

        There are ``len(rows)`` rows afterwards. The columns before ``first`` are not moved:
        they must not be read any more.
        """
        filled = slice(max(0, first - self._forgotten), self.used - self._forgotten)
        key, value = self._key[:, :, filled].index_select(0, rows), self._value[:, :, filled].index_select(0, rows)
        if len(rows) > self.rows:
            self.add_rows(len(rows) - self.rows)
        elif len(rows) < self.rows:
            self._key, self._value = self._key[: len(rows)], self._value[: len(rows)]
        self._key[:, :, filled] = key
        self._value[:, :, filled] = value

    def add_rows(self, rows: int) -> None:
        """Append ``rows`` empty rows; what they see of the columns so far is zeros."""
        self._key = torch.cat([self._key, self._key.new_zeros(rows, *self._key.shape[1:])])
        self._value = torch.cat([self._value, self._value.new_zeros(rows, *self._value.shape[1:])])

    def make_room(self, first: int, capacity: int) -> None:
        """Drop the columns before ``first``, which becomes column 0, and allocate ``capacity`` columns.

        Raises:
            ValueError: the columns that stay need more room.
        """
        if self.window is not None:
            first_kept = max(first, self._forgotten, self.used - self.window)
            capacity = min(capacity, max(_room(self.window), self.used - first_kept))
        else:
            first_kept = first
        if self.used - first_kept > capacity:
            raise ValueError(f"{self.used - first_kept} columns are in use, more than a capacity of {capacity}")
        self._move(first_kept, capacity)
        self.used -= first
        self._forgotten -= first

    def _move(self, first: int, capacity: int) -> None:
        """Forget the columns before ``first`` and allocate ``capacity`` columns."""
        kept = slice(first - self._forgotten, self.used - self._forgotten)
        key = self._key.new_zeros(*self._key.shape[:2], capacity, self._key.shape[3])
        value = self._value.new_zeros(*self._value.shape[:2], capacity, self._value.shape[3])
        key[:, :, : kept.stop - kept.start] = self._key[:, :, kept]
        value[:, :, : kept.stop - kept.start] = self._value[:, :, kept]
        self._key, self._value, self._forgotten = key, value, first


def _room(window: int) -> int:
    """Columns for a window: twice what it sees, so that moving them costs one column a step."""
    return 2 * window + 16

"""Keys and values kept between decoding steps, in memory that is allocated once.

All rows write to the same column, so that a step writes a slice and reads a
slice. A row that joined later simply has its first key in a later column: the
columns before it are masked (``Mask.since``), not moved.
"""

import torch
from torch import Tensor


class KeyValueCache:
    """Keys B×H×L×K and values B×H×L×V with room for L columns, of which ``used`` are filled."""

    def __init__(self, key: Tensor, value: Tensor):
        self._key, self._value = key, value
        self.used = 0

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
    ) -> "KeyValueCache":
        """Allocate room for ``capacity`` columns."""
        # zeros, not empty: a masked column takes part in 0 × value, and 0 × NaN is NaN
        return cls(
            torch.zeros(rows, num_heads, capacity, head_dim, dtype=dtype, device=device),
            torch.zeros(rows, num_heads, capacity, value_dim, dtype=dtype, device=device),
        )

    @property
    def capacity(self) -> int:
        return self._key.shape[2]

    @property
    def rows(self) -> int:
        return self._key.shape[0]

    def append(self, key: Tensor, value: Tensor, first: int = 0) -> tuple[Tensor, Tensor]:
        """Write T new columns (B×H×T×K, B×H×T×V) and return all from column ``first`` on.

        What is returned is a view: it changes with the cache. For inference only.

        Raises:
            IndexError: the cache is full.
        """
        stop = self.used + key.shape[2]
        if stop > self.capacity:
            raise IndexError(f"key-value cache of {self.capacity} columns is full")
        self._key[:, :, self.used : stop] = key
        self._value[:, :, self.used : stop] = value
        self.used = stop
        return self._key[:, :, first:stop], self._value[:, :, first:stop]

    def select(self, rows: Tensor, first: int = 0) -> None:
        """Make row i what row ``rows[i]`` was (beams that branch, sentences that finish).

        There are ``len(rows)`` rows afterwards. The columns before ``first`` are not moved:
        they must not be read any more.
        """
        filled = slice(first, self.used)
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
        """Drop the columns before ``first`` and allocate ``capacity`` columns.

        Raises:
            ValueError: the columns that stay need more room.
        """
        if self.used - first > capacity:
            raise ValueError(f"{self.used - first} columns are in use, more than a capacity of {capacity}")
        key = self._key.new_zeros(*self._key.shape[:2], capacity, self._key.shape[3])
        value = self._value.new_zeros(*self._value.shape[:2], capacity, self._value.shape[3])
        kept = self.used - first
        key[:, :, :kept] = self._key[:, :, first : self.used]
        value[:, :, :kept] = self._value[:, :, first : self.used]
        self._key, self._value, self.used = key, value, kept

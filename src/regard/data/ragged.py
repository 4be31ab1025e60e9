"""Sequences of different lengths in flat files, memory-mapped: what is larger than memory can be read at any place."""

from pathlib import Path
from types import TracebackType

import numpy as np


class RaggedArray:
    """What a :class:`RaggedWriter` wrote."""

    def __init__(self, folder: Path, name: str):
        """Open it, without reading more than the header.

        Raises:
            OSError: a file is missing.
            ValueError: a file is damaged or cut short.
        """
        self.offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r")
        self.values = np.load(folder / f"{name}.values.npy", mmap_mode="r")
        if self.offsets[-1] != len(self.values):
            raise ValueError(f"{name} has {len(self.values)} pieces, not {self.offsets[-1]}")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self) -> np.ndarray:
        """The length of each sequence, as int32."""
        return np.asarray(np.diff(self.offsets), dtype=np.int32)


class FlatWriter:
    """Appends to a one-dimensional ``.npy`` file whose length is not known before the end.

    Written as a file and not through a memory map: on a full disk that would be a bus error.
    """

    def __init__(self, path: Path, dtype: type):
        self.dtype, self.count = np.dtype(dtype), 0
        self.file = open(path, "wb")  # noqa: SIM115 - closed on exit
        self._write_header()

    def _write_header(self) -> None:
        # NumPy leaves room in the header for any length, so that it can be written again in place.
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self.count,)}
        np.lib.format.write_array_header_1_0(self.file, header)

    def write(self, values: np.ndarray) -> None:
        """Append ``values``."""
        self.file.write(np.asarray(values, dtype=self.dtype).tobytes())
        self.count += len(values)

    def __enter__(self) -> "FlatWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self.file:
            if kind is None:
                self.file.seek(0)
                self._write_header()


class RaggedWriter:
    """Appends sequences of different lengths."""

    def __init__(self, folder: Path, name: str, dtype: type):
        self.offsets_path = folder / f"{name}.offsets.npy"
        self.values = FlatWriter(folder / f"{name}.values.npy", dtype)
        self.lengths = [np.zeros(1, dtype=np.int64)]

    def write(self, rows: list[np.ndarray]) -> None:
        """Append each of ``rows``."""
        self.lengths.append(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
        if rows:
            self.values.write(np.concatenate(rows))

    def __enter__(self) -> "RaggedWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.values.__exit__(kind, error, trace)
        if kind is None:
            np.save(self.offsets_path, np.cumsum(np.concatenate(self.lengths)))

"""Zip archives from strangers: read with limits on what they inflate to, written with all else as it was."""

import io
import struct
import zipfile
import zlib
from collections.abc import Mapping

from regard.base.errors import DataError
from regard.data.documents.limits import Limits

#: What the standard library raises, depending on which byte is wrong.
_DAMAGED = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OSError,
)


class Archive:
    """An archive whose names and sizes have been looked at."""

    def __init__(self, data: bytes, limits: Limits):
        """
        Raises:
            DataError: no archive, or one that is encrypted, damaged, too large, or has names that lead elsewhere.
        """
        self.limits = limits
        try:
            self.file = zipfile.ZipFile(io.BytesIO(data))
        except _DAMAGED as error:
            raise DataError(f"this is not a document of its kind: no readable zip archive ({error}).") from error
        self.entries = self.file.infolist()
        if len(self.entries) > limits.max_entries:
            raise DataError(f"the archive has {len(self.entries):,} entries; at most {limits.max_entries:,} are read.")
        names = set()
        for entry in self.entries:
            _check_name(entry.filename)
            if entry.filename in names:
                raise DataError(f"the archive has two entries named '{entry.filename[:80]}'.")
            names.add(entry.filename)
            if entry.flag_bits & 1:
                raise DataError("the document is encrypted. Take the password off first.")
        declared = sum(entry.file_size for entry in self.entries)
        if declared > limits.max_inflated:
            raise _too_large(declared, limits)
        self.inflated = 0

    def names(self) -> list[str]:
        """Names of the entries, in order."""
        return [entry.filename for entry in self.entries]

    def read(self, name: str) -> bytes:
        """An entry; what was inflated is counted, not what the archive says of itself."""
        try:
            with self.file.open(name) as stream:
                data = stream.read(self.limits.max_inflated - self.inflated + 1)
        except _DAMAGED as error:
            raise DataError(f"'{name[:80]}' in the archive is damaged.") from error
        self.inflated += len(data)
        if self.inflated > self.limits.max_inflated:
            raise _too_large(self.inflated, self.limits)
        return data

    def rewritten(self, changed: Mapping[str, bytes]) -> bytes:
        """The archive with other content for some entries: same order, names, dates and attributes."""
        output = io.BytesIO()
        self.inflated = 0
        with zipfile.ZipFile(output, "w") as new:
            for entry in self.entries:
                data = changed[entry.filename] if entry.filename in changed else self.read(entry.filename)
                new.writestr(entry, data, entry.compress_type)
            new.comment = self.file.comment
        return output.getvalue()


def _check_name(name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith("/") or ".." in parts or "\0" in name or ":" in parts[0]:
        raise DataError(f"the archive has an entry named '{name[:80]}', which leads out of it.")


def _too_large(size: int, limits: Limits) -> DataError:
    return DataError(f"the document inflates to {size:,} bytes or more; at most {limits.max_inflated:,} are read.")

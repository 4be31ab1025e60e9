"""Writes that either happen whole or not at all.

Everything is written under a temporary name in the same folder, flushed to the
disk (fsync) and renamed. A crash, a full disk or a kill leaves the earlier file
as it was; what is left of the attempt has a name that starts with ``.tmp-``.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regard.base.errors import RegardError


def _fsync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _fsync_file(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def explain_write_error(path: Path, error: OSError) -> RegardError:
    """Turn an ``OSError`` of a write into an error that says what to do."""
    return RegardError(
        f"cannot write {path}: {error.strerror or error}. Nothing that was there before was changed. "
        "Free some space, or choose a folder that can be written."
    )


def write_atomic(path: str | Path, content: str | bytes) -> None:
    """Write ``content`` to ``path`` whole or not at all; text is UTF-8 with ``\\n`` line ends."""
    path = Path(path)
    if isinstance(content, str):
        content = content.encode("utf-8")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fd, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    except OSError as error:
        raise explain_write_error(path, error) from error
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes 0600, which another user's server could not read
        os.replace(name, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise explain_write_error(path, error) from error
    finally:
        Path(name).unlink(missing_ok=True)


def digest(path: str | Path) -> str:
    """The BLAKE2 hash of a file's content, as 32 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()


@contextmanager
def new_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block ends without an error.

    An existing ``path`` is replaced: it is moved aside, the new folder takes its
    name, and only then is the old one removed.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
        temporary.chmod(0o755)
    except OSError as error:
        raise explain_write_error(path, error) from error
    try:
        yield temporary
        for file in temporary.rglob("*"):
            if file.is_file():
                _fsync_file(file)
        _fsync_folder(temporary)
        if path.exists():
            aside = Path(tempfile.mkdtemp(prefix=".tmp-", dir=path.parent))
            os.rename(path, aside / path.name)
            os.rename(temporary, path)
            shutil.rmtree(aside, ignore_errors=True)
        else:
            os.rename(temporary, path)
        _fsync_folder(path.parent)
    except OSError as error:
        raise explain_write_error(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)

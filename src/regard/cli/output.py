"""Where a verb writes: standard output as it comes, or a file that appears whole or not at all."""

import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from regard.base.files import explain_write_error

# What only a write can end with; the block may fail for other reasons.
_WRITING = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM})


@contextmanager
def open_output(path: Path | None) -> Iterator[TextIO]:
    """Yield a text stream: standard output for None and ``-``, else a file in UTF-8 with ``\\n`` line ends.

    The file takes its name when the block ends without an error; until then what was there
    before stays. Devices and pipes are written to directly, links are followed.

    Raises:
        RegardError: the file cannot be written.
    """
    if path is None or str(path) == "-":
        yield sys.stdout
        return
    if path.exists() and not path.is_file():
        if path.is_dir():
            raise explain_write_error(path, IsADirectoryError(0, "it is a folder"))
        with open(path, "w", encoding="utf-8", newline="\n") as stream:  # /dev/null must not be renamed over
            yield stream
        return
    path = path.resolve()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        number, name = tempfile.mkstemp(prefix=".tmp-", dir=path.parent)
    except OSError as error:
        raise explain_write_error(path, error) from error
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as stream:
            yield stream
            stream.flush()
            os.fsync(number)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)  # mkstemp makes 0600
        os.replace(name, path)
    except OSError as error:
        if error.errno in _WRITING:
            raise explain_write_error(path, error) from error
        raise
    finally:
        with suppress(OSError):
            os.unlink(name)

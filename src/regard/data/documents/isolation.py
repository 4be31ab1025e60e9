"""Documents are parsed in a process of their own, with limits on its memory and time.

A document from a stranger may be made to exhaust a parser. Here it can exhaust only a process that
holds nothing else, and the caller gets an error that says so. The two talk through pipes in JSON; nothing
is unpickled, and nothing of the document is written to the disk.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from regard.base.errors import DataError
from regard.data.documents.limits import Limits
from regard.data.documents.marked import Marked, Tag
from regard.data.documents.parsing import Request, parse, write


def find_segments(data: bytes, request: Request) -> list[dict[str, Any]]:
    """What is said of each segment of a document: source, target, context, note.

    Raises:
        DataError: the document cannot be read, or needs more than the limits allow.
    """
    return json.loads(_ask("find", data, request))


def put_in(data: bytes, request: Request, translations: Mapping[str, Marked]) -> bytes:
    """The document with translations.

    Raises:
        DataError: as for :func:`find_segments`.
    """
    return _ask("write", data, request, {number: to_json(marked) for number, marked in translations.items()})


def to_json(marked: Marked) -> list[Any]:
    """A marked text as JSON can hold it."""
    return [marked.text, [[tag.position, tag.name, tag.kind, tag.reads] for tag in marked.tags]]


def from_json(value: list[Any]) -> Marked:
    """Back from :func:`to_json`."""
    return Marked(value[0], tuple(Tag(*tag) for tag in value[1]))


def _ask(what: str, data: bytes, request: Request, translations: dict[str, Any] | None = None) -> bytes:
    limits = request.limits
    if len(data) > limits.max_bytes:
        raise DataError(f"the document has {len(data):,} bytes; at most {limits.max_bytes:,} are read.")
    question = json.dumps({"what": what, "request": asdict(request), "translations": translations or {}}).encode()
    package = str(Path(__file__).parents[3])
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "regard.data.documents.isolation"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": package, "PYTHONUTF8": "1"},
    )
    with process:
        try:
            answer, _ = process.communicate(b"%d\n%s%s" % (len(question), question, data), timeout=2 * limits.seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise _too_much(limits) from None
    status, _, rest = answer.partition(b"\n")
    if status == b"error":
        raise DataError(rest.decode())
    if status != b"done":
        raise _too_much(limits)
    return rest


def _too_much(limits: Limits) -> DataError:
    return DataError(
        f"the document was given up: reading it takes more than {limits.seconds:g} seconds or "
        f"{limits.memory:,} bytes of memory. Divide it, or raise the limits."
    )


def _limit(limits: Limits) -> None:
    try:
        import resource
    except ImportError:  # Windows: the caller's clock is all there is
        return
    seconds = max(1, round(limits.seconds))
    for kind, value in ((resource.RLIMIT_AS, limits.memory), (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_CORE, 0)):
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))


def _answer() -> bytes:
    """The work of the process."""
    question = json.loads(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))
    given = question["request"]
    request = Request(**{**given, "limits": Limits(**given["limits"])})
    _limit(request.limits)
    data = sys.stdin.buffer.read()
    parts = parse(data, request)
    if question["what"] == "write":
        translations = {number: from_json(value) for number, value in question["translations"].items()}
        return write(data, parts, translations, request)
    holes = (hole for part in parts for hole in part.skeleton.holes)
    found = [
        {
            "source": to_json(hole.source),
            "target": to_json(hole.target) if hole.target else None,
            "context": hole.context,
            "note": hole.note,
        }
        for hole in holes
    ]
    return json.dumps(found).encode()


def _main() -> None:
    try:
        answer = b"done\n" + _answer()
    except DataError as error:
        answer = b"error\n" + str(error).encode("utf-8", "replace")
    except (MemoryError, RecursionError):
        os._exit(1)  # no status: the caller knows what that means
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    _main()

"""Bytes of a document → its parts and their holes → bytes with translations in the holes.

This runs on what strangers send: :mod:`regard.data.documents.isolation` runs it in a process of its own.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module

from regard.base.errors import DataError
from regard.data.documents.archive import Archive
from regard.data.documents.encoding import Encoding, decode
from regard.data.documents.formats import Format, get_format
from regard.data.documents.limits import Limits
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, Skeleton


@dataclass(frozen=True)
class Request:
    """What is to be read, and how."""

    format: str
    """Name of the format."""
    source: str = ""
    """Language to translate from, where the format needs to know (tmx)."""
    target: str = ""
    """Language to translate into, likewise."""
    limits: Limits = field(default_factory=Limits)
    """Bounds on its size, and on what reading it may take."""


@dataclass
class Part:
    """A text in a document: all of it, or one of the files in its archive."""

    name: str
    """Name of the file in the archive; empty for all of a document."""
    encoding: Encoding
    skeleton: Skeleton


def parse(data: bytes, request: Request) -> list[Part]:
    """The parts of a document.

    Raises:
        DataError: the bytes are no document of this format, or beyond a limit.
    """
    limits = request.limits
    format = get_format(request.format)
    if len(data) > limits.max_bytes:
        raise DataError(f"the document has {len(data):,} bytes; at most {limits.max_bytes:,} are read.")
    if format.parts:
        archive = Archive(data, limits)
        wanted = [name for name in archive.names() if re.fullmatch(format.parts, name)]
        if not wanted:
            raise DataError(f"this zip archive is no {format.title} document: it has no text where that has it.")
        parts = [_part(archive.read(name), format, name, request) for name in sorted(wanted, key=_reading_order)]
    else:
        parts = [_part(data, format, "", request)]
    count = sum(len(part.skeleton.holes) for part in parts)
    if count > limits.max_segments:
        raise DataError(f"the document has {count:,} segments; at most {limits.max_segments:,} are read.")
    return parts


def write(data: bytes, parts: Sequence[Part], translations: Mapping[str, Marked], request: Request) -> bytes:
    """The document with translations; the same bytes where there are none.

    Args:
        data: the document that ``parts`` come from.
        parts: as :func:`parse` gives them.
        translations: number of a segment, from 1 in the order of the document → its translation.
        request: as it was parsed.

    Raises:
        DataError: the document's encoding lacks a character of a translation.
    """
    errors = "xmlcharrefreplace" if get_format(request.format).markup else "strict"
    changed: dict[str, bytes] = {}
    first = 1
    for part in parts:
        numbers = range(len(part.skeleton.holes))
        filled = {i: translations[str(first + i)] for i in numbers if str(first + i) in translations}
        first += len(numbers)
        text = part.skeleton.render(filled)
        if text != part.skeleton.text:
            changed[part.name] = part.encoding.encode(text, errors)
    if not changed:
        return data
    return changed[""] if "" in changed else Archive(data, request.limits).rewritten(changed)


def _part(data: bytes, format: Format, name: str, request: Request) -> Part:
    module = import_module(f"regard.data.documents.{format.module}")
    text, encoding = decode(data, getattr(module, "DECLARATION", None))
    find = getattr(module, format.function)
    holes: list[Hole]
    if format.parts:
        holes = find(text, name)
    elif format.name == "tmx":
        holes = find(text, request.source, request.target)
    else:
        holes = find(text)
    return Part(name, encoding, Skeleton(text, holes))


def _reading_order(name: str) -> tuple[bool, list[tuple[int, str]]]:
    """The main text first, slide 2 before slide 10."""
    pieces = [(int(piece), "") if piece.isdigit() else (-1, piece) for piece in re.split(r"(\d+)", name)]
    return not name.endswith("document.xml") and not name.startswith(("content", "ppt/slides/")), pieces

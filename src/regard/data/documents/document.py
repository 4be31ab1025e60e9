"""A document as its segments, to be translated and put back."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from regard.base.errors import DataError
from regard.data.documents.formats import FORMATS, Format, format_of, get_format
from regard.data.documents.isolation import find_segments, from_json, put_in
from regard.data.documents.limits import Limits
from regard.data.documents.marked import Marked
from regard.data.documents.parsing import Request


@dataclass(frozen=True)
class DocumentSegment:
    """A piece of a document that is translated by itself: a paragraph, a heading, a cell, a message."""

    id: str
    """Its number in the document, from 1; the same whenever the same document is opened."""
    source: Marked
    """What is to be translated."""
    target: Marked | None = None
    """A translation that the document has already, though a doubtful one (po, xliff)."""
    context: str = ""
    """Where it stands: a file in the archive, a key, a row and column, a time."""
    note: str = ""
    """What the document's author says to translators."""


@dataclass(frozen=True)
class Document:
    """A document that has been read; it keeps the bytes it was read from, and nothing open."""

    data: bytes
    """The file."""
    format: Format
    """What kind of document it is."""
    segments: tuple[DocumentSegment, ...]
    """What is translated, in the order in which it is read. What has no words is not among them."""
    request: Request
    """How it was read."""

    @cached_property
    def by_id(self) -> dict[str, DocumentSegment]:
        """Segments by their numbers."""
        return {segment.id: segment for segment in self.segments}

    def with_translations(self, translations: Mapping[str, Marked | str]) -> bytes:
        """The file with translations put in; everything else stays byte for byte.

        Args:
            translations: number of a segment → its translation. A string may have tags as
                ``str(segment.source)`` shows them. Segments that are not here stay as they are.
                Tags that the source does not have are taken away; missing ones that stand alone
                (an image, a formula) are put at the end.

        Raises:
            DataError: there is no such segment, its tags do not nest, or the document's encoding
                lacks a character of the translation.
        """
        marked: dict[str, Marked] = {}
        for number, translation in translations.items():
            if number not in self.by_id:
                raise DataError(f"the document has {len(self.segments):,} segments; there is none numbered {number!r}.")
            source = self.by_id[number].source
            marked[number] = Marked.parse(translation, source) if isinstance(translation, str) else translation
        return put_in(self.data, self.request, marked) if marked else self.data


def open_document(
    file: str | Path | bytes,
    *,
    format: str | None = None,
    source: str = "",
    target: str = "",
    limits: Limits | None = None,
) -> Document:
    """Read a document.

    Args:
        file: its path, or its bytes.
        format: name of its format, such as ``docx``; by default what the end of the path says.
        source: language to translate from, where the format needs to know (tmx).
        target: language to translate into, likewise.
        limits: bounds on its size and on what reading it may take.

    Raises:
        DataError: it cannot be read; the message says why and what to do.
    """
    if format is None:
        format = None if isinstance(file, bytes) else format_of(file)
        if format is None:
            shown = "the bytes" if isinstance(file, bytes) else f"'{file}'"
            raise DataError(f"which format {shown} have is not known; name one of {', '.join(FORMATS)} (format=…).")
    request = Request(get_format(format).name, source, target, limits or Limits())
    data = file if isinstance(file, bytes) else _read(Path(file), request.limits)
    segments = tuple(
        DocumentSegment(
            id=str(number),
            source=from_json(found["source"]),
            target=from_json(found["target"]) if found["target"] else None,
            context=found["context"],
            note=found["note"],
        )
        for number, found in enumerate(find_segments(data, request), 1)
    )
    return Document(data, get_format(format), segments, request)


def _read(path: Path, limits: Limits) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(limits.max_bytes + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error

"""Documents taken apart and put together in this process."""

from collections.abc import Callable

import pytest

from regard.data.documents.marked import Marked
from regard.data.documents.parsing import Request, parse, write
from regard.data.documents.skeleton import Hole


class Taken:
    """A document taken apart."""

    def __init__(self, data: bytes | str, format: str, **languages: str):
        self.data = data.encode() if isinstance(data, str) else data
        self.request = Request(format, **languages)
        self.parts = parse(self.data, self.request)

    @property
    def holes(self) -> list[Hole]:
        return [hole for part in self.parts for hole in part.skeleton.holes]

    @property
    def sources(self) -> list[Marked]:
        return [hole.source for hole in self.holes]

    @property
    def shown(self) -> list[str]:
        return [str(source) for source in self.sources]

    def filled(self, *translations: str | Marked) -> bytes:
        """The document with one translation for each segment."""
        assert len(translations) == len(self.holes)
        marked = [
            Marked.parse(t, s) if isinstance(t, str) else t for t, s in zip(translations, self.sources, strict=True)
        ]
        return write(self.data, self.parts, {str(i): m for i, m in enumerate(marked, 1)}, self.request)

    def changed(self, change: Callable[[str], str]) -> bytes:
        """The document with each segment's text changed between its tags."""
        return self.filled(*(changed(source, change) for source in self.sources))


def changed(marked: Marked, change: Callable[[str], str]) -> Marked:
    text, tags = "", []
    for piece in marked.pieces():
        if isinstance(piece, str):
            text += change(piece)
        else:
            tags.append(type(piece)(len(text), piece.name, piece.kind, piece.reads))
    return Marked(text, tuple(tags))


@pytest.fixture(scope="session")
def take() -> type[Taken]:
    return Taken

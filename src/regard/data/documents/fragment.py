"""A text of HTML or Markdown in a request: taken apart and put together in this process, since it is short."""

from collections.abc import Callable, Sequence

from regard.base.errors import DataError, did_you_mean
from regard.data.documents import html, markdown
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, Skeleton

_PARSERS: dict[str, Callable[[str], list[Hole]]] = {"html": html.parse, "md": markdown.parse}


class Fragment:
    """A page, or any part of one. What it says of its encoding is not asked: it is text already."""

    def __init__(self, text: str, format: str = "html"):
        """
        Args:
            text: the page.
            format: html or md.

        Raises:
            DataError: another format.
        """
        if format not in _PARSERS:
            raise DataError(f"'{format}' is not a format of fragments.{did_you_mean(format, _PARSERS)}")
        self._skeleton = Skeleton(text, _PARSERS[format](text))

    @property
    def segments(self) -> list[Marked]:
        """What is to be translated, in order."""
        return [hole.source for hole in self._skeleton.holes]

    def with_translations(self, translations: Sequence[Marked]) -> str:
        """The fragment with a translation for each of its segments."""
        if len(translations) != len(self._skeleton.holes):
            raise ValueError(f"{len(self._skeleton.holes)} segments were given {len(translations)} translations.")
        return self._skeleton.render(dict(enumerate(translations)))

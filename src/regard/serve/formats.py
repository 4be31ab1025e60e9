"""Texts of a request as marked texts, and back: plain, with numbered tags, HTML or Markdown."""

from regard.data.documents.fragment import Fragment
from regard.data.documents.marked import Marked

_DOCUMENTS = {"html": "html", "markdown": "md"}


class Formatted:
    """Texts taken apart into what is translated, with its inline tags."""

    def __init__(self, texts: list[str], format: str, likes: list[Marked] | None = None):
        """
        Args:
            texts: as they were sent; their size is bounded, so they are parsed here and not in a process of their own.
            format: text, marked (numbered tags), html or markdown.
            likes: with ``marked``, for each text one that knows what its tags read as (a line break).

        Raises:
            DataError: a text is not of that format.
        """
        self.texts = texts
        self.pieces: list[Marked] = []
        """What is translated, of all texts, in order."""
        self.text_of: list[int] = []
        """For each of ``pieces`` the number of its text."""
        self._fragments: list[Fragment] | None = None
        if format not in _DOCUMENTS:
            if format == "marked":
                known = likes or [None] * len(texts)
                self.pieces = [Marked.parse(text, like) for text, like in zip(texts, known, strict=True)]
            else:
                self.pieces = [Marked(text) for text in texts]
            self.text_of = list(range(len(texts)))
            return
        self._fragments = [Fragment(text, _DOCUMENTS[format]) for text in texts]
        for number, fragment in enumerate(self._fragments):
            self.pieces += fragment.segments
            self.text_of += [number] * len(fragment.segments)

    def filled(self, translations: list[Marked]) -> list[str]:
        """The texts with translations of ``pieces`` in them."""
        if self._fragments is None:
            return [str(t) if t.tags else t.text for t in translations]
        filled, place = [], 0
        for fragment in self._fragments:
            count = len(fragment.segments)
            filled.append(fragment.with_translations(translations[place : place + count]))
            place += count
        return filled

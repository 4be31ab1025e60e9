"""Text with inline markup in a neutral form, the same for every format of document.

The text stands by itself and the tags beside it, each with its place. As a string
(:meth:`Marked.__str__`) the tags are numbered: ``Press <1>Save</1> to go on.<2/>``.
"""

import re
from dataclasses import dataclass, field
from typing import Literal

from regard.base.errors import DataError

Kind = Literal["open", "close", "alone"]
_WRITTEN = {"open": "<{}>", "close": "</{}>", "alone": "<{}/>"}
# Backslashes in front make a tag literal text, and are doubled so that they can stand there themselves.
_TAG = re.compile(r"(\\*)<(/?)(\d+)(/?)>")


@dataclass(frozen=True)
class Tag:
    """Where inline markup begins, ends or stands."""

    position: int
    """Number of characters of the text before it."""
    name: str
    """A number; both tags of a pair have the same, and no others."""
    kind: Kind
    """open and close make a pair; alone is complete in itself: an image, a line break, a formula."""
    reads: str = field(default="", compare=False)
    """White space that a tag reads as: a line break, a space or a tab; empty for most."""


@dataclass(frozen=True)
class Marked:
    """A text and its tags, in order."""

    text: str
    tags: tuple[Tag, ...] = ()

    def __post_init__(self) -> None:
        stack: list[str] = []
        seen: set[str] = set()
        place = 0
        for tag in self.tags:
            if not place <= tag.position <= len(self.text):
                raise DataError(f"tag {tag.name} stands at {tag.position}, out of order or outside of the text.")
            place = tag.position
            if tag.kind == "close":
                if not stack or stack.pop() != tag.name:
                    raise DataError(f"tag </{tag.name}> closes what is not open there.")
            elif tag.name in seen:
                raise DataError(f"tag {tag.name} occurs twice.")
            else:
                seen.add(tag.name)
                stack += [tag.name] * (tag.kind == "open")
        if stack:
            raise DataError(f"tag <{stack[-1]}> is never closed.")

    def __str__(self) -> str:
        """Text with numbered tags; :meth:`parse` reads it back."""
        return _escape_before_tags([*self.pieces()])

    def pieces(self) -> "list[str | Tag]":
        """Text and tags in the order in which they stand."""
        found: list[str | Tag] = []
        place = 0
        for tag in self.tags:
            if tag.position > place:
                found.append(self.text[place : tag.position])
            found.append(tag)
            place = tag.position
        return [*found, self.text[place:]] if place < len(self.text) else found

    @classmethod
    def parse(cls, written: str, like: "Marked | None" = None) -> "Marked":
        """Read text with numbered tags.

        Args:
            written: such as ``a <1>b</1> c<2/>``; ``\\<1>`` is no tag.
            like: the text it translates, which knows what its tags read as.

        Raises:
            DataError: the tags are not nested, or one occurs twice.
        """
        reads = {tag.name: tag.reads for tag in like.tags} if like else {}
        text, tags, place = "", [], 0
        for match in _TAG.finditer(written):
            slashes, closing, name, alone = match.groups()
            text += written[place : match.start()] + "\\" * (len(slashes) // 2)
            place = match.end()
            if len(slashes) % 2 or (closing and alone):
                text += written[match.end(1) : place] if len(slashes) % 2 else match.group()[len(slashes) :]
                continue
            kind: Kind = "close" if closing else "alone" if alone else "open"
            tags.append(Tag(len(text), name, kind, reads.get(name, "")))
        return cls(text + written[place:], tuple(tags))

    def mended(self, source: "Marked") -> "Marked":
        """This translation with tags that its source can fill.

        Tags that the source does not have are taken away. Of what is missing, tags that stand
        alone are put at the end, since they may be an image; pairs are left out.
        """
        known = {(tag.name, tag.kind) for tag in source.tags}
        tags = [tag for tag in self.tags if (tag.name, tag.kind) in known]
        there = {tag.name for tag in tags}
        for tag in source.tags:
            if tag.kind == "alone" and tag.name not in there:
                tags.append(Tag(len(self.text), tag.name, "alone", tag.reads))
        return Marked(self.text, tuple(tags))


def _escape_before_tags(pieces: list[str | Tag]) -> str:
    written = ""
    for i, piece in enumerate(pieces):
        if isinstance(piece, Tag):
            written += _WRITTEN[piece.kind].format(piece.name)
            continue
        piece = _TAG.sub(lambda match: match.group(1) + "\\" + match.group(), piece)
        if i + 1 < len(pieces):
            piece += "\\" * (len(piece) - len(piece.rstrip("\\")))
        written += piece
    return written

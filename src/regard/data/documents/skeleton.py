"""A document's text with holes where its segments are: all else is kept as it is, byte for byte."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

from regard.data.documents.marked import Kind, Marked, Tag

Raw = tuple[str | tuple[int, int], ...]
"""What a tag stands for in a document: literal text and slices of the document, joined."""


@dataclass
class Hole:
    """A place for a translation."""

    start: int
    """Where what the translation replaces begins in the document."""
    end: int
    """Where it ends; the same as ``start`` where a translation is added."""
    source: Marked
    """What is to be translated."""
    codes: dict[tuple[str, Kind], Raw] = field(default_factory=dict)
    """For each tag what it stands for."""
    escape: Callable[[str], str] = str
    """Turns plain text into text of the format."""
    target: Marked | None = None
    """A translation that the document has already."""
    bilingual: bool = False
    """Whether source and translation stand beside each other; else one replaces the other."""
    around: tuple[str, str] = ("", "")
    """Put around a translation that is written."""
    context: str = ""
    """Where this is, for a person: a heading of a column, a key, a speaker."""
    note: str = ""
    """What the document's author says to translators."""

    def fill(self, translation: Marked, raw: Callable[[Tag], str]) -> str:
        """The translation in the form of the document.

        Args:
            translation: with tags of ``source`` only.
            raw: gives what a tag stands for.
        """
        pieces = (raw(piece) if isinstance(piece, Tag) else self.escape(piece) for piece in translation.pieces())
        return self.around[0] + "".join(pieces) + self.around[1]


@dataclass
class Skeleton:
    """A text and its holes, in order; a hole may lie within a code of another."""

    text: str
    holes: list[Hole]

    def render(self, translations: Mapping[int, Marked]) -> str:
        """The text with holes filled.

        Args:
            translations: number of a hole → its translation; other holes stay as they are, and
                so does one whose translation is its source.
        """
        filled = [
            (hole, translations[i].mended(hole.source))
            for i, hole in enumerate(self.holes)
            if i in translations and (hole.bilingual or translations[i] != hole.source)
        ]
        filled.sort(key=lambda pair: (pair[0].start, -pair[0].end))
        return self._render(0, len(self.text), filled, [hole.start for hole, _ in filled])

    def _render(self, start: int, end: int, filled: Sequence[tuple[Hole, Marked]], starts: list[int]) -> str:
        written, place = [], start
        i = bisect_left(starts, start)
        while i < len(filled) and starts[i] <= end:
            hole, translation = filled[i]
            i += 1
            # One that begins earlier than what is written already lies within a code of that.
            if hole.start < place or hole.end > end:
                continue
            written.append(self.text[place : hole.start])

            def raw(tag: Tag, hole: Hole = hole) -> str:
                parts = hole.codes[tag.name, tag.kind]
                return "".join(p if isinstance(p, str) else self._render(*p, filled, starts) for p in parts)

            written.append(hole.fill(translation, raw))
            place = hole.end
        return "".join(written) + self.text[place:end]


@dataclass(frozen=True)
class Item:
    """A stretch of a document inside a block: text, or inline markup."""

    kind: Literal["text", "open", "close", "alone"]
    start: int
    end: int
    text: str = ""
    """Of text, what it says."""
    name: str = ""
    """Of open and close, the element: a pair has the same."""
    reads: str = ""
    """Of markup, the white space it reads as."""
    raw: Raw = ()
    """What is written for it; its slice of the document by default."""


def make_hole(
    items: Sequence[Item], escape: Callable[[str], str] = str, context: str = "", note: str = ""
) -> Hole | None:
    """Turn the inline content of a block into a hole; None where it has no words.

    Markup and white space at both ends stay outside. Tags that do not nest stand alone.
    """
    kept = trim(pair_up(items))
    if not kept or not has_words("".join(item.text for item in kept)):
        return None
    source, codes = mark(kept)
    return Hole(kept[0].start, kept[-1].end, source, codes, escape, context=context, note=note)


def has_words(text: str) -> bool:
    """Whether there is something to translate."""
    return any(character.isalpha() for character in text)


def pair_up(items: Sequence[Item]) -> list[Item]:
    """Number the pairs that nest (in ``name``); whatever else opens or closes stands alone."""
    stack: list[int] = []
    names: Counter[str] = Counter()  # of what is on the stack
    partner: dict[int, int] = {}
    for i, item in enumerate(items):
        if item.kind == "open":
            stack.append(i)
            names[item.name] += 1
        elif item.kind == "close" and names[item.name]:
            while i not in partner:
                last = stack.pop()
                names[items[last].name] -= 1
                if items[last].name == item.name:
                    partner[i] = last
    opened = set(partner.values())
    result = []
    for i, item in enumerate(items):
        if item.kind in ("open", "close"):
            number = partner.get(i, i)
            kind = item.kind if i in partner or i in opened else "alone"
            item = Item(kind, item.start, item.end, "", str(number), item.reads, item.raw)
        result.append(item)
    return result


def trim(items: list[Item]) -> list[Item]:
    """Without white space, tags that stand alone and pairs around everything, at both ends."""
    first, last = 0, len(items)
    while first < last:
        if _is_outside(items[first]):
            first += 1
        elif _is_outside(items[last - 1]):
            last -= 1
        elif (
            items[first].kind == "open"
            and items[last - 1].kind == "close"
            and items[first].name == items[last - 1].name
        ):
            first, last = first + 1, last - 1
        elif last - first > 1 and items[first].kind == "open" and items[first + 1].kind == "close":
            first += 2  # a pair around nothing
        else:
            break
    return items[first:last]


def _is_outside(item: Item) -> bool:
    return item.kind == "alone" or (item.kind == "text" and not item.text.strip())


def text_items(document: str, start: int, end: int, decode: Callable[[str], str] = str) -> list[Item]:
    """A stretch of text as items, white space at its ends by itself so that it can stay outside of a hole."""
    raw = document[start:end]
    left, right = len(raw) - len(raw.lstrip()), len(raw.rstrip())
    places = [0, end - start] if left >= right else [0, left, right, end - start]
    return [Item("text", start + a, start + b, decode(raw[a:b])) for a, b in pairwise(places) if a < b]


def mark(items: Sequence[Item]) -> tuple[Marked, dict[tuple[str, Kind], Raw]]:
    """The text of ``items`` with numbered tags, and what each tag stands for."""
    text, tags = "", []
    names: dict[str, str] = {}
    codes: dict[tuple[str, Kind], Raw] = {}
    count = 0
    for item in items:
        if item.kind == "text":
            text += item.text
            continue
        if item.kind == "close":
            name = names[item.name]
        else:
            count += 1
            name = str(count)
            if item.kind == "open":
                names[item.name] = name
        tags.append(Tag(len(text), name, item.kind, item.reads))
        codes[name, item.kind] = item.raw or ((item.start, item.end),)
    return Marked(text, tuple(tags)), codes

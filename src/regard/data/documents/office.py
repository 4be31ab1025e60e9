"""Word and PowerPoint (docx, pptx): a segment a paragraph, with its character formats as tags.

Both write a paragraph as runs, each with its own format. Editors break runs wherever the cursor
has been, so neighbours with the same format are joined here; the format of most of a
paragraph is its base, and only text that differs from it is in tags.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from regard.data.documents.marked import Marked, Tag
from regard.data.documents.skeleton import Hole, Item, has_words, mark, pair_up, trim
from regard.data.documents.xml import Xml, escape, local


@dataclass(frozen=True)
class Dialect:
    """What the two formats call the same things."""

    prefix: str
    paragraph: str
    keeps_space: str
    """Attribute of a text element that keeps white space at its ends."""
    line_break: str
    containers: frozenset[str]
    """Elements of a paragraph whose runs are translated."""
    left_out: frozenset[str]
    """Traces of the editor, which a translated paragraph goes without."""


WORD = Dialect(
    "w:",
    "w:p",
    ' xml:space="preserve"',
    "<w:r><w:br/></w:r>",
    frozenset(
        {"w:hyperlink", "w:ins", "w:smartTag", "w:moveTo", "w:customXml", "w:dir", "w:bdo", "w:sdtContent", "w:sdt"}
    ),
    frozenset({"w:proofErr", "w:lastRenderedPageBreak"}),
)
SLIDES = Dialect("a:", "a:p", "", "<a:br/>", frozenset(), frozenset())

_LINE_END = re.compile(r"\r\n?|\n")
_PROPERTIES = frozenset({"pPr", "rPr", "endParaRPr", "sdtPr", "sdtEndPr", "smartTagPr", "customXmlPr"})
_READS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n"}
#: What differs between runs without being seen.
_UNSEEN = re.compile(r"<w:(?:lang|noProof)\b[^>]*/>| (?:lang|altLang|dirty|err|noProof|smtClean)=\"[^\"]*\"")
#: Fields whose text a person wrote; that of others (page numbers, dates) the program computes.
_WRITTEN_FIELD = re.compile(r"\s*HYPERLINK\b")


def parse_word(text: str, where: str) -> list[Hole]:
    """Holes of one part of a Word document."""
    return _parse(text, where, WORD)


def parse_slides(text: str, where: str) -> list[Hole]:
    """Holes of one part of a presentation."""
    return _parse(text, where, SLIDES)


def _parse(text: str, where: str, dialect: Dialect) -> list[Hole]:
    xml = Xml(text, where)
    holes = (_hole(xml, i, dialect, where) for i, e in enumerate(xml.elements) if e.name == dialect.paragraph)
    return [hole for hole in holes if hole]


@dataclass
class RunHole(Hole):
    """A hole whose text has to stand in runs."""

    dialect: Dialect = WORD
    base: str = ""
    """Format of text outside of tags, as XML."""
    formats: dict[str, str] = field(default_factory=dict)
    """Name of a tag → format of the text in it; tags that are not here are elements around runs."""

    def fill(self, translation: Marked, raw: Callable[[Tag], str]) -> str:
        """Runs for the text, and between them what else the paragraph holds."""
        written, formats = "", [self.base]
        for piece in translation.pieces():
            if isinstance(piece, str):
                written += self._runs(piece, formats[-1])
            elif piece.name not in self.formats:
                written += raw(piece)
            elif piece.kind == "open":
                formats.append(self.formats[piece.name])
            else:
                formats.pop()
        return written

    def _runs(self, text: str, properties: str) -> str:
        dialect, prefix = self.dialect, self.dialect.prefix
        lines = (
            f"<{prefix}r>{properties}<{prefix}t{dialect.keeps_space}>{escape(line)}</{prefix}t></{prefix}r>"
            * (line != "")
            for line in text.split("\n")
        )
        return dialect.line_break.join(lines)


def _hole(xml: Xml, number: int, dialect: Dialect, where: str) -> Hole | None:
    items = pair_up(_join_fields(list(_items(xml, number, dialect))))
    kept = trim(items)
    if not has_words("".join(item.text for item in kept)):
        return None
    kept = _whole_runs(items, kept)
    lengths: Counter[str] = Counter()
    for item in kept:
        lengths[_seen(item)] += len(item.text)
    base = lengths.most_common(1)[0][0]
    source, codes = mark(_with_formats(kept, base))
    # A tag that stands for one literal is a character format.
    formats = {
        name: raw[0]
        for (name, kind), raw in codes.items()
        if kind == "open" and len(raw) == 1 and isinstance(raw[0], str)
    }
    return RunHole(
        start=kept[0].start,
        end=kept[-1].end,
        source=source,
        codes=codes,
        escape=escape,
        context=where,
        dialect=dialect,
        base=next(item.name for item in kept if item.kind == "text" and _seen(item) == base),
        formats=formats,
    )


def _items(xml: Xml, number: int, dialect: Dialect) -> Iterator[Item]:
    """A paragraph's content, or that of a container in it."""
    for child in xml.children(number):
        element = xml.elements[child]
        name = local(element.name)
        if name in _PROPERTIES or element.name in dialect.left_out:
            continue
        if element.name == f"{dialect.prefix}r":
            yield from _run(xml, child, dialect)
        elif element.name in dialect.containers and element.outer > element.inner:
            first = next((c for c in xml.children(child) if local(xml.elements[c].name) not in _PROPERTIES), None)
            inner = element.inner if first is None else xml.elements[first].start
            yield Item("open", element.start, inner, name=str(child))
            yield from _items(xml, child, dialect)
            yield Item("close", element.outer, element.end, name=str(child))
        else:
            yield Item("alone", element.start, element.end, reads=_READS.get(name, ""))


def _run(xml: Xml, number: int, dialect: Dialect) -> Iterator[Item]:
    """What a run holds; each item can be written as a run of its own. A text's name is its format."""
    run, prefix = xml.elements[number], dialect.prefix
    properties = ""
    for child in xml.children(number):
        element = xml.elements[child]
        if element.name == f"{prefix}rPr":
            properties = xml.text[element.start : element.end]
        elif element.name not in dialect.left_out:
            raw = (f"<{prefix}r>{properties}", (element.start, element.end), f"</{prefix}r>")
            name = local(element.name)
            if element.name == f"{prefix}t":
                text = _LINE_END.sub(" ", xml.plain(child))  # the file's own; those that are seen are elements
                yield Item("text", run.start, run.end, text, properties, raw=raw)
            elif name == "fldChar":
                yield Item("alone", run.start, run.end, name=xml.attributes(child).get("w:fldCharType", ""), raw=raw)
            else:
                instruction = xml.plain(child) if name == "instrText" else ""
                yield Item("alone", run.start, run.end, name=instruction, reads=_READS.get(name, ""), raw=raw)


def _join_fields(items: list[Item]) -> list[Item]:
    """Fields within a paragraph as one tag each; a link, whose text is translated, as a pair."""
    joined: list[Item] = []
    begins: list[int] = []
    for item in items:
        joined.append(item)
        if item.kind in ("open", "close"):
            begins.clear()  # a field that crosses the bounds of a container stays in parts
        elif item.kind == "alone" and item.name == "begin":
            begins.append(len(joined) - 1)
        elif item.kind == "alone" and item.name == "end" and begins:
            first = begins.pop()
            joined[first:] = _join_field(joined[first:], str(item.start))
    return joined


def _join_field(items: list[Item], name: str) -> list[Item]:
    separate = next((i for i, item in enumerate(items) if item.kind == "alone" and item.name == "separate"), 0)
    instruction = "".join(item.name for item in items[1:separate] if item.kind == "alone")
    if separate and _WRITTEN_FIELD.match(instruction):
        opening = Item("open", items[0].start, items[separate].end, name=name, raw=_raw(items[: separate + 1]))
        closing = Item("close", items[-1].start, items[-1].end, name=name, raw=items[-1].raw)
        return [opening, *items[separate + 1 : -1], closing]
    return [Item("alone", items[0].start, items[-1].end, raw=_raw(items))]


def _raw(items: Sequence[Item]) -> tuple[str | tuple[int, int], ...]:
    return tuple(piece for item in items for piece in item.raw or ((item.start, item.end),))


def _whole_runs(items: list[Item], kept: list[Item]) -> list[Item]:
    """``kept`` with what else stands in its first and in its last run: a hole replaces whole runs."""
    first = next(i for i, item in enumerate(items) if item is kept[0])
    last = first + len(kept)
    while first > 0 and items[first - 1].end > items[first].start:
        first -= 1
    while last < len(items) and items[last].start < items[last - 1].end:
        last += 1
    return items[first:last]


def _seen(item: Item) -> str:
    """A text's format without what is not seen."""
    return "" if item.kind != "text" else re.sub(r"<(\w+:rPr)\s*(?:/>|></\1>)", "", _UNSEEN.sub("", item.name))


def _with_formats(items: Sequence[Item], base: str) -> list[Item]:
    """Items with a pair of tags around each stretch of text whose format is not ``base``."""
    result: list[Item] = []
    current, last_text = base, 0  # last_text: where in ``result`` a pair that is open would be closed

    def close() -> None:
        if current != base:
            place = result[last_text - 1]
            result.insert(last_text, Item("close", place.end, place.end, name=f"format {last_format}", raw=("",)))

    last_format = 0
    for item in items:
        if item.kind in ("open", "close"):
            close()
            current = base
        elif item.kind == "text" and item.text.strip() and _seen(item) != current:
            close()
            current = _seen(item)
            if current != base:
                last_format += 1
                result.append(Item("open", item.start, item.start, name=f"format {last_format}", raw=(item.name,)))
        result.append(item)
        if item.kind == "text":
            last_text = len(result)
    close()
    return result

"""Text of OpenDocument (odt): a segment a paragraph or heading, with its spans as tags."""

import re
from dataclasses import replace

from regard.data.documents.skeleton import Hole, make_hole
from regard.data.documents.xml import Xml, escape

_PAIRS = frozenset({"text:span", "text:a", "text:meta", "text:ruby", "text:ruby-base"})
_SPACE = re.compile(r"[ \t\r\n]+")
_READS = {"text:s": " ", "text:tab": "\t", "text:line-break": "\n"}


def parse(text: str, where: str) -> list[Hole]:
    """Holes of one part of a document; what was deleted with changes tracked is left alone."""
    xml = Xml(text, where)
    holes: list[Hole] = []
    skipped = 0
    for number, element in enumerate(xml.elements):
        if element.name == "text:tracked-changes":
            skipped = element.after
        if number >= skipped and element.name in ("text:p", "text:h"):
            items = xml.inline(number, _PAIRS.__contains__, lambda child: _READS.get(xml.elements[child].name, ""))
            # A line end in the file is a space; those that are seen are elements.
            items = [replace(item, text=_SPACE.sub(" ", item.text)) for item in items]
            hole = make_hole(items, _escape, context=where)
            holes += [hole] if hole else []
    return holes


def _escape(text: str) -> str:
    return escape(text).replace("\t", "<text:tab/>").replace("\n", "<text:line-break/>")

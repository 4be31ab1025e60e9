"""Translation memories (TMX): a segment a unit that lacks the language of the target."""

import re

from regard.base.errors import DataError
from regard.data.documents.skeleton import Hole, has_words, mark
from regard.data.documents.xliff import items_of
from regard.data.documents.xml import Xml, escape, local


def parse(text: str, source: str, target: str) -> list[Hole]:
    """Holes of a memory.

    Args:
        text: the memory.
        source: language to translate from; empty for the one its header names.
        target: language to translate into.

    Raises:
        DataError: it is no memory, or no target language is given.
    """
    xml = Xml(text)
    if not xml.elements or local(xml.elements[0].name) != "tmx":
        raise DataError("this is XML, but no TMX: its first element is not <tmx>.")
    if not target:
        raise DataError("a translation memory has many languages: name the one to translate into (target=…).")
    header = xml.child(0, "header")
    source = source or (xml.attributes(header).get("srclang", "") if header is not None else "")
    holes = []
    for number, element in enumerate(xml.elements):
        if local(element.name) == "tu":
            hole = _hole(xml, number, source, target)
            holes += [hole] if hole else []
    return holes


def _hole(xml: Xml, unit: int, source: str, target: str) -> Hole | None:
    languages = {}
    for child in xml.children(unit):
        if local(xml.elements[child].name) == "tuv":
            attributes = xml.attributes(child)
            languages.setdefault(_base(attributes.get("xml:lang") or attributes.get("lang", "")), child)
    if _base(target) in languages or _base(source) not in languages:
        return None
    variant = languages[_base(source)]
    segment = xml.child(variant, "seg")
    if segment is None:
        return None
    marked, codes = mark(items_of(xml, segment))
    if not has_words(marked.text):
        return None
    element = xml.elements[variant]
    before = xml.text[max(0, element.start - 100) : element.start]
    indent = before[len(before.rstrip()) :]
    attributes = xml.attributes(unit)
    return Hole(
        element.end,
        element.end,
        marked,
        codes,
        escape,
        bilingual=True,
        around=(f'{indent}<tuv xml:lang="{escape(target)}"><seg>', "</seg></tuv>"),
        context=attributes.get("tuid", ""),
    )


def _base(code: str) -> str:
    return re.split("[-_]", code.lower())[0]

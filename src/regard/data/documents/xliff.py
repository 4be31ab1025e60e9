"""XLIFF 1.2 and 2: a segment a source without translation, with its inline codes."""

from regard.base.errors import DataError
from regard.data.documents.skeleton import Hole, Item, has_words, mark, pair_up
from regard.data.documents.xml import Xml, escape, local

#: Elements around text that is translated; in all others stand the codes of the original format.
_PAIRS = frozenset({"g", "mrk", "pc", "sub"})
#: XLIFF opens and closes what does not nest, or lies in two segments, with two elements.
_OPENING = {"bpt": "ept", "bx": "ex", "sc": "ec"}
_CLOSING = frozenset(_OPENING.values())


def parse(text: str) -> list[Hole]:
    """Holes of a document.

    Raises:
        DataError: it is no XLIFF, or of a version that is not known.
    """
    xml = Xml(text)
    if not xml.elements or local(xml.elements[0].name) != "xliff":
        raise DataError("this is XML, but no XLIFF: its first element is not <xliff>.")
    version = xml.attributes(0).get("version", "")
    if version.split(".")[0] not in ("1", "2"):
        raise DataError(f"this is XLIFF {version or 'without a version'}; versions 1.2 and 2 are read.")
    wanted = "trans-unit" if version.startswith("1") else "segment"
    holes: list[Hole] = []
    translated = [True]  # at each depth, whether what lies inside is to be translated
    unit = 0
    for number, element in enumerate(xml.elements):
        del translated[element.depth + 1 :]
        said = xml.attributes(number).get("translate") if local(element.name) in _SCOPES else None
        translated.append(translated[-1] if said is None else said != "no")
        if local(element.name) in ("trans-unit", "unit"):
            unit = number
        if local(element.name) == wanted and translated[-1]:
            hole = _hole(xml, number, unit)
            holes += [hole] if hole else []
    return holes


#: States of a target that is no more than a draft.
_UNDONE = frozenset({"new", "needs-translation", "initial"})
_SCOPES = frozenset({"file", "group", "trans-unit", "unit"})


def _hole(xml: Xml, number: int, unit: int) -> Hole | None:
    source = xml.child(number, "source")
    target = xml.child(number, "target")
    if source is None:
        return None
    marked, codes = mark(items_of(xml, source))
    if not has_words(marked.text):
        return None
    attributes = xml.attributes(unit)
    note = xml.child(unit, "note")
    hole = Hole(
        0,
        0,
        marked,
        codes,
        escape,
        bilingual=True,
        context=attributes.get("resname") or attributes.get("name") or attributes.get("id", ""),
        note=xml.plain(note) if note is not None else "",
    )
    if target is None:
        element = xml.elements[xml.child(number, "seg-source") or source]
        prefix = element.name[: -len(local(element.name))]
        indent = xml.text[xml.elements[number].inner : xml.elements[source].start]
        hole.start = hole.end = element.end
        hole.around = (f"{indent if indent.isspace() else ''}<{prefix}target>", f"</{prefix}target>")
        return hole
    element = xml.elements[target]
    present = mark(items_of(xml, target))[0]
    if present.text.strip():
        if not _UNDONE & {xml.attributes(target).get("state"), xml.attributes(number).get("state")}:
            return None  # translated already
        hole.target = present
    hole.start, hole.end = element.inner, element.end
    if element.inner == element.end:  # <target/>
        hole.start = element.start
        tag = xml.text[element.start : element.end]
        hole.around = (tag.removesuffix(">").removesuffix("/").rstrip() + ">", f"</{element.name}>")
    else:
        hole.end = element.outer
    return hole


def items_of(xml: Xml, number: int) -> list[Item]:
    """The content of a source or target; codes that open and close make pairs where they nest."""
    items = []
    numbers = {element.start: i for i, element in enumerate(xml.elements[number : xml.elements[number].after], number)}
    for item in xml.inline(number, lambda name: local(name) in _PAIRS):
        child = numbers.get(item.start) if item.kind == "alone" else None
        name = local(xml.elements[child].name) if child is not None else ""
        if child is not None and (name in _OPENING or name in _CLOSING):
            attributes = xml.attributes(child)
            key = attributes.get("rid") or attributes.get("startRef") or attributes.get("id", "")
            closing = _OPENING.get(name, name)
            item = Item("open" if name in _OPENING else "close", item.start, item.end, name=f"{closing} {key}")
        items.append(item)
    return pair_up(items)

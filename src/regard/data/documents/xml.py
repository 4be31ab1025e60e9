"""XML as a flat list of tags with their places, so that what is not translated stays byte for byte.

Expat reads every document first and refuses what is not well-formed; a document type, and with it
every entity of its own, is refused too. What is left, a regular expression can take apart exactly.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from xml.parsers import expat

from regard.base.errors import DataError
from regard.data.documents.skeleton import Item, text_items

DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([A-Za-z0-9._-]+)[\"']")
_TOKEN = re.compile(
    r"<!--.*?-->|(?P<cdata><!\[CDATA\[.*?\]\]>)|<\?.*?\?>|<(?P<slash>/?)(?P<name>[^\s/>]+)(?:[^>\"']|\"[^\"]*\"|'[^']*')*?(?P<empty>/?)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"([^\s=\"'<>/]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_REFERENCE = re.compile(r"&(?:#(\d+)|#x([0-9A-Fa-f]+)|(lt|gt|amp|quot|apos));")
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"', "apos": "'"}
# What XML 1.0 cannot hold in any form.
_ILLEGAL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
#: Deeper documents are attacks, or broken.
MAX_DEPTH = 250


@dataclass(slots=True)
class Element:
    """A tag with its partner: an element from ``start`` to ``end``, its content between ``inner`` and ``outer``."""

    name: str
    start: int
    inner: int
    """Where the start tag ends."""
    outer: int = 0
    """Where the end tag begins; the same as ``inner`` for ``<a/>``."""
    end: int = 0
    after: int = 0
    """Number of the first element that is not inside."""
    depth: int = 0


def unescape(text: str) -> str:
    """Text without references."""
    return _REFERENCE.sub(lambda m: _NAMED[m[3]] if m[3] else chr(int(m[1]) if m[1] else int(m[2], 16)), text)


def escape(text: str) -> str:
    """Text as XML content; characters that XML cannot hold are left out."""
    return _ILLEGAL.sub("", text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def local(name: str) -> str:
    """A name without its prefix."""
    return name.rpartition(":")[2]


class Xml:
    """A well-formed document: its text and its elements in the order in which they begin."""

    def __init__(self, text: str, where: str = ""):
        """
        Args:
            text: the document.
            where: named in errors.

        Raises:
            DataError: it is not well-formed, or has a document type.
        """
        check(text, where)
        self.text = text
        self.elements: list[Element] = []
        stack: list[int] = []
        for match in _TOKEN.finditer(text):
            if match["name"] is None:
                continue
            if match["slash"]:
                element = self.elements[stack.pop()]
                element.outer, element.end, element.after = match.start(), match.end(), len(self.elements)
                continue
            element = Element(match["name"], match.start(), match.end(), depth=len(stack))
            self.elements.append(element)
            if match["empty"]:
                element.outer = element.end = match.end()
                element.after = len(self.elements)
            else:
                stack.append(len(self.elements) - 1)

    def children(self, number: int) -> Iterator[int]:
        """Numbers of the elements right below one."""
        child, after = number + 1, self.elements[number].after
        while child < after:
            yield child
            child = self.elements[child].after

    def child(self, number: int, name: str) -> int | None:
        """Number of the first child with a local name."""
        return next((c for c in self.children(number) if local(self.elements[c].name) == name), None)

    def attributes(self, number: int) -> dict[str, str]:
        """Attributes with their prefixes."""
        element = self.elements[number]
        tag = self.text[element.start + 1 + len(element.name) : element.inner]
        return {m[1]: unescape(m[2] if m[2] is not None else m[3]) for m in _ATTRIBUTE.finditer(tag)}

    def texts(self, start: int, end: int, decode: Callable[[str], str] = unescape) -> list[Item]:
        """Text between two tags as items; comments in it are left out, CDATA is read."""
        items: list[Item] = []
        place = start
        for match in _TOKEN.finditer(self.text, start, end):
            items += text_items(self.text, place, match.start(), decode)
            if match["cdata"]:
                items.append(Item("text", match.start(), match.end(), match["cdata"][9:-3]))
            place = match.end()
        return items + text_items(self.text, place, end, decode)

    def plain(self, number: int) -> str:
        """All text inside an element."""
        element = self.elements[number]
        return "".join(item.text for item in self.texts(element.inner, element.outer))

    def inline(
        self, number: int, is_pair: Callable[[str], bool], reads: Callable[[int], str] = lambda _: ""
    ) -> list[Item]:
        """The content of an element as items.

        Args:
            number: the element.
            is_pair: whether the content of an inline element is translated; other elements stand alone.
            reads: white space that one which stands alone reads as.
        """
        element = self.elements[number]
        items: list[Item] = []
        place = element.inner
        for child in self.children(number):
            inside = self.elements[child]
            items += self.texts(place, inside.start)
            place = inside.end
            if is_pair(inside.name) and inside.outer > inside.inner:
                items.append(Item("open", inside.start, inside.inner, name=str(child)))
                items += self.inline(child, is_pair, reads)
                items.append(Item("close", inside.outer, inside.end, name=str(child)))
            else:
                items.append(Item("alone", inside.start, inside.end, reads=reads(child)))
        return items + self.texts(place, element.outer)


def check(text: str, where: str = "") -> None:
    """Refuse what is not well-formed, nested absurdly, or has a document type.

    Raises:
        DataError: the message names the line.
    """
    place = f"{where}, " if where else ""
    depth = 0

    def opened(name: str, attributes: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_DEPTH:
            raise DataError(f"{place}line {parser.CurrentLineNumber}: elements are nested deeper than {MAX_DEPTH}.")

    def closed(name: str) -> None:
        nonlocal depth
        depth -= 1

    def refuse(*_: object) -> None:
        raise DataError(
            f"{place}line {parser.CurrentLineNumber}: the document has a document type (DOCTYPE). Entities and "
            "outside files are not read, for safety; take the declaration out."
        )

    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler, parser.EndElementHandler = opened, closed
    parser.StartDoctypeDeclHandler = parser.EntityDeclHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        message = expat.ErrorString(error.code)
        raise DataError(f"{place}line {error.lineno}: this is not well-formed XML: {message}.") from error

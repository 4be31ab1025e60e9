"""Markdown (CommonMark with tables and strikethrough): a segment a paragraph, heading, list item or cell.

markdown-it tells what is what; it says on which lines a block stands, and this finds the place of every
character of it, so that the rest of the document stays byte for byte.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from markdown_it import MarkdownIt
from markdown_it.token import Token

from regard.data.documents import html
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, Item, has_words, make_hole, text_items

_LINE = re.compile(r"([^\r\n]*)(\r\n?|\n|\Z)")
_FRONT_MATTER = re.compile(r"(---|\+\+\+)[ \t]*\r?\n.*?\n\1[ \t]*(?=\r?\n|\Z)", re.DOTALL)
_BREAK = re.compile(r"[ \t]*\\?\n[ \t]*")
_IMAGE = re.compile(r"!\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\])*+)\]")
# What follows the bracket that ends a link's text: address and title, a label, or nothing.
_TARGET = re.compile(
    r"\(\s*(?:<(?:[^<>\n\\]|\\.)*+>|(?:[^\s()\\]|\\.|\((?:[^\s()\\]|\\.)*+\))*+)"
    r"(?:\s+(?:\"(?:[^\"\\]|\\.)*+\"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\)))?\s*\)|\[(?:[^\[\]\\]|\\.)*+\]|",
    re.DOTALL,
)
_HTML_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)[^>]*?(/?)>")
_BLOCK_START = re.compile(r"^(\s*)([-+#>=]|\d{1,9}(?=[.)](?:\s|$)))")
_SPECIAL = re.compile(r"[\\*`\[\]|]|~(?=~)|<(?=[a-zA-Z/!?])|&(?=#?\w+;)|(?<!\w)_|_(?!\w)")


class _Lost(Exception):
    """The parser's tokens were not found in the text."""


def parse(text: str) -> list[Hole]:
    """Holes of a document; code, addresses, reference definitions and front matter are left alone."""
    lines = [(m.start(), m.end(1)) for m in _LINE.finditer(text)]
    front = _FRONT_MATTER.match(text)
    # Blank lines keep the numbers of those that follow.
    body = "\n" * len(re.findall(r"\r\n?|\n", front[0])) + text[front.end() :] if front else text
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"]).disable("text_join")
    holes: list[Hole] = []
    context, row = "", (-1, 0)  # the line on which the last cell of a table was found, and where it ended
    for token in parser.parse(body):
        if token.nesting == 1 and token.type != "inline":
            context = token.tag
        if token.map is None:
            continue
        if token.type == "html_block":
            start, end = lines[token.map[0]][0], lines[min(token.map[1], len(lines)) - 1][1]
            holes += (_shifted(hole, start) for hole in html.parse(text[start:end]))
        elif token.type == "inline":
            first = token.map[0]
            places = _places(text, lines[first:], token.content, row[1] if row[0] == first else 0)
            if places:
                row = (first, places[-1])
                holes += _holes(text, token, places, context)
    return sorted(holes, key=lambda hole: hole.start)


def _places(text: str, lines: Sequence[tuple[int, int]], content: str, after: int) -> list[int]:
    """For each character of a block's content, and for its end, where it stands; nothing if it is not found."""
    places: list[int] = []
    for (start, end), line in zip(lines, content.split("\n"), strict=False):
        start = max(start, after)
        at = end - len(line) if text.endswith(line, start, end) else text.find(line, start, end)
        if at >= 0:
            places += range(at, at + len(line) + 1)
        elif found := re.compile(r"\\?".join(map(re.escape, line))).search(text, start, end):
            place = found.start()  # a cell whose bars are escaped
            for character in line:
                places.append(place)
                place += 1 + (text[place] != character)
            places.append(place)
        else:
            return []
    return places if len(places) == len(content) + 1 else []


def _holes(text: str, token: Token, places: list[int], context: str) -> Iterator[Hole]:
    content = token.content
    try:
        items = list(_items(content, token.children or []))
        images = [match for item in items if item.kind == "alone" and (match := _IMAGE.match(content, item.start))]
    except _Lost:
        items, images = text_items(content, 0, len(content)), []
        if hole := make_hole([_moved(item, places) for item in items], context=context):
            yield hole
        return
    for match in images:
        if has_words(match[1]) and not _SPECIAL.search(match[1]):
            yield Hole(places[match.start(1)], places[match.end(1)], Marked(match[1]), escape=_escape, context="alt")
    if hole := make_hole([_moved(item, places) for item in items], _escape, context):
        yield hole


def _moved(item: Item, places: list[int]) -> Item:
    return replace(item, start=places[item.start], end=places[item.end])


def _items(content: str, tokens: Sequence[Token]) -> Iterator[Item]:
    """A block's inline tokens with their places in its content."""
    place = 0
    automatic = -1  # where an address in angle brackets began
    for token in tokens:
        start = place
        if token.type == "text":
            place = _skip(content, place, token.content)
            if automatic < 0:
                yield from text_items(content, start, place)
        elif token.type == "text_special":
            place = _skip(content, place, token.markup)
            if automatic < 0:
                yield Item("text", start, place, token.content)
        elif token.type == "code_inline":
            opened = _skip(content, place, token.markup)
            closing = re.compile(rf"(?<!`){token.markup}(?!`)").search(content, opened)
            if closing is None:
                raise _Lost
            place = closing.end()
            yield Item("alone", start, place)
        elif token.type == "html_inline":
            place = _skip(content, place, token.content)
            yield _html_item(token.content, start, place)
        elif token.type in ("softbreak", "hardbreak"):
            match = _BREAK.match(content, place)
            if match is None:
                raise _Lost
            place = match.end()
            yield Item("alone", start, place, reads=" " if token.type == "softbreak" else "\n")
        elif token.type == "image":
            match = _IMAGE.match(content, place)
            if match is None:
                raise _Lost
            place = _target_end(content, match.end())
            yield Item("alone", start, place)
        elif token.markup == "autolink":
            place = _skip(content, place, "<" if token.nesting == 1 else ">")
            if token.nesting == 1:
                automatic = start
            else:
                yield Item("alone", automatic, place)
                automatic = -1
        elif token.type in ("link_open", "link_close"):
            place = _skip(content, place, "[" if token.nesting == 1 else "]")
            place = place if token.nesting == 1 else _target_end(content, place)
            yield Item("open" if token.nesting == 1 else "close", start, place, name="link")
        else:  # em, strong, s
            place = _skip(content, place, token.markup)
            yield Item("open" if token.nesting == 1 else "close", start, place, name=token.tag)
    if content[place:].strip():
        raise _Lost


def _skip(content: str, place: int, expected: str) -> int:
    if not content.startswith(expected, place):
        raise _Lost
    return place + len(expected)


def _target_end(content: str, place: int) -> int:
    match = _TARGET.match(content, place)
    assert match is not None  # its last choice is nothing
    return match.end()


def _html_item(tag: str, start: int, end: int) -> Item:
    match = _HTML_TAG.fullmatch(tag)
    if match is None or match[3] or match[2].lower() in ("br", "img", "wbr", "hr", "input"):
        return Item("alone", start, end, reads="\n" if match and match[2].lower() == "br" else "")
    return Item("close" if match[1] else "open", start, end, name=f"<{match[2].lower()}>")


def _shifted(hole: Hole, by: int) -> Hole:
    codes = {
        key: tuple(piece if isinstance(piece, str) else (piece[0] + by, piece[1] + by) for piece in raw)
        for key, raw in hole.codes.items()
    }
    return replace(hole, start=hole.start + by, end=hole.end + by, codes=codes)


def _escape(text: str) -> str:
    """Plain text as Markdown: what would be markup gets a backslash."""
    text = _SPECIAL.sub(lambda match: "\\" + match[0], " ".join(text.split("\n")))
    return _BLOCK_START.sub(lambda m: m[1] + (m[2] + "\\" if m[2].isdigit() else "\\" + m[2]), text)

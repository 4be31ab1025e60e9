"""HTML: a segment a block of text with its inline tags, and one a translatable attribute."""

import html
import re
from collections.abc import Iterator

from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, Item, has_words, make_hole, text_items

DECLARATION = re.compile(
    rb"<(?:meta|\?xml)\b[^>]*?(?:charset|encoding)\s*=\s*[\"']?\s*([A-Za-z0-9._-]+)", re.IGNORECASE
)
# No tag has another begin in it: else a page of tags that never end would take time without end.
_TOKEN = re.compile(
    r"<!--.*?(?:-->|\Z)|<[!?][^<>]*>"
    r"|<(?P<slash>/?)(?P<name>[a-zA-Z][^\s/<>]*)(?P<rest>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*+)>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(?<![^\s\"'/])([^\s=\"'<>/]++)\s*+=\s*+(?:\"([^\"]*)\"|'([^']*)'|([^\s\"'>]+))")
#: Begin and end a block of text; whatever else there is, elements of no standard too, stands in one.
_BLOCKS = frozenset(
    "address article aside base blockquote body caption center col colgroup dd details dialog dir div dl dt fieldset "
    "figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head header hgroup hr html iframe legend li link "
    "main menu meta nav noframes noscript ol optgroup option p param pre script search section select slot source "
    "style summary table tbody td template textarea tfoot th thead title tr track ul xmp".split()
)
#: Stand in a line of text and hold nothing to translate, or nothing that a model could.
_ALONE = frozenset(
    "area audio br canvas code embed img input kbd map math meter object picture progress rp rt samp svg var video "
    "wbr".split()
)
_VOID = frozenset("area base br col embed hr img input link meta param source track wbr".split())
#: Left as they are, with everything inside.
_COPIED = frozenset("script style pre code kbd samp var math svg template noscript xmp textarea".split())
_ATTRIBUTES = frozenset({"alt", "title", "placeholder", "aria-label", "aria-description"})
_DESCRIPTIONS = frozenset(
    {"description", "keywords", "og:title", "og:description", "twitter:title", "twitter:description"}
)
_SPACE = re.compile(r"[ \t\r\n\f]+")


def parse(text: str) -> list[Hole]:
    """Holes of a page or a fragment; whatever a browser would show, this reads, however broken it is."""
    holes: list[Hole] = []
    items: list[Item] = []
    place, context = 0, ""
    for match, end in _tokens(text):
        name = (match["name"] or "").lower()
        items += text_items(text, place, match.start(), _decode)
        place = end
        if name and not match["slash"]:
            holes += _attributes(match, name)
        if not name and match[0].startswith("<!--"):
            items.append(Item("alone", match.start(), end))
        elif name in _ALONE or (end > match.end() and name not in _BLOCKS):
            items.append(Item("alone", match.start(), end, reads="\n" if name == "br" else ""))
        elif name and name not in _BLOCKS:
            items.append(Item("close" if match["slash"] else "open", match.start(), end, name=name))
        else:
            holes += filter(None, [make_hole(items, _escape, context)])
            items, context = [], "" if match["slash"] else name
    items += text_items(text, place, len(text), _decode)
    holes += filter(None, [make_hole(items, _escape, context)])
    return sorted(holes, key=lambda hole: hole.start)


def _tokens(text: str) -> Iterator[tuple[re.Match[str], int]]:
    """Tags and where each ends: elements that are copied are one tag, up to the end of their end tag."""
    place = 0
    while match := _TOKEN.search(text, place):
        name = (match["name"] or "").lower()
        place = match.end()
        holds_something = name and not match["slash"] and name not in _VOID and not match["rest"].endswith("/")
        if holds_something and (name in _COPIED or _is_marked_as_no_text(match["rest"])):
            place = _end_of(text, name, place)
        yield match, place


def _is_marked_as_no_text(rest: str) -> bool:
    found = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in _ATTRIBUTE.finditer(rest)}
    return found.get("translate", "").lower() == "no" or "notranslate" in found.get("class", "").split()


def _end_of(text: str, name: str, place: int) -> int:
    """Where an element ends that began before ``place``; elements of its own name may lie in it."""
    depth = 1
    for match in re.compile(rf"<(/?){re.escape(name)}(?=[\s/>])[^<>]*>", re.IGNORECASE).finditer(text, place):
        depth += -1 if match[1] else not match[0].endswith("/>")
        if depth == 0 or (match[1] and name in ("script", "style")):
            return match.end()
    return len(text)


def _attributes(match: re.Match[str], name: str) -> Iterator[Hole]:
    start = match.start("rest")
    found = list(_ATTRIBUTE.finditer(match["rest"]))
    named = {m[1].lower(): m[2] or m[3] or m[4] or "" for m in found}
    wanted = set(_ATTRIBUTES)
    if name == "meta" and (named.get("name") or named.get("property", "")).lower() in _DESCRIPTIONS:
        wanted.add("content")
    if name == "input" and named.get("type", "").lower() in ("submit", "button", "reset"):
        wanted.add("value")
    for m in found:
        group = next(i for i in (2, 3, 4) if m[i] is not None)
        if m[1].lower() in wanted and has_words(value := html.unescape(m[group])):
            place = range(start + m.start(group), start + m.end(group))
            around = ('"', '"') if group == 4 else ("", "")
            context = m[1].lower()
            yield Hole(place.start, place.stop, Marked(value), escape=_escape_attribute, around=around, context=context)


def _decode(text: str) -> str:
    return html.unescape(_SPACE.sub(" ", text))


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\xa0", "&nbsp;")


def _escape_attribute(text: str) -> str:
    return _escape(text).replace('"', "&quot;").replace("'", "&#39;")

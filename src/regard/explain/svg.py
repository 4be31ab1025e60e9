"""Small helpers to write SVG by hand: text that is safe in XML, and how wide it will be."""

import re
import unicodedata

# What XML 1.0 has no place for, section 2.2.
_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
# Widths in em of a common sans serif; a little more is better than a little less.
_NARROW, _LOW, _CAPITAL, _WIDE, _FULL = 0.38, 0.62, 0.74, 0.98, 1.02
_NARROW_ONES = frozenset("ijltfrI.,:;!|'`()[]{}-’‘ ")
_WIDE_ONES = frozenset("mwMW@%—…")


def escape(text: str) -> str:
    """``text`` as XML content, or as the value of an attribute in double quotes."""
    text = _NOT_XML.sub("\ufffd", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def tag(name: str, content: str = "", /, **attributes: object) -> str:
    """An element. ``content`` is XML already; a final ``_`` of a name is dropped and an inner one is a hyphen."""
    written = "".join(f' {_attribute(key)}="{escape(_number(value))}"' for key, value in attributes.items())
    return f"<{name}{written}>{content}</{name}>" if content else f"<{name}{written}/>"


def text_width(text: str, size: float) -> float:
    """About how many pixels ``text`` takes in a sans serif of ``size`` pixels.

    No font is at hand where a picture is written, so this goes by kinds of characters; Chinese,
    Japanese, Korean and emoji are as wide as they are high, combining marks take no room.
    """
    return size * sum(map(_em, text))


def shorten(text: str, size: float, room: float) -> str:
    """``text``, or as much of its beginning as fits into ``room`` pixels, with an ellipsis."""
    if text_width(text, size) <= room:
        return text
    end = len(text)
    while end and text_width(text[:end] + "…", size) > room:
        end -= 1
    return text[:end] + "…"


def _em(character: str) -> float:
    if character in _NARROW_ONES:
        return _NARROW
    if character in _WIDE_ONES:
        return _WIDE
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if unicodedata.east_asian_width(character) in ("W", "F"):
        return _FULL
    return _CAPITAL if character.isupper() else _LOW


def _attribute(key: str) -> str:
    return key.removesuffix("_").replace("_", "-")


def _number(value: object) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)

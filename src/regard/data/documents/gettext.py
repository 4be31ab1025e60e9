"""Message catalogues of GNU gettext (po): a segment a message that has no translation, or a doubtful one."""

import re
from dataclasses import dataclass, field
from functools import partial

from regard.base.errors import DataError
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, has_words

_KEYWORD = re.compile(r"(msgctxt|msgid_plural|msgid|msgstr(?:\[(\d+)\])?)\s*(?=\")")
_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"\s*$')
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "v": "\v", "a": "\a"}
DECLARATION = re.compile(rb"Content-Type:[^\n]*charset=([A-Za-z0-9._-]+)")


@dataclass
class _Value:
    """A keyword's strings, and where they stand."""

    start: int
    end: int
    text: str


@dataclass
class _Entry:
    values: dict[str, _Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    fuzzy: bool = False


def parse(text: str) -> list[Hole]:
    """Holes of a catalogue; a fuzzy translation is doubtful, and stays to be seen.

    Raises:
        DataError: a line is none that a catalogue may have.
    """
    holes: list[Hole] = []
    entry, current = _Entry(), ""
    place = 0
    end = "\r\n" if "\r\n" in text else "\n"
    for number, line in enumerate(_LINE.findall(text), 1):
        stripped = line.strip()
        keyword = _KEYWORD.match(stripped)
        # A comment, an empty line or a new keyword that cannot follow begins the next entry.
        if "msgstr" in current and not stripped.startswith('"') and not (keyword and keyword[1].startswith("msgstr")):
            holes += _holes(entry, end)
            entry, current = _Entry(), ""
        if stripped.startswith("#"):
            entry.fuzzy |= stripped.startswith("#,") and "fuzzy" in stripped
            if stripped.startswith(("#.", "# ")):
                entry.notes.append(stripped[2:].strip())
        elif stripped:
            indent = len(line) - len(line.lstrip())
            if keyword:
                current = keyword[1]
                stripped, indent = stripped[keyword.end() :], indent + keyword.end()
                entry.values[current] = _Value(place + indent, place + indent, "")
            string = _STRING.fullmatch(stripped)
            if string is None or not current:
                raise DataError(f"line {number}: a message catalogue cannot hold this here: {stripped[:40]!r}.")
            value = entry.values[current]
            value.text += _unescape(string[1])
            value.end = place + indent + len(stripped)
        place += len(line)
    return holes + _holes(entry, end)


def _holes(entry: _Entry, end: str) -> list[Hole]:
    source = entry.values.get("msgid")
    if source is None or not source.text or not has_words(source.text):
        return []
    plural = entry.values.get("msgid_plural", source)
    forms = [name for name in entry.values if name.startswith("msgstr")]
    context = entry.values["msgctxt"].text if "msgctxt" in entry.values else ""
    holes = []
    for name in forms:
        value = entry.values[name]
        if value.text and not entry.fuzzy:
            continue
        # A language with one form uses it for one thing and for many.
        is_one = name == "msgstr[0]" and len(forms) > 1
        hole = Hole(
            value.start, value.end, Marked((source if is_one else plural).text), bilingual=True, context=context
        )
        hole.escape = partial(_escape, end=end)
        hole.target = Marked(value.text) if value.text else None
        hole.note = " ".join(entry.notes)
        holes.append(hole)
    return holes


def _unescape(text: str) -> str:
    def character(match: re.Match[str]) -> str:
        if match[3]:
            return _ESCAPES.get(match[3], match[3])
        return chr(int(match[1], 8) if match[1] else int(match[2], 16))

    return _ESCAPE.sub(character, text)


def _escape(text: str, end: str) -> str:
    """As gettext writes: a string, or one a line where there are several."""
    lines = [_quoted(line) for line in text.split("\n")]
    lines = [f"{line}\\n" for line in lines[:-1]] + [lines[-1]] * (lines[-1] != "")
    return f'"{lines[0]}"' if len(lines) == 1 else end.join('"' + line + '"' for line in ["", *lines])


def _quoted(line: str) -> str:
    for character, name in (
        ("\\", "\\\\"),
        ('"', '\\"'),
        ("\t", "\\t"),
        ("\r", "\\r"),
        *((v, f"\\{k}") for k, v in _ESCAPES.items() if k in "bfva"),
    ):
        line = line.replace(character, name)
    return line

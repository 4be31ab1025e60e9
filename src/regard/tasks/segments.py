"""A text taken apart into what a model can translate, and put together again.

Models are trained on sentences. Everything else that people type (paragraphs, emoji,
numbers alone, capitals throughout) is dealt with here, so that nothing is lost, cut off
or invented: what has no words is copied, symbols around a sentence stay around it.
"""

import re
import unicodedata
from dataclasses import dataclass, replace

from regard.data.chinese import HAN
from regard.data.sentences import split_long, split_sentences
from regard.tasks.integrity import has_words, outside

_COLUMN = re.compile(r"(\t\s*|\s{3,})")
_UNSPACED = frozenset({"zh", "ja"})
#: Shorter words in capitals are taken for acronyms.
_SHOUTED_LETTERS = 6
_FIRST_LETTER = re.compile(r"[^\W\d_]")
_KEYCAP = re.compile("[0-9#*]\ufe0f?\u20e3")
_WIDE_STOP = re.compile("[。！？；：，、）」』”》]$")


@dataclass(frozen=True)
class Segment:
    """One sentence and what surrounds it."""

    before: str
    """Symbols in front, copied."""
    core: str
    """What is translated; empty where there are no words."""
    after: str
    """Symbols behind, copied."""
    separator: str
    """White space up to the next segment."""
    shouted: bool = False
    """The sentence is in capitals throughout: translated in lower case, given back in capitals."""


def take_apart(text: str, language: str) -> list[Segment]:
    """Sentences of ``text``; ``before + original core + after + separator`` joined give it back."""
    return [
        _segment(column, separator)
        for span in split_sentences(text, language)
        for column, separator in _columns(span.text, span.separator_after)
    ]


def cut(segment: Segment, language: str, max_characters: int) -> list[Segment]:
    """Split a segment that is too long for the model at clause ends, else at spaces."""
    pieces = [
        replace(_bare(span.text, span.separator_after), shouted=segment.shouted)
        for span in split_long(segment.core, language, max_characters)
    ]
    pieces[0] = replace(pieces[0], before=segment.before + pieces[0].before)
    last = pieces[-1]
    pieces[-1] = replace(last, after=last.after + segment.after, separator=last.separator + segment.separator)
    return pieces


@dataclass(frozen=True)
class Stretch:
    """A part of a text and what stands for it in the translation."""

    source: str
    target: str
    segment: Segment | None = None
    """What was translated; None where symbols or white space were copied."""


def lay_out(parts: list[tuple[Segment, str]], source: str, target: str) -> list[Stretch]:
    """Join translated segments with the target language's habits of spacing.

    Line ends stay. A single space between sentences disappears in Chinese; between two
    sentences that had none (Chinese) one appears in a spaced language.

    Returns:
        What follows each other in the text; the targets joined are the translation.
    """
    stretches: list[Stretch] = []
    for i, (segment, translation) in enumerate(parts):
        core = outside(translation, str.upper) if segment.shouted else translation
        stretches += [Stretch(segment.before, segment.before), Stretch(segment.core, core, segment)]
        stretches.append(Stretch(segment.after, segment.after))
        separator = segment.separator
        if i < len(parts) - 1 and source != target:
            written = "".join(stretch.target for stretch in stretches[-3:])
            if target in _UNSPACED and separator == " " and _WIDE_STOP.search(written):
                separator = ""
            elif source in _UNSPACED and target not in _UNSPACED and not separator and segment.core:
                separator = " "
        stretches.append(Stretch(segment.separator, separator))
    return [stretch for stretch in stretches if stretch.source or stretch.target]


def put_together(parts: list[tuple[Segment, str]], source: str, target: str) -> str:
    """The text that :func:`lay_out` lays out."""
    return "".join(stretch.target for stretch in lay_out(parts, source, target))


def _columns(text: str, separator: str) -> list[tuple[str, str]]:
    """A sentence as what its tabs divide, and white space too wide to be a slip: columns of a table."""
    pieces = _COLUMN.split(text)  # text, white space, text, …
    return list(zip(pieces[::2], [*pieces[1::2], separator], strict=True))


def _segment(text: str, separator: str) -> Segment:
    start, end = 0, len(text)
    while start < end and (_is_symbol(text[start]) or _KEYCAP.match(text, start)):
        keycap = _KEYCAP.match(text, start)
        start = keycap.end() if keycap else start + 1
    while start < end and text[start].isspace():
        start += 1
    while end > start and _is_symbol(text[end - 1]):
        end -= 1
    while end > start and text[end - 1].isspace():
        end -= 1
    core = text[start:end]
    if not has_words(core):
        return _bare(text, separator)
    shouted = _is_shouted(core)
    return Segment(text[:start], _calm(core) if shouted else core, text[end:], separator, shouted)


def _bare(text: str, separator: str) -> Segment:
    """A segment without symbols around it; copied where it is numbers and punctuation only."""
    return Segment("", text, "", separator) if has_words(text) else Segment(text, "", "", separator)


def _is_symbol(character: str) -> bool:
    """Emoji, arrows, ornaments, their joiners and modifiers; not letters, digits, punctuation or currency."""
    category = unicodedata.category(character)
    if category in ("So", "Sk", "Cf", "Cs", "Co", "Cn") or character in "\ufe0e\ufe0f\u20e3•":
        return True
    return "\u2190" <= character <= "\u21ff"  # some arrows count as mathematics


def _is_shouted(core: str) -> bool:
    letters: list[str] = []
    outside(core, lambda text: letters.extend(c for c in text if c.isalpha()) or text)
    return len(letters) >= _SHOUTED_LETTERS and all(c.isupper() for c in letters) and not re.search(f"[{HAN}]", core)


def _calm(core: str) -> str:
    """Sentence case; the English pronoun I keeps its capital."""
    lowered = outside(core, lambda text: re.sub(r"\bi\b", "I", text.lower()))
    return _FIRST_LETTER.sub(lambda match: match.group().upper(), lowered, count=1)

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

_UNSPACED = frozenset({"zh", "ja"})
#: Shorter words in capitals are taken for acronyms.
_SHOUTED_LETTERS = 6
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

    def rejoin(self, translation: str) -> str:
        """The translated segment without its separator."""
        return self.before + (translation.upper() if self.shouted else translation) + self.after


def take_apart(text: str, language: str) -> list[Segment]:
    """Sentences of ``text``; ``before + original core + after + separator`` joined give it back."""
    return [_segment(span.text, span.separator_after) for span in split_sentences(text, language)]


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


def put_together(parts: list[tuple[Segment, str]], source: str, target: str) -> str:
    """Join translated segments with the target language's habits of spacing.

    Line ends stay. A single space between sentences disappears in Chinese; between two
    sentences that had none (Chinese) one appears in a spaced language.
    """
    text = []
    for i, (segment, translation) in enumerate(parts):
        text.append(segment.rejoin(translation))
        separator = segment.separator
        if i < len(parts) - 1 and source != target:
            if target in _UNSPACED and separator == " " and _WIDE_STOP.search(text[-1]):
                separator = ""
            elif source in _UNSPACED and target not in _UNSPACED and not separator and segment.core:
                separator = " "
        text.append(separator)
    return "".join(text)


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
    if not _has_letters(core):
        return _bare(text, separator)
    shouted = _is_shouted(core)
    return Segment(text[:start], _calm(core) if shouted else core, text[end:], separator, shouted)


def _bare(text: str, separator: str) -> Segment:
    """A segment without symbols around it; copied where it is numbers and punctuation only."""
    return Segment("", text, "", separator) if _has_letters(text) else Segment(text, "", "", separator)


def _has_letters(text: str) -> bool:
    return any(character.isalpha() for character in text)


def _is_symbol(character: str) -> bool:
    """Emoji, arrows, ornaments, their joiners and modifiers; not letters, digits, punctuation or currency."""
    category = unicodedata.category(character)
    if category in ("So", "Sk", "Cf", "Cs", "Co", "Cn") or character in "\ufe0e\ufe0f\u20e3•":
        return True
    return "\u2190" <= character <= "\u21ff"  # some arrows count as mathematics


def _is_shouted(core: str) -> bool:
    letters = [c for c in core if c.isalpha()]
    return len(letters) >= _SHOUTED_LETTERS and all(c.isupper() for c in letters) and not re.search(f"[{HAN}]", core)


def _calm(core: str) -> str:
    """Sentence case; the English pronoun I keeps its capital."""
    lowered = re.sub(r"\bi\b", "I", core.lower())
    return re.sub(r"[^\W\d_]", lambda match: match.group().upper(), lowered, count=1)

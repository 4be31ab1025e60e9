"""Terms of a glossary: finding them in a sentence, and having them in its translation.

Where the engine's translation lacks a term, its attention says which words stand in the
term's place. The translation up to there and the term become the beginning that the next
search must keep, so the term is in the output whatever the model would rather say; the
rest of the sentence is translated to go with it.
"""

import dataclasses
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from regard.data.chinese import HAN, KANA

if TYPE_CHECKING:
    from regard.serve.store.tables import Term
    from regard.tasks.translated import Sentence

_UNSPACED = re.compile(f"[{HAN}{KANA}]")


@dataclass(frozen=True)
class Wanted:
    """A term that occurs in a sentence."""

    source: str
    target: str
    variants: tuple[str, ...]
    case_sensitive: bool
    glossary: str
    """Id of the glossary that asks for it."""
    start: int
    """Where it stands in the sentence."""
    end: int

    def kept_in(self, text: str) -> bool:
        """Whether ``text`` has the term, or a form of it that counts as well."""
        return bool(self.places_in(text))

    def places_in(self, text: str) -> set[tuple[int, int]]:
        """Where ``text`` has the term, or a form of it."""
        forms = (self.target, *self.variants)
        return {place for form in forms for place in occurrences(form, text, self.case_sensitive)}


def missing_in(terms: Iterable[Wanted], text: str) -> list[Wanted]:
    """Terms that ``text`` has less often than they are wanted: of several with one translation, the last ones."""
    groups: dict[str, list[Wanted]] = {}
    for term in terms:
        groups.setdefault(term.target.casefold(), []).append(term)
    missing = []
    for group in groups.values():
        places = set().union(*(term.places_in(text) for term in group))
        # a form may lie within another ("loaf", "loaf of bread"): what overlaps is one place
        count, end = 0, -1
        for start, stop in sorted(places):
            count, end = (count + 1, stop) if start >= end else (count, max(end, stop))
        missing += group[count:]
    return missing


def occurrences(term: str, text: str, case_sensitive: bool = False) -> list[tuple[int, int]]:
    """Where ``term`` stands in ``text`` as whole words; Chinese has no words to respect."""
    if not term:
        return []
    left = "" if _UNSPACED.match(term[0]) or not term[0].isalnum() else r"(?<![^\W_])"
    right = "" if _UNSPACED.match(term[-1]) or not term[-1].isalnum() else r"(?![^\W_])"
    if _UNSPACED.search(text):  # a Latin word among Chinese characters has no spaces around it
        left, right = left.replace(r"[^\W_]", "[a-zA-Z0-9]"), right.replace(r"[^\W_]", "[a-zA-Z0-9]")
    pattern = left + r"\s+".join(map(re.escape, term.split())) + right
    return [match.span() for match in re.finditer(pattern, text, 0 if case_sensitive else re.IGNORECASE)]


def wanted_in(sentence: str, terms: "Iterable[tuple[Term, str]]") -> list[Wanted]:
    """Terms that occur in a sentence, in its order; of two that overlap the longer one counts.

    Args:
        sentence: what is translated.
        terms: each with the id of its glossary.
    """
    # A glossary may have thousands: first what a search for letters can say.
    folded = "".join(sentence.split()).casefold()
    found = [
        Wanted(t.source, t.target, tuple(t.variants), t.case_sensitive, glossary, start, end)
        for t, glossary in terms
        if "".join(t.source.split()).casefold() in folded
        for start, end in occurrences(t.source, sentence, t.case_sensitive)
    ]
    taken: list[Wanted] = []
    for term in sorted(found, key=lambda t: (t.start - t.end, t.start)):
        if all(term.end <= other.start or term.start >= other.end for other in taken):
            taken.append(term)
    return sorted(taken, key=lambda t: t.start)


def place_of(term: Wanted, sentence: "Sentence", after: int) -> int:
    """Where in ``sentence.text`` the translation of a term begins, as the attention has it.

    Args:
        term: what is missing.
        sentence: a translation with its attention.
        after: no place before this one will do: what stands there is settled.
    """
    from regard.tasks.alignment import word_attention, word_spans, words_of

    if sentence.attention is None or not sentence.pieces:
        return max(after, len(sentence.text))
    source, target = words_of(sentence.source_pieces), words_of(sentence.pieces)
    table = word_attention(sentence.attention, source, target)  # target × source words
    places = word_spans(sentence.source, source)
    inside = [i for i, span in enumerate(places) if span.start < term.end and span.stop > term.start]
    if not inside:
        return max(after, len(sentence.text))
    share = table[:, inside].sum(axis=1)
    starts = [span.start for span in word_spans(sentence.text, target)]
    for j, start in enumerate(starts):
        if share[j] >= 0.5 * share.max() and start >= after and int(np.argmax(table[j])) in inside:
            return start
    return max(after, starts[int(share.argmax())])


def stands_at_its_place(term: Wanted, sentence: "Sentence") -> bool:
    """Whether the translation has the term where the attention says that it belongs."""
    place = place_of(term, sentence, 0)
    return any(start <= place < end for start, end in term.places_in(sentence.text))


def beginning(term: Wanted, sentence: "Sentence", place: int) -> str:
    """The translation up to ``place``, and the term: what the next search must begin with."""
    before = sentence.text[:place]
    if before and not before[-1].isspace() and before[-1].isalnum() and not _UNSPACED.match(before[-1]):
        before += " "
    word = term.target
    if not before.strip() and not term.case_sensitive and sentence.text[:1].isupper():
        word = word[:1].upper() + word[1:]
    return before + word


def unglued(term: Wanted, sentence: "Sentence", start: str) -> "Sentence":
    """A sentence whose model went on within the term's last word (Brot → Brotes) without that ending."""
    if not sentence.text.startswith(start):
        return sentence
    if any(first < len(start) <= end for first, end in term.places_in(sentence.text)):
        return sentence
    rest = re.sub(r"^[^\W\d_]+", "", sentence.text[len(start) :])
    return dataclasses.replace(sentence, text=start + rest)

"""From attention between pieces to links between words."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from regard.base.patterns import lazily
from regard.data.chinese import HAN, KANA

_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")
_UNSPACED = lazily(f"[{HAN}{KANA}]")


@dataclass(frozen=True)
class Word:
    """A word and the pieces it is made of."""

    text: str
    pieces: range


class _Unit(NamedTuple):
    """The fewest pieces that make up whole characters: one piece, or the bytes of a character."""

    text: str
    start: int
    stop: int


def words_of(pieces: Sequence[str]) -> list[Word]:
    """Group subword pieces into words.

    A word begins at ``▁``, with a piece of Chinese or kana, and after one. Punctuation around
    a word stands for itself, within it (9:45, don't) it belongs to it. Every piece is in one word.
    """
    groups: list[list[_Unit]] = []
    for unit in _units(pieces):
        spaced, text, start = unit.text.startswith("▁"), unit.text.replace("▁", ""), unit.start
        if groups and not _text(groups[-1]):  # a lone ▁ belongs to what follows it
            start = groups.pop()[0].start
            fresh = True
        else:
            fresh = not groups or spaced or _breaks(_text(groups[-1]), text)
        if fresh:
            groups.append([])
        groups[-1].append(_Unit(text, start, unit.stop))
    if len(groups) > 1 and not _text(groups[-1]):  # nothing follows it
        stop = groups.pop()[0].stop
        last = groups[-1].pop()
        groups[-1].append(_Unit(last.text, last.start, stop))
    return [Word(_text(part), range(part[0].start, part[-1].stop)) for group in groups for part in _split(group)]


def word_attention(attention: np.ndarray, source: Sequence[Word], target: Sequence[Word]) -> np.ndarray:
    """Attention between words: summed over the pieces of a source word, averaged over those of a target word.

    Args:
        attention: target pieces × source pieces.
        source: words of the source.
        target: words of the translation.

    Returns:
        Target words × source words; rows sum to 1, or to 0 where there was no attention.
    """
    table = np.zeros((len(target), len(source)))
    for j, word in enumerate(target):
        rows = attention[word.pieces.start : word.pieces.stop]
        for i, other in enumerate(source):
            table[j, i] = rows[:, other.pieces.start : other.pieces.stop].sum(axis=1).mean()
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)


def links(table: np.ndarray, threshold: float = 0.25) -> list[tuple[int, int]]:
    """Pairs (source word, target word): each target word with its strongest source word and all above the threshold."""
    found = []
    for j, row in enumerate(table):
        for i, weight in enumerate(row):
            if weight > 0 and (i == int(row.argmax()) or weight >= threshold):
                found.append((i, j))
    return found


def word_spans(text: str, words: Sequence[Word]) -> list[range]:
    """Where each word stands in ``text``, whatever its case; empty, where the search had come to, if it is not near."""
    lowered = text.lower()
    if len(lowered) != len(text):
        lowered = text
    spans, place = [], 0
    for word in words:
        wanted = word.text.lower()
        # Marks may have been mended, a word taken away: not to be found far behind instead.
        found = lowered.find(wanted, place, place + len(wanted) + 16) if wanted else -1
        if found < 0 and (length := _common(lowered[place:].lstrip(), wanted)) >= max(3, len(wanted) // 2):
            # an ending was taken away: the word without it
            wanted = wanted[:length]
            found = lowered.find(wanted, place)
        start, place = (place, place) if found < 0 else (found, found + len(wanted))
        spans.append(range(start, place))
    return spans


def _common(a: str, b: str) -> int:
    """Length of what two texts both begin with."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _units(pieces: Sequence[str]) -> Iterator[_Unit]:
    """Pieces, with the bytes that spell a character put together."""
    i = 0
    while i < len(pieces):
        if not pieces[i].startswith("<0x") or not _BYTE.fullmatch(pieces[i]):
            yield _Unit(pieces[i], i, i + 1)
            i += 1
            continue
        spelled = bytearray()
        stop = i
        while stop < len(pieces) and len(spelled) < 4 and (match := _BYTE.fullmatch(pieces[stop])):
            spelled.append(int(match.group(1), 16))
            stop += 1
        length = next((n for n in range(1, len(spelled) + 1) if _decodes(spelled[:n])), 1)
        text = bytes(spelled[:length]).decode("utf-8", errors="replace")
        yield _Unit("\ufffd" if unicodedata.category(text) == "Cc" else text, i, i + length)
        i += length


def _decodes(spelled: bytes | bytearray) -> bool:
    try:
        spelled.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _breaks(before: str, after: str) -> bool:
    """Whether a new word begins between two pieces that no space separates."""
    if not before or not after or (before.isascii() and after.isascii()):
        return False
    if _UNSPACED.match(after[0]):
        return True
    return bool(_UNSPACED.match(before[-1])) and not _is_punctuation(after)


def _split(group: list[_Unit]) -> Iterator[list[_Unit]]:
    """A word without the punctuation in front of it and behind it, which are words of their own."""
    start, stop = 0, len(group)
    while start < stop and _is_punctuation(group[start].text):
        start += 1
    while stop > start and _is_punctuation(group[stop - 1].text):
        stop -= 1
    yield from (part for part in (group[:start], group[start:stop], group[stop:]) if part)


@lru_cache(1 << 14)  # a translation has few different pieces
def _is_punctuation(text: str) -> bool:
    return text != "" and all(unicodedata.category(character).startswith("P") for character in text)


def _text(group: list[_Unit]) -> str:
    return "".join(unit.text for unit in group)

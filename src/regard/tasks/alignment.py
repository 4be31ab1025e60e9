"""From attention between pieces to links between words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regard.data.chinese import is_han


@dataclass(frozen=True)
class Word:
    """A word and the pieces it is made of."""

    text: str
    pieces: range


def words_of(pieces: Sequence[str]) -> list[Word]:
    """Group subword pieces into words: a new one starts at ``▁``, and at every Chinese character."""
    words: list[tuple[str, int, int]] = []
    for i, piece in enumerate(pieces):
        text = piece.replace("▁", "")
        fresh = piece.startswith("▁") or not words or (text != "" and is_han(text[0]))
        if fresh and words and words[-1][0] == "":  # a lone ▁ belongs to what follows it
            start = words.pop()[1]
            words.append((text, start, i + 1))
        elif fresh:
            words.append((text, i, i + 1))
        else:
            before, start, _ = words[-1]
            words[-1] = (before + text, start, i + 1)
    return [Word(text, range(start, stop)) for text, start, stop in words]


def word_attention(attention: np.ndarray, source: Sequence[Word], target: Sequence[Word]) -> np.ndarray:
    """Attention between words: summed over the pieces of a source word, averaged over those of a target word.

    Args:
        attention: target pieces × source pieces.

    Returns:
        Target words × source words, rows sum to 1.
    """
    table = np.zeros((len(target), len(source)))
    for j, word in enumerate(target):
        rows = attention[word.pieces.start : word.pieces.stop]
        for i, other in enumerate(source):
            table[j, i] = rows[:, other.pieces.start : other.pieces.stop].sum(axis=1).mean()
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)


def links(table: np.ndarray, threshold: float = 0.25) -> list[tuple[int, int]]:
    """Pairs (source word, target word): for each target word its strongest source word, and every other above the threshold."""
    found = []
    for j, row in enumerate(table):
        for i, weight in enumerate(row):
            if i == int(row.argmax()) or weight >= threshold:
                found.append((i, j))
    return found

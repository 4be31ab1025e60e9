"""A translation made with stand-ins, with the originals back in their places: in its text, pieces and alignment."""

import re
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from regard.tasks.alignment import word_spans, words_of
from regard.tasks.integrity import Mask, restore
from regard.tasks.translated import Sentence


def restored(sentence: Sentence, masked: Mask) -> Sentence:
    """``sentence``, a translation of ``masked.text``, as a translation of what was masked.

    A stand-in that is lost goes behind the word of the translation that looked at it most.
    """
    if not masked.originals:
        return sentence
    text, problems = restore(sentence.text, masked, lambda number: _place_of(sentence, f"{{{number}}}"))
    source, target = _groups(sentence.source_pieces), _groups(sentence.pieces)
    log_probs = [sum(sentence.log_probs[i] for i in group) for group in target]
    attention = sentence.attention
    if attention is not None:
        attention = np.stack([attention[:, list(group)].sum(axis=1) for group in source], axis=1)
        attention = np.stack([attention[list(group)].mean(axis=0) for group in target])
    return replace(
        sentence,
        text=text,
        source_pieces=_joined(sentence.source_pieces, source, masked),
        pieces=_joined(sentence.pieces, target, masked),
        log_probs=(*log_probs, *sentence.log_probs[len(sentence.pieces) :]),
        attention=attention,
        alternatives=tuple(
            replace(other, text=restore(other.text, masked, lambda _: None)[0]) for other in sentence.alternatives
        ),
        problems=(*sentence.problems, *problems),
    )


def _place_of(sentence: Sentence, stand_in: str) -> int | None:
    """Where in the text a stand-in belongs that is not there."""
    if sentence.attention is None or not sentence.pieces:
        return None
    looked_at = next((g for g in _groups(sentence.source_pieces) if stand_in in _text(sentence.source_pieces, g)), None)
    if looked_at is None:
        return None
    if looked_at.start == 0:
        return 0
    if looked_at.stop >= len(sentence.source_pieces) - 1:  # a stop may follow
        return None
    words = words_of(sentence.pieces)
    spans = word_spans(sentence.text, words)
    weights = sentence.attention[:, list(looked_at)].sum(axis=1)
    shares = {
        spans[i].stop: float(weights[list(word.pieces)].max())
        for i, word in enumerate(words)
        if any(character.isalnum() for character in word.text)  # a mark looks anywhere
    }
    return max(shares, key=shares.__getitem__, default=None)


def _groups(pieces: Sequence[str]) -> list[range]:
    """Ranges of pieces, each single but for those that spell a stand-in."""
    starts = np.cumsum([0, *map(len, pieces)])
    groups: list[range] = []
    place = 0
    for match in re.finditer(r"[{｛]▁?\d+▁?[}｝]", "".join(pieces)):
        first = int(np.searchsorted(starts, match.start(), side="right")) - 1
        last = int(np.searchsorted(starts, match.end(), side="left"))
        if first >= place:
            groups += [range(i, i + 1) for i in range(place, first)] + [range(first, last)]
            place = last
    return groups + [range(i, i + 1) for i in range(place, len(pieces))]


def _joined(pieces: Sequence[str], groups: Sequence[range], masked: Mask) -> tuple[str, ...]:
    def original(match: re.Match[str]) -> str:
        number = int(match[1])
        return masked.originals[number - 1] if 0 < number <= len(masked.originals) else match[0]

    return tuple(re.sub(r"[{｛]▁?(\d+)▁?[}｝]", original, _text(pieces, group)) for group in groups)


def _text(pieces: Sequence[str], group: range) -> str:
    return "".join(pieces[group.start : group.stop])

"""How probable a model finds a translation that somebody wrote: of each word, and of the whole.

The engine is made to say exactly that translation, as the beginning that a search must keep. So it works on either
engine and beside other requests; whole corpora are judged faster by :mod:`regard.tasks.forced`.
"""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from regard.tasks.alignment import word_spans, words_of
from regard.tasks.integrity import mask

if TYPE_CHECKING:
    from regard.tasks.pending import Prepared
    from regard.tasks.translated import Sentence
    from regard.tasks.translation import Translator

#: Longer sentences are not judged: models were not trained on them.
MAX_PIECES = 120


@dataclass(frozen=True)
class Judged:
    """A word of a translation."""

    text: str
    place: range
    """Characters of the translation; empty where it cannot be found there."""
    score: float
    """Mean natural-log probability of its pieces."""


@dataclass(frozen=True)
class Fluency:
    """What a model thinks of a translation, given its source."""

    score: float
    """Mean natural-log probability of a piece."""
    words: tuple[Judged, ...]


def say(translator: "Translator", text: str, translation: str, source: str, target: str) -> "Prepared | None":
    """What to ask of an engine so that it says ``translation``; None where a side is empty or too long.

    Args:
        translator: of the engine.
        text: a sentence, or a few.
        translation: its translation, by a person or by anybody.
        source: language of the text.
        target: language of the translation; the model must have the direction itself.

    Raises:
        ConfigError: it has not.
    """
    given = mask(text)
    written = translation
    for number, original in enumerate(given.originals, 1):
        written = written.replace(original, f"{{{number}}}", 1)
    prepared = translator.ask([text], source, target, beam=1, num_hypotheses=1, no_repeat_ngram=0)
    pieces = translator.tokenizers[1].encode(written)
    if not prepared.encoded[0] or not pieces or max(len(prepared.encoded[0]), len(pieces)) > MAX_PIECES:
        return None
    asked = prepared.requests[0]
    prefix = (*prepared.begin, *pieces)
    # One piece beyond it, and the search ends.
    options = dataclasses.replace(asked.options, min_length=0, max_length=len(prefix) + 1)
    return dataclasses.replace(prepared, requests=[dataclasses.replace(asked, options=options, prefix=prefix)])


def fluency(prepared: "Prepared", sentence: "Sentence", translation: str) -> Fluency:
    """What the engine's answer to :func:`say` means.

    Args:
        prepared: what was asked.
        sentence: what came of it.
        translation: the same as there.
    """
    count = len(prepared.requests[0].prefix) - len(prepared.begin)
    # Stand-ins of several pieces were put together again, so there may be fewer of them.
    pieces, log_probs = sentence.pieces[:count], sentence.log_probs[:count]
    words = words_of(pieces)
    judged = [
        Judged(word.text, place, sum(log_probs[word.pieces.start : word.pieces.stop]) / len(word.pieces))
        for word, place in zip(words, word_spans(translation, words), strict=True)
    ]
    return Fluency(sum(log_probs) / len(log_probs), tuple(judged))

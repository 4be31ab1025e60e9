"""A direction that a model lacks, in two steps through a language that it has both ways: French to English to German.

Every sentence takes the two steps by itself, so that what a text is made of (lines, tags, placeholders) is dealt with
once. The second step adds its own doubts to those of the first, and a word's attention goes through the words between.
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from regard.tasks.alignment import word_spans, words_of
from regard.tasks.integrity import check
from regard.tasks.pending import Prepared
from regard.tasks.translated import Sentence

if TYPE_CHECKING:
    from regard.tasks.translation import Translator


def language_between(directions: Iterable[tuple[str, str]], source: str, target: str) -> str | None:
    """The language to go through; None where there is none. English, if that will do, since models know it best."""
    pairs = set(directions)
    if source == target:
        return None
    found = sorted(t for s, t in pairs if s == source and (t, target) in pairs)
    return "en" if "en" in found else next(iter(found), None)


def second_step(translator: "Translator", prepared: Prepared, first: Mapping[int, Sentence]) -> Prepared:
    """What to ask after the first step of ``prepared``, its sentences under the same numbers.

    Args:
        translator: what made ``prepared``.
        prepared: texts of a direction that takes two steps.
        first: what the first step made of its sentences, by number; the others are not to be asked for.
    """
    assert prepared.via is not None
    cores = [first[i].text if i in first else "" for i in range(len(prepared.cores))]
    return translator.ask(cores, prepared.via, prepared.target, **prepared.onward)


def joined(first: Sentence, second: Sentence) -> Sentence:
    """Both steps as one translation of what the first began with."""
    problems = [problem for problem in (*first.problems, *second.problems) if problem.repaired]
    return dataclasses.replace(
        second,
        source=first.source,
        score=first.score + second.score,
        source_pieces=first.source_pieces,
        # No word can be surer than the sentence that it comes from.
        log_probs=tuple(log_prob + first.score for log_prob in second.log_probs),
        finished=first.finished and second.finished,
        attention=_through(first, second),
        problems=tuple(dict.fromkeys([*problems, *check(first.source, second.text)])),
        pivot=first.text,
    )


def _through(first: Sentence, second: Sentence) -> np.ndarray | None:
    """Attention of the second step's pieces to the first one's source, through the words between; rows sum to 1."""
    if first.attention is None or second.attention is None:
        return None
    made, read = words_of(first.pieces), words_of(second.source_pieces)
    places = [word_spans(first.text, words) for words in (made, read)]
    shared = np.array([[len(range(max(a.start, b.start), min(a.stop, b.stop))) for a in places[0]] for b in places[1]])
    to_read = np.stack([second.attention[:, list(word.pieces)].sum(axis=1) for word in read], axis=1)
    from_made = np.stack([first.attention[list(word.pieces)].mean(axis=0) for word in made])
    table = to_read @ (shared / np.maximum(shared.sum(axis=1, keepdims=True), 1)) @ from_made
    return table / np.maximum(table.sum(axis=1, keepdims=True), 1e-12)

"""What a translation looks like to those who asked: text, and where each sentence came from."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regard.serve.checks import Check, check, missing_terms, of_problem
from regard.serve.terms import Wanted, missing_in

if TYPE_CHECKING:
    from regard.tasks.translated import Sentence


@dataclass(frozen=True)
class Origin:
    """Where a sentence's translation came from."""

    kind: str
    """machine or memory."""
    match: int | None = None
    """With memory: 1 to 100."""
    memory: str | None = None
    """With memory: id of the entry."""
    terms: tuple[Wanted, ...] = ()
    """Terms of glossaries that occur in it."""


@dataclass
class Answer:
    """One translated text."""

    source: str
    text: str
    sentences: list[dict[str, Any]] = field(default_factory=list)

    @property
    def confidence(self) -> float:
        """Mean over the sentences, each weighed by its length; 1 where nothing had to be translated."""
        weights = [len(sentence["text"]) for sentence in self.sentences]
        if not sum(weights):
            return 1.0
        mean = sum(w * s["confidence"] for w, s in zip(weights, self.sentences, strict=True)) / sum(weights)
        return round(mean, 4)

    @property
    def checks(self) -> list[dict[str, Any]]:
        """Those of all sentences, each once."""
        every = [tuple(c.items()) for sentence in self.sentences for c in sentence["checks"]]
        return [dict(c) for c in dict.fromkeys(every)]

    def values(self) -> dict[str, Any]:
        """As JSON says it."""
        return {
            "text": self.text,
            "confidence": self.confidence,
            "checks": self.checks,
            "sentences": self.sentences,
        }


def sentence_values(
    sentence: "Sentence", origin: Origin, model: str, adapters: Sequence[str | None] = (None,), via: str | None = None
) -> dict[str, Any]:
    """What JSON says of a sentence, but for its place in the text.

    Args:
        sentence: the sentence.
        origin: where its translation came from.
        model: what translated it, if that was the machine.
        adapters: used in each step.
        via: the language between, where there were two steps.
    """
    machine, missing = origin.kind == "machine", missing_in(origin.terms, sentence.text)
    values: dict[str, Any] = {
        "source": sentence.source,
        "text": sentence.text,
        "source_start": None,
        "source_end": None,
        "start": None,
        "end": None,
        "origin": origin.kind,
        "match": origin.match,
        "memory": origin.memory,
        "model": model if machine else None,
        "adapter": adapters[-1] if machine else None,
        "pivot": {"language": via, "text": sentence.pivot, "adapter": adapters[0]} if sentence.pivot else None,
        "confidence": probability(sentence.score) if machine else (origin.match or 100) / 100,
        "finished": sentence.finished,
        "words": [],
        "alternatives": _alternatives(sentence),
        "alignment": None,
        "terms": [
            {"source": t.source, "target": t.target, "glossary": t.glossary, "kept": t not in missing}
            for t in origin.terms
        ],
    }
    if machine:
        values |= _words(sentence)
    values["checks"] = [vars(c) for c in _checks(sentence, origin)]
    return values


def probability(score: float) -> float:
    """The geometric mean of the pieces' probabilities."""
    return round(math.exp(min(score, 0.0)), 4)


def _alternatives(sentence: "Sentence") -> list[dict[str, Any]]:
    seen, found = {sentence.text}, []
    for other in sentence.alternatives:
        if other.text not in seen:
            seen.add(other.text)
            found.append({"text": other.text, "confidence": probability(other.score)})
    return found


def _words(sentence: "Sentence") -> dict[str, Any]:
    from regard.tasks.alignment import links, word_attention, word_spans, words_of

    target = words_of(sentence.pieces)
    words = []
    for word, span in zip(target, word_spans(sentence.text, target), strict=True):
        log_probs = sentence.log_probs[word.pieces.start : word.pieces.stop]
        mean = sum(log_probs) / len(log_probs) if log_probs else 0.0
        words.append({"text": word.text, "start": span.start, "end": span.stop, "confidence": probability(mean)})
    if sentence.attention is None:
        return {"words": words}
    source = words_of(sentence.source_pieces)
    table = word_attention(sentence.attention, source, target)
    places = word_spans(sentence.source, source)
    alignment = {
        "source_words": [
            {"text": word.text, "start": span.start, "end": span.stop}
            for word, span in zip(source, places, strict=True)
        ],
        "links": links(table),
        "weights": [[round(float(weight), 4) for weight in row] for row in table],
    }
    return {"words": words, "alignment": alignment}


def _checks(sentence: "Sentence", origin: Origin) -> list[Check]:
    found = [of_problem(problem) for problem in sentence.problems]
    found += check(sentence.source, sentence.text, finished=sentence.finished)
    return found + missing_terms(origin.terms, sentence.text)

"""What a translation came to: texts, their sentences, and what else was found."""

from dataclasses import dataclass

import numpy as np

from regard.tasks.integrity import Problem


@dataclass(frozen=True)
class Alternative:
    """Another translation of a sentence."""

    text: str
    score: float


@dataclass(frozen=True)
class Sentence:
    """One translated sentence."""

    source: str
    """What was translated."""
    text: str
    """The translation."""
    score: float
    """Mean natural-log probability of a piece: 0 is certain, -1 a guess among e ≈ 2.7 pieces each time."""
    source_pieces: tuple[str, ...]
    """Subword pieces of the source, without tag and end of sentence."""
    pieces: tuple[str, ...]
    """Subword pieces of the translation."""
    log_probs: tuple[float, ...]
    """Natural-log probability of each piece and of the end of the sentence."""
    finished: bool = True
    """False where the limit on the length cut the translation off."""
    attention: np.ndarray | None = None
    """Cross-attention, pieces × source pieces, rows sum to 1; with ``alignment=True``."""
    alternatives: tuple[Alternative, ...] = ()
    """Further hypotheses, best first."""
    problems: tuple[Problem, ...] = ()
    """What the translation did not keep of the source: placeholders, numbers."""
    pivot: str | None = None
    """The sentence in a third language, where it was translated in two steps."""


@dataclass(frozen=True)
class Part:
    """Where a stretch of a text went."""

    source: range
    """Characters of the source."""
    target: range
    """Characters of the translation."""
    sentence: Sentence | None = None
    """What was translated; None where symbols or white space were copied."""


@dataclass(frozen=True)
class Translation:
    """One translated text."""

    source: str
    """The text as it was given."""
    text: str
    """The translation."""
    score: float
    """Mean natural-log probability of a piece over all sentences; 0 where nothing had to be translated."""
    sentences: tuple[Sentence, ...]
    """The sentences that were translated, in order; copied symbols and white space are not among them."""
    parts: tuple[Part, ...] = ()
    """All of the text, in order: sentences and what was copied."""

    @property
    def finished(self) -> bool:
        """Whether every sentence came to its end."""
        return all(sentence.finished for sentence in self.sentences)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What its sentences did not keep."""
        return tuple(problem for sentence in self.sentences for problem in sentence.problems)

"""What is asked of an engine, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from regard.base.errors import ConfigError


@dataclass(frozen=True)
class Options:
    """How to search. The defaults are greedy search without constraints."""

    beam: int = 1
    """Hypotheses kept at each step; 1 is greedy search."""
    num_hypotheses: int = 1
    """Hypotheses to return, best first; with beam search at most ``beam``."""
    length_penalty: float = 1.0
    """α: hypotheses are ranked by log p / ((5 + length) / 6)^α (Wu et al. 2016, equation 14); 0 ranks by log p."""
    coverage_penalty: float = 0.0
    """β of Wu et al. 2016, equation 14: ranks down finished hypotheses that left source pieces unattended."""
    sample: bool = False
    """Draw pieces at random instead of searching; each hypothesis is a draw of its own."""
    temperature: float = 1.0
    """Logits are divided by this before drawing."""
    top_k: int = 0
    """Draw among the most probable pieces only (Fan et al. 2018); 0 for all."""
    top_p: float = 1.0
    """Draw among the fewest pieces that make up this probability (Holtzman et al. 2020)."""
    seed: int = 0
    """Seed of the draws; the same request draws the same, whatever else is in the batch."""
    min_length: int = 0
    """Least number of pieces before the end of the sentence."""
    max_length: int = 0
    """Most pieces; 0 for twice the source and 20 more."""
    no_repeat_ngram: int = 0
    """No sequence of this many pieces occurs twice; 0 for no such rule."""
    banned: tuple[tuple[int, ...], ...] = ()
    """Sequences of pieces that must not occur."""
    required: tuple[tuple[int, ...], ...] = ()
    """Sequences of pieces that must occur, in any order; a sequence that is here twice must occur twice. The search
    keeps a hypothesis for each number of their pieces (:meth:`rows`), so it costs as a beam that wide."""
    alignment: bool = False
    """Whether to return the cross-attention of each hypothesis."""

    def __post_init__(self) -> None:
        if self.beam < 1 or self.num_hypotheses < 1:
            raise ConfigError("beam and num_hypotheses must be at least 1.")
        if not self.sample and self.num_hypotheses > self.beam:
            raise ConfigError(f"{self.num_hypotheses} hypotheses need a beam of as many; beam is {self.beam}.")
        if self.sample and self.beam > 1:
            raise ConfigError("sampling draws hypotheses one by one: set beam to 1, or sample to false.")
        if not self.sample and (self.temperature != 1.0 or self.top_k or self.top_p != 1.0):
            raise ConfigError("temperature, top_k and top_p have no effect without sampling: set sample to true.")
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ConfigError("sampling needs temperature > 0, 0 < top_p <= 1 and top_k >= 0.")
        if self.min_length < 0 or self.max_length < 0 or (self.max_length and self.min_length > self.max_length):
            raise ConfigError(f"min_length {self.min_length} and max_length {self.max_length} do not fit together.")
        if self.no_repeat_ngram < 0 or self.coverage_penalty < 0:
            raise ConfigError("no_repeat_ngram and coverage_penalty cannot be negative.")
        if any(not sequence for sequence in (*self.banned, *self.required)):
            raise ConfigError("a banned or required sequence is empty.")
        if self.sample and self.required:
            raise ConfigError("what is drawn at random cannot be required to have a sequence: set sample to false.")
        for ban in self.banned:
            for sequence in self.required:
                if any(sequence[i : i + len(ban)] == ban for i in range(len(sequence))):
                    raise ConfigError(f"the sequence {sequence} is required, but {ban} is banned.")

    @property
    def rows(self) -> int:
        """Decoder rows that a request takes."""
        if self.sample:
            return self.num_hypotheses
        return max(self.beam, self.required_pieces + 1) if self.required else self.beam

    @property
    def required_pieces(self) -> int:
        """Pieces of all required sequences."""
        return sum(map(len, self.required))

    @property
    def is_plain(self) -> bool:
        """Whether what was produced so far restricts no next piece."""
        return not (self.no_repeat_ngram or self.banned or self.required)

    def limit(self, source_length: int) -> int:
        """Most pieces for a source of ``source_length`` pieces."""
        return self.max_length or 2 * source_length + 20


@dataclass(frozen=True)
class Request:
    """One sentence to translate."""

    source: list[int]
    """Source pieces with tag and end of sentence, as the encoder sees them."""
    options: Options = field(default_factory=Options)
    """How to search."""
    prefix: tuple[int, ...] = ()
    """Pieces that the translation must begin with."""
    adapters: Mapping[str, float] | None = None
    """Share of each adapter of the model; None for those that the model has switched on."""
    vocabulary: tuple[int, ...] | None = None
    """The only pieces that there are for this translation, beside the end of the sentence, ``prefix`` and what the
    options require; probabilities are among these. None for what the engine's shortlist gives for the source, and for
    all pieces where it has none."""

    def __post_init__(self) -> None:
        if self.vocabulary is not None and not self.vocabulary:
            raise ConfigError("the vocabulary of a request is empty; None stands for all pieces.")


@dataclass(frozen=True)
class Hypothesis:
    """One translation."""

    ids: list[int]
    """Pieces without begin and end of sentence."""
    score: float
    """What hypotheses are ranked by: log-probability over the length penalty, plus coverage penalty."""
    log_probs: list[float]
    """Natural-log probability of each piece, and of the end of the sentence where it was reached."""
    finished: bool
    """False where the limit on the length cut the translation off."""
    alignment: np.ndarray | None = None
    """Cross-attention, pieces × source pieces, rows sum to 1; only on request."""

    @property
    def log_prob(self) -> float:
        """Log-probability of the whole."""
        return sum(self.log_probs)


@dataclass(frozen=True)
class Result:
    """What a step of an engine has to say about a request."""

    number: int
    """What the engine's ``add`` returned."""
    hypotheses: list[Hypothesis]
    """All hypotheses, best first, when it is finished; else the best so far."""
    finished: bool
    """Whether this is the last word."""


def length_penalty(length: int, alpha: float) -> float:
    """((5 + length) / 6)^α, Wu et al. 2016, equation 14."""
    return ((5 + length) / 6) ** alpha

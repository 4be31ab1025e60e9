"""What a model is pretrained to do: noise of :mod:`regard.data.noise`, put together, and the batch that comes of it."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError, did_you_mean
from regard.data.batch import Batch, TextBatch, collate, collate_text
from regard.data.noise import corrupt_spans, delete, infill, mask_pieces, permute, spans_at_most
from regard.data.tokenizer import BOS, EOS, PAD, Tokenizer

MASK = "<mask>"
Example = Sequence[np.ndarray]
"""The pieces of each sentence of a text."""


class Vocabulary:
    """What noise must know of a vocabulary."""

    def __init__(self, tokenizer: Tokenizer, marks: Sequence[str]):
        """
        Args:
            tokenizer: has the marks as tags.
            marks: :meth:`Pretext.marks`.

        Raises:
            ConfigError: it has no such tag.
        """
        size = tokenizer.vocab_size
        #: Ids of the marks.
        self.marks = np.array([tokenizer.tag_id(mark) for mark in marks], dtype=np.int64)
        special = [PAD, BOS, EOS, tokenizer.unk_id, *(tokenizer.tag_id(tag) for tag in tokenizer.tags)]
        #: Ids of pieces of text.
        self.ordinary = np.setdiff1d(np.arange(size), special)
        #: Whether a piece begins a word, W booleans; words are what stands between spaces.
        self.starts_word = np.array([piece.startswith("\u2581") for piece in tokenizer.pieces(range(size))])


class Pretext(ABC):
    """The settings of an objective, as a frozen dataclass."""

    #: What presets call it.
    kind: ClassVar[str]
    #: What it trains: an encoder, a decoder, or both.
    trains: ClassVar[Literal["encoder", "decoder", "both"]]

    def marks(self, max_tokens: int) -> tuple[str, ...]:
        """The special pieces that it takes for examples of ``max_tokens`` pieces."""
        return (MASK,)

    @abstractmethod
    def batch(
        self, examples: Sequence[Example], random: np.random.Generator, vocabulary: Vocabulary
    ) -> Batch | TextBatch:
        """Make a batch with new noise; the same generator gives the same batch."""


def _check_share(name: str, value: float, *, zero: bool = False) -> None:
    if not (0 < value < 1 or (zero and value == 0)):
        raise ConfigError(f"{name} is {value}; it must lie {'in [0, 1)' if zero else 'between 0 and 1'}.")


def _check_mean_span(value: float) -> None:
    if not 1 <= value <= 1000:
        raise ConfigError(f"mean_span is {value}; it must lie in 1 to 1000.")


@dataclass(frozen=True)
class Masked(Pretext):
    """Find pieces that are hidden (BERT, Devlin et al. 2019), others each time (RoBERTa, Liu et al. 2019)."""

    kind: ClassVar[str] = "masked"
    trains: ClassVar[Literal["encoder", "decoder", "both"]] = "encoder"

    rate: float = 0.15
    """Share of the pieces to find."""
    random_share: float = 0.1
    """Share of them that the model sees as another piece."""
    kept_share: float = 0.1
    """Share of them that it sees as they are; the rest is masked."""
    whole_words: bool = False
    """Choose whole words. A word stands between spaces: for Chinese set tokenizer.segment to word."""

    def __post_init__(self) -> None:
        _check_share("rate", self.rate)
        if min(self.random_share, self.kept_share) < 0 or self.random_share + self.kept_share > 1:
            raise ConfigError("random_share and kept_share cannot be negative, nor together more than 1.")

    def batch(self, examples: Sequence[Example], random: np.random.Generator, vocabulary: Vocabulary) -> TextBatch:
        """Texts with masks and an end; the targets are the hidden pieces."""
        rows, positions, targets = [], [], []
        for example in examples:
            pieces = np.concatenate(example)
            seen, chosen = mask_pieces(
                pieces,
                random,
                mask=int(vocabulary.marks[0]),
                ordinary=vocabulary.ordinary,
                rate=self.rate,
                random_share=self.random_share,
                kept_share=self.kept_share,
                word_starts=vocabulary.starts_word[pieces] if self.whole_words else None,
            )
            rows.append(np.append(seen, EOS))
            positions.append(chosen)
            targets.append(pieces[chosen])
        return collate_text(rows, positions, targets, pad_id=PAD)


@dataclass(frozen=True)
class Causal(Pretext):
    """Find each piece from those before it (Radford et al. 2018)."""

    kind: ClassVar[str] = "causal"
    trains: ClassVar[Literal["encoder", "decoder", "both"]] = "decoder"

    def marks(self, max_tokens: int) -> tuple[str, ...]:
        """None."""
        return ()

    def batch(self, examples: Sequence[Example], random: np.random.Generator, vocabulary: Vocabulary) -> TextBatch:
        """Texts behind a beginning; the targets are their pieces and an end."""
        texts = [np.concatenate(example) for example in examples]
        rows = [np.concatenate([[BOS], text]) for text in texts]
        return collate_text(
            rows, [np.arange(len(row)) for row in rows], [np.append(text, EOS) for text in texts], pad_id=PAD
        )


@dataclass(frozen=True)
class Denoising(Pretext):
    """Write a text that was damaged (BART, Lewis et al. 2020)."""

    kind: ClassVar[str] = "denoising"
    trains: ClassVar[Literal["encoder", "decoder", "both"]] = "both"

    infilling: float = 0.3
    """Share of the pieces that are covered by spans, each a single mask to the model; 0 for none."""
    mean_span: float = 3.0
    """Mean length of a span, of a Poisson distribution."""
    permute: bool = True
    """Put the sentences in random order."""
    deletion: float = 0.0
    """Share of the pieces left out without a trace."""

    def __post_init__(self) -> None:
        _check_share("infilling", self.infilling, zero=True)
        _check_share("deletion", self.deletion, zero=True)
        _check_mean_span(self.mean_span)
        if not (self.infilling or self.deletion or self.permute):
            raise ConfigError("there is no noise: set infilling, deletion or permute.")
        if not self.infilling and self.mean_span != 3.0:
            raise ConfigError("mean_span has no effect without infilling.")

    def batch(self, examples: Sequence[Example], random: np.random.Generator, vocabulary: Vocabulary) -> Batch:
        """Damaged texts as sources, the texts as targets."""
        sources = [self._damage(list(example), random, int(vocabulary.marks[0])) for example in examples]
        targets = [np.concatenate(example) for example in examples]
        return collate(sources, targets, pad_id=PAD, bos_id=BOS, eos_id=EOS)

    def _damage(self, sentences: list[np.ndarray], random: np.random.Generator, mask: int) -> np.ndarray:
        pieces = np.concatenate(permute(sentences, random) if self.permute else sentences)
        if self.deletion:
            pieces = delete(pieces, random, rate=self.deletion)
        if self.infilling:
            pieces = infill(pieces, random, mask=mask, rate=self.infilling, mean_span=self.mean_span)
        return pieces


@dataclass(frozen=True)
class SpanCorruption(Pretext):
    """Write what spans of a text were (T5, Raffel et al. 2020)."""

    kind: ClassVar[str] = "spans"
    trains: ClassVar[Literal["encoder", "decoder", "both"]] = "both"

    rate: float = 0.15
    """Share of the pieces that spans cover."""
    mean_span: float = 3.0
    """Mean length of a span."""

    def __post_init__(self) -> None:
        _check_share("rate", self.rate)
        _check_mean_span(self.mean_span)

    def marks(self, max_tokens: int) -> tuple[str, ...]:
        """A sentinel for each span, and one more."""
        return tuple(f"<extra_id_{i}>" for i in range(spans_at_most(max_tokens, self.rate, self.mean_span) + 1))

    def batch(self, examples: Sequence[Example], random: np.random.Generator, vocabulary: Vocabulary) -> Batch:
        """Texts with sentinels as sources, what those stand for as targets."""
        pairs = [
            corrupt_spans(
                np.concatenate(example),
                random,
                sentinels=vocabulary.marks,
                rate=self.rate,
                mean_span=self.mean_span,
            )
            for example in examples
        ]
        sources, targets = [source for source, _ in pairs], [target for _, target in pairs]
        return collate(sources, targets, pad_id=PAD, bos_id=BOS, eos_id=EOS)


PRETEXTS: dict[str, type[Pretext]] = {o.kind: o for o in (Masked, Causal, Denoising, SpanCorruption)}


def pretext_of(values: str | Mapping[str, Any]) -> Pretext:
    """The objective that a preset describes: ``{"kind": name, …}``, or its name where it has no settings.

    Raises:
        ConfigError: no such objective, or an unknown or wrong setting.
    """
    values = {"kind": values} if isinstance(values, str) else values
    kind = str(values.get("kind"))
    if kind not in PRETEXTS:
        raise ConfigError(f"objective: '{kind}' is not an objective.{did_you_mean(kind, PRETEXTS)}")
    return from_dict(PRETEXTS[kind], {name: v for name, v in values.items() if name != "kind"}, "objective")


def describe(pretext: Pretext) -> dict[str, Any]:
    """The inverse of :func:`pretext_of`, in JSON values."""
    return {"kind": pretext.kind, **to_dict(pretext)}

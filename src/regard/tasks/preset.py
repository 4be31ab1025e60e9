"""A training run of a translation model, as its YAML preset describes it."""

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError
from regard.data.clean import CleanConfig
from regard.data.corpus import CorpusConfig
from regard.data.join import JoinConfig
from regard.data.tokenizer import TokenizerConfig
from regard.model.config import ModelConfig
from regard.train.config import TrainConfig


@dataclass(frozen=True)
class DataConfig:
    """What to train on and what to judge by."""

    train: list[CorpusConfig]
    """Training corpora."""
    dev: list[CorpusConfig] = field(default_factory=list)
    """Development corpora; they are kept out of the training data."""
    test: list[CorpusConfig] = field(default_factory=list)
    """Test corpora: never read by the training but to keep their sentences out of it."""
    clean: CleanConfig = field(default_factory=CleanConfig)
    """Which pairs are dropped."""
    join: JoinConfig = field(default_factory=JoinConfig)
    """Sentences joined into longer examples."""
    max_tokens: int = 256
    """Pairs with a side of more pieces are dropped (and counted)."""
    subword_alpha: float = 0.0
    """Subword regularisation (Kudo 2018): pieces sampled anew each time with this smoothing, e.g. 0.2; 0 for none."""


@dataclass(frozen=True)
class ValidationConfig:
    """How the model is judged while it trains."""

    metrics: tuple[Literal["loss", "bleu", "chrf"], ...] = ("loss",)
    """Loss, and scores of translations made during validation."""
    beam: int = 1
    """Beam size of those translations."""
    sentences: int = 200
    """First sentences of each development set and direction to translate; 0 for all."""


@dataclass(frozen=True)
class Preset:
    """One training run."""

    output: Path
    """Folder of the run; it becomes the model."""
    data: DataConfig
    """Corpora."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Subwords."""
    model: dict[str, Any] = field(default_factory=dict)
    """Settings of :class:`ModelConfig`; the vocabulary sizes come from the tokenizer."""
    train: TrainConfig = field(default_factory=lambda: TrainConfig(steps=10_000))
    """The loop."""
    validation: ValidationConfig = field(default_factory=ValidationConfig)
    """Judging."""
    storage: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """How the finished weights are stored."""
    description: str = ""
    """What the model is and may be used for, and what its data demands (licences, attribution): goes into the card."""

    def __post_init__(self) -> None:
        self.model_config(8, 8)  # so that a misspelt model setting is found before the data is read
        if not self.tokenizer.joint and self.model.get("tie", "all") == "all":
            raise ConfigError("separate vocabularies cannot be tied three ways; set model.tie to decoder or none.")
        if not self.tokenizer.joint and len(self.directions) > 1:
            raise ConfigError("several directions need one joint vocabulary; set tokenizer.joint to true.")
        watched = self.train.stopping.metric
        needed = self.train.stopping.patience or self.train.keep_best
        if needed and watched not in self.validation.metrics:
            raise ConfigError(f"train.stopping.metric is '{watched}', which validation.metrics does not measure.")
        if self.train.validate_every and not self.data.dev:
            raise ConfigError("validation needs development data: set data.dev, or train.validate_every to 0.")

    def model_config(self, source_vocab_size: int, target_vocab_size: int) -> ModelConfig:
        """The model's configuration with the sizes of the vocabularies."""
        sizes = {"source_vocab_size": source_vocab_size, "target_vocab_size": target_vocab_size}
        for name in sizes:
            if name in self.model:
                raise ConfigError(f"model.{name} comes from the tokenizer; set tokenizer.vocab_size.")
        return from_dict(ModelConfig, {**self.model, **sizes}, "model")

    @property
    def directions(self) -> list[tuple[str, str]]:
        """Directions trained, in the order of the corpora."""
        found: dict[tuple[str, str], None] = {}
        for corpus in self.data.train:
            found[corpus.source, corpus.target] = None
            if corpus.both_directions:
                found[corpus.target, corpus.source] = None
        return list(found)

    def fingerprint(self) -> dict[str, Any]:
        """What must not change between two stretches of one run: all but the loop, the judging and the folder."""
        kept = dataclasses.replace(self, train=TrainConfig(steps=1, validate_every=0), validation=ValidationConfig())
        values = to_dict(kept)
        for name in ("output", "train", "validation", "storage", "description"):
            del values[name]
        return {**values, "seed": self.train.seed}

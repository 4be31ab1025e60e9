"""A pretraining run, as its YAML preset describes it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError
from regard.data.pretext import Pretext, describe, pretext_of
from regard.data.text import TextConfig
from regard.data.tokenizer import TokenizerConfig
from regard.model import ModelConfig
from regard.tasks.preset import changes
from regard.train.config import TrainConfig

_SIZES = ("source_vocab_size", "target_vocab_size")


@dataclass(frozen=True)
class TextsConfig:
    """What to train on and what to judge by."""

    train: list[TextConfig]
    """Texts to learn from."""
    dev: list[TextConfig] = field(default_factory=list)
    """Texts to judge by; their lines are kept out of the training."""
    max_tokens: int = 256
    """Most pieces of an example."""
    join_lines: bool = True
    """Fill examples with consecutive sentences of a document, as in running text (Liu et al. 2019, section 4.2);
    false where lines have nothing to do with one another: then each is an example."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("train is empty; there is no text to train on.")
        if self.max_tokens < 2:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 2.")


@dataclass(frozen=True)
class PretrainConfig(TrainConfig):
    """The loop, with the loss as the papers have it: not smoothed."""

    label_smoothing: float = 0.0
    """ε of label smoothing."""


@dataclass(frozen=True)
class PretrainingPreset:
    """One pretraining run."""

    output: Path
    """Folder of the run; it becomes the model."""
    objective: str | dict[str, Any]
    """What to learn: masked, causal, denoising or spans; or a section with ``kind`` and its settings."""
    data: TextsConfig
    """Texts."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Subwords."""
    model: dict[str, Any] = field(default_factory=dict)
    """Settings of :class:`ModelConfig`; the vocabulary size comes from the tokenizer."""
    train: PretrainConfig = field(default_factory=lambda: PretrainConfig(steps=10_000))
    """The loop."""
    storage: Literal["float32", "float16", "bfloat16", "int8"] = "float32"
    """How the finished weights are stored."""
    description: str = ""
    """What the model is and what its data demands (licences, attribution): goes into the card."""

    def __post_init__(self) -> None:
        if not self.tokenizer.joint:
            raise ConfigError("pretraining has one vocabulary for all texts; leave tokenizer.joint out.")
        marks = len(self.pretext.marks(self.data.max_tokens))
        if self.tokenizer.vocab_size < marks + 8:
            raise ConfigError(f"tokenizer.vocab_size is {self.tokenizer.vocab_size}; the objective has {marks} marks.")
        model, needed = self.model_config(8), self.data.max_tokens + 2  # so that errors come before the data is read
        if model.positions.kind == "learned" and model.max_positions < needed:
            raise ConfigError(f"model.max_positions is {model.max_positions}; data.max_tokens takes {needed}.")
        if self.train.validate_every and not self.data.dev:
            raise ConfigError("validation needs development text: set data.dev, or train.validate_every to 0.")
        if not self.train.validate_every and self.data.dev:
            raise ConfigError("data.dev has no effect with train.validate_every: 0; leave it out.")
        if self.train.privacy is not None:
            raise ConfigError(
                "train.privacy guards sentence pairs; the vocabulary of a pretrained model tells of its text."
            )
        if self.train.stopping.metric != "loss":
            raise ConfigError(f"train.stopping.metric is '{self.train.stopping.metric}'; pretraining measures loss.")

    @property
    def pretext(self) -> Pretext:
        """The objective."""
        return pretext_of(self.objective)

    def model_config(self, vocab_size: int) -> ModelConfig:
        """The model's configuration with the size of the vocabulary, and without the stack that is not trained."""
        for name in _SIZES:
            if name in self.model:
                raise ConfigError(f"model.{name} comes from the tokenizer; set tokenizer.vocab_size.")
        settings = {**self.model, **dict.fromkeys(_SIZES, vocab_size)}
        absent = {"encoder": "decoder_layers", "decoder": "encoder_layers"}.get(self.pretext.trains)
        if absent in self.model:
            raise ConfigError(
                f"model.{absent} has no effect: '{self.pretext.kind}' trains the {self.pretext.trains} alone."
            )
        config = from_dict(ModelConfig, settings | ({absent: 0} if absent else {}), "model")
        if not absent and not (config.encoder_layers and config.decoder_layers):
            raise ConfigError(f"'{self.pretext.kind}' trains both stacks; set model.encoder_layers and decoder_layers.")
        return config

    def fingerprint(self) -> dict[str, Any]:
        """What must not change between two stretches of one run: all but the loop and the folder."""
        values = {"data": to_dict(self.data), "tokenizer": to_dict(self.tokenizer)}
        values["objective"] = describe(self.pretext)
        values["model"] = {k: v for k, v in to_dict(self.model_config(8)).items() if k not in _SIZES}
        return {**json.loads(json.dumps(values)), "seed": self.train.seed}

    def changes_since(self, recorded: dict[str, Any]) -> list[str]:
        """How this preset differs from a recorded :meth:`fingerprint`; empty where a run can go on.

        A setting that only one of the two names counts as its default, so that a run outlives new settings.
        """
        return changes(recorded, self.fingerprint(), _with_defaults)


def _with_defaults(fingerprint: dict[str, Any]) -> dict[str, Any]:
    model = from_dict(ModelConfig, {**fingerprint["model"], **dict.fromkeys(_SIZES, 8)}, "model")
    return {
        "objective": describe(pretext_of(fingerprint["objective"])),
        "data": to_dict(from_dict(TextsConfig, fingerprint["data"])),
        "tokenizer": to_dict(from_dict(TokenizerConfig, fingerprint["tokenizer"])),
        "model": to_dict(model),
        "train.seed": fingerprint["seed"],
    }

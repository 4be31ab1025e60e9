"""A training run of a translation model, as its YAML preset describes it."""

import json
import math
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
from regard.model.folder import load_config
from regard.train.config import TrainConfig
from regard.tune.folder import describe, method_of

_SIZES = ("source_vocab_size", "target_vocab_size")


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
    temperature: float = 1.0
    """How the corpora are mixed: shares of an epoch ∝ size^(1/T) (Arivazhagan et al. 2019). 1 takes them as they are,
    higher values give small corpora more; the size of a corpus counts its weight."""
    subword_alpha: float = 0.0
    """Subword regularisation (Kudo 2018): pieces sampled anew each time with this smoothing, e.g. 0.2; 0 for none."""

    word_dropout: float = 0.0
    """Source pieces replaced by the unknown piece, others each time (Sennrich et al. 2016, at WMT): a share such
    as 0.1; 0 for none."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("train is empty; there is no corpus to train on.")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if not 1 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be at least 1.")
        if not 0 <= self.word_dropout < 1:
            raise ConfigError(f"word_dropout is {self.word_dropout}; it must lie in [0, 1).")
        if not 0 <= self.subword_alpha <= 1:
            raise ConfigError(f"subword_alpha is {self.subword_alpha}; it must lie in 0 to 1.")


@dataclass(frozen=True)
class ValidationConfig:
    """How the model is judged while it trains."""

    metrics: tuple[Literal["loss", "bleu", "chrf"], ...] = ("loss",)
    """Loss, and scores of translations made during validation."""
    beam: int = 1
    """Beam size of those translations."""
    sentences: int = 200
    """First sentences of each development set and direction to translate; 0 for all."""

    def __post_init__(self) -> None:
        if self.beam < 1 or self.sentences < 0:
            raise ConfigError("beam must be at least 1, and sentences cannot be negative.")
        if not self.translates and (self.beam, self.sentences) != (1, 200):
            raise ConfigError("beam and sentences have no effect: metrics asks for neither bleu nor chrf.")

    @property
    def translates(self) -> bool:
        """Whether the metrics need translations."""
        return bool({"bleu", "chrf"} & set(self.metrics))


@dataclass(frozen=True)
class StartConfig:
    """A trained model to go on from, in place of random weights."""

    model: Path
    """Model folder: its weights, its architecture (settings under ``model`` change what has no weights, such as
    dropout) and its vocabulary, in place of ``tokenizer``."""
    rates: dict[str, float] = field(default_factory=dict)
    """Factor on the learning rate by pattern of weight names, such as ``encoder.*: 0.1``; of several that fit, the
    first counts. 0 freezes."""

    def __post_init__(self) -> None:
        for pattern, factor in self.rates.items():
            if not 0 <= factor < math.inf:
                raise ConfigError(f"rates: the factor of '{pattern}' is {factor}; it cannot be negative.")


@dataclass(frozen=True)
class Preset:
    """One training run."""

    output: Path
    """Folder of the run; it becomes the model."""
    data: DataConfig
    """Corpora."""
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    """Subwords."""
    start: StartConfig | None = None
    """Where to start from; without it from random weights."""
    tune: dict[str, Any] | None = None
    """Train an adapter instead of the model's weights: ``method`` (lora, adalora, houlsby, pfeiffer, prefix, prompt,
    bias) and its settings. The run's folder becomes the adapter."""
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
        if self.start and self.tokenizer != TokenizerConfig():
            raise ConfigError("start.model brings its vocabulary; leave the section tokenizer out.")
        self._check_tune()
        model = self.model_config(8, 8)  # so that a misspelt model setting is found before the data is read
        if not self.tokenizer.joint and model.tie == "all":
            raise ConfigError("separate vocabularies cannot be tied three ways; set model.tie to decoder or none.")
        if not self.tokenizer.joint and len(self.directions) > 1:
            raise ConfigError("several directions need one joint vocabulary; set tokenizer.joint to true.")
        if self.data.subword_alpha and self.tokenizer.kind not in ("unigram", "bpe"):
            raise ConfigError(f"data.subword_alpha needs a unigram or bpe tokenizer, not '{self.tokenizer.kind}'.")
        needed = self.data.max_tokens + 2  # with the language tag and the end of sentence
        if model.positions.kind == "learned" and model.max_positions < needed:
            raise ConfigError(f"model.max_positions is {model.max_positions}; data.max_tokens takes {needed}.")
        self._check_validation()

    def _check_tune(self) -> None:
        if self.tune is None:
            return
        if self.start is None:
            raise ConfigError("tune makes an adapter for a trained model; say which: start.model.")
        if self.start.rates:
            raise ConfigError("start.rates has no effect with tune: the model's own weights do not learn.")
        method_of(self.tune, "tune")

    def _check_validation(self) -> None:
        for corpus in self.data.dev:
            wanted = {(corpus.source, corpus.target)}
            if corpus.both_directions:
                wanted.add((corpus.target, corpus.source))
            for source, target in wanted - set(self.directions):
                raise ConfigError(f"data.dev has {source}→{target} ({corpus.name}), which data.train does not.")
        if not self.train.validate_every:
            return
        if not self.data.dev:
            raise ConfigError("validation needs development data: set data.dev, or train.validate_every to 0.")
        if not self.validation.metrics:
            raise ConfigError("validation.metrics is empty; name a metric, or set train.validate_every to 0.")
        watched = self.train.stopping.metric
        if (self.train.stopping.patience or self.train.keep_best) and watched not in self.validation.metrics:
            raise ConfigError(f"train.stopping.metric is '{watched}', which validation.metrics does not measure.")

    def model_config(self, source_vocab_size: int, target_vocab_size: int) -> ModelConfig:
        """The model's configuration with the sizes of the vocabularies."""
        for name in _SIZES:
            if name in self.model:
                raise ConfigError(f"model.{name} comes from the tokenizer; set tokenizer.vocab_size.")
        return _model_config(self._inherited() | self.model, source_vocab_size, target_vocab_size)

    def _inherited(self) -> dict[str, Any]:
        """Settings of the model to start from."""
        if self.start is None:
            return {}
        config, task = load_config(self.start.model)
        if task.get("name") != "translation":
            raise ConfigError(f"start.model: {self.start.model} is a model for {task.get('name')}, not translation.")
        return {name: value for name, value in to_dict(config).items() if name not in _SIZES}

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
        values = to_dict(self)
        for name in ("output", "train", "validation", "storage", "description"):
            del values[name]
        values["model"] = {k: v for k, v in to_dict(self.model_config(8, 8)).items() if k not in _SIZES}
        return {**json.loads(json.dumps(values)), "seed": self.train.seed}

    def changes_since(self, recorded: dict[str, Any]) -> list[str]:
        """How this preset differs from a recorded :meth:`fingerprint`; empty where a run can go on.

        A setting that only one of the two names counts as its default, so that a run outlives new settings.
        """
        try:
            before = _with_defaults(recorded)
        except (ConfigError, KeyError, TypeError) as error:
            return [f"settings of another version: {error}"]
        return list(_differences("", before, _with_defaults(self.fingerprint())))


def _model_config(settings: dict[str, Any], *sizes: int) -> ModelConfig:
    return from_dict(ModelConfig, {**settings, **dict(zip(_SIZES, sizes, strict=True))}, "model")


def _with_defaults(fingerprint: dict[str, Any]) -> dict[str, Any]:
    start, tune = fingerprint.get("start"), fingerprint.get("tune")
    return {
        "data": to_dict(from_dict(DataConfig, fingerprint["data"])),
        "tokenizer": to_dict(from_dict(TokenizerConfig, fingerprint["tokenizer"])),
        "start": None if start is None else to_dict(from_dict(StartConfig, start)),
        "tune": None if tune is None else describe(method_of(tune)),
        "model": to_dict(_model_config(fingerprint["model"], 8, 8)),
        "train.seed": fingerprint["seed"],
    }


def _differences(where: str, before: Any, now: Any) -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        dot = "." if where else ""
        return [d for name in now for d in _differences(f"{where}{dot}{name}", before.get(name), now[name])]
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [d for i in range(len(now)) for d in _differences(f"{where}.{i}", before[i], now[i])]
    if before == now:
        return []
    if isinstance(before, list) and isinstance(now, list):
        return [f"{where} had {len(before)} items and has {len(now)}"]
    return [f"{where} was {before!r} and is {now!r}"]

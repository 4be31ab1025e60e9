"""A training run of a translation model, as its YAML preset describes it."""

import json
import math
from collections.abc import Callable
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
from regard.tasks.distillation import DistillConfig
from regard.tasks.regularise import RegulariseConfig
from regard.tasks.warm_start import Side, check_settings, stack_settings
from regard.train.config import TrainConfig
from regard.tune.folder import describe, method_of

_SIZES = ("source_vocab_size", "target_vocab_size")
_SPECIAL = ("pad_id", "bos_id", "eos_id")


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
    typing_noise: float = 0.0
    """Source words that get a typing error, others each time (Belinkov and Bisk 2018): a share such as 0.1; 0 for none.
    Chinese, Japanese and Korean are left as they are."""

    def __post_init__(self) -> None:
        if not self.train:
            raise ConfigError("train is empty; there is no corpus to train on.")
        if self.max_tokens < 1:
            raise ConfigError(f"max_tokens is {self.max_tokens}; it must be at least 1.")
        if not 1 <= self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be at least 1.")
        if not 0 <= self.word_dropout < 1:
            raise ConfigError(f"word_dropout is {self.word_dropout}; it must lie in [0, 1).")
        for name in ("subword_alpha", "typing_noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must lie in 0 to 1.")

    @property
    def keeps_text(self) -> bool:
        """Whether text is cut into pieces anew each time."""
        return bool(self.subword_alpha or self.typing_noise)


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
    """Trained models to go on from, in place of random weights."""

    model: Path | None = None
    """Folder of a translation model: its weights, its architecture (settings under ``model`` change what has no
    weights, such as dropout) and its vocabulary, in place of ``tokenizer``."""
    encoder: Path | None = None
    """Folder of a pretrained model (or any other) whose stack becomes the encoder. The architecture is its own;
    pieces that its vocabulary has keep their embeddings, others begin at the mean."""
    decoder: Path | None = None
    """The same for the decoder. The cross-attention begins anew where that model has none."""
    vocabulary: Path | None = None
    """Model folder whose vocabulary is taken over, in place of ``tokenizer``; mostly that of ``encoder``."""
    rates: dict[str, float] = field(default_factory=dict)
    """Factor on the learning rate by pattern of weight names, such as ``encoder.*: 0.1``; of several that fit, the
    first counts. 0 freezes."""

    def __post_init__(self) -> None:
        parts = (self.encoder, self.decoder, self.vocabulary)
        if self.model is None and not any(parts):
            raise ConfigError("it is empty; set model, or encoder, decoder or vocabulary.")
        if self.model is not None and any(parts):
            raise ConfigError("model brings everything; leave encoder, decoder and vocabulary out.")
        for pattern, factor in self.rates.items():
            if not 0 <= factor < math.inf:
                raise ConfigError(f"rates: the factor of '{pattern}' is {factor}; it cannot be negative.")

    @property
    def stacks(self) -> list[tuple[Side, Path]]:
        """What begins as a pretrained model, and which."""
        folders: list[tuple[Side, Path | None]] = [("encoder", self.encoder), ("decoder", self.decoder)]
        return [(side, folder) for side, folder in folders if folder is not None]


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
    distill: DistillConfig | None = None
    """Learn from the distributions of trained models, whose vocabulary the student takes over."""
    regularise: RegulariseConfig = field(default_factory=RegulariseConfig)
    """Losses and rounding that make the model robust."""
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
        if self.start and self.vocabulary and self.tokenizer != TokenizerConfig():
            what = "start.model brings its" if self.start.model else "start.vocabulary is the"
            raise ConfigError(f"{what} vocabulary; leave the section tokenizer out.")
        self._check_tune()
        self._check_distill()
        self._check_privacy()
        if self.distill and self.regularise.r_drop:
            raise ConfigError("regularise.r_drop compares passes over the labels; it does not go with distill.")
        model = self.model_config(8, 8)  # so that a misspelt model setting is found before the data is read
        if not self.tokenizer.joint and model.tie == "all":
            raise ConfigError("separate vocabularies cannot be tied three ways; set model.tie to decoder or none.")
        if not self.tokenizer.joint and len(self.directions) > 1:
            raise ConfigError("several directions need one joint vocabulary; set tokenizer.joint to true.")
        if self.data.subword_alpha and self.tokenizer.kind not in ("unigram", "bpe"):
            raise ConfigError(f"data.subword_alpha needs a unigram or bpe tokenizer, not '{self.tokenizer.kind}'.")
        # with the language tag, the end of sentence and a corpus's own tag, of which a piece is a byte at least
        tags = max(len(corpus.tag.encode()) + bool(corpus.tag) for corpus in self.data.train)
        needed = self.data.max_tokens + 2 + tags
        if model.positions.kind == "learned" and model.max_positions < needed:
            raise ConfigError(f"model.max_positions is {model.max_positions}; data.max_tokens takes {needed}.")
        for corpus in [*self.data.dev, *self.data.test]:
            if corpus.tag:
                raise ConfigError(f"tag has no effect on {corpus.name}, which is not trained on; remove it.")
        self._check_validation()

    def _check_tune(self) -> None:
        if self.tune is None:
            return
        if self.start is None or self.start.model is None:
            raise ConfigError("tune makes an adapter for a trained model; say which: start.model.")
        if self.start.rates:
            raise ConfigError("start.rates has no effect with tune: the model's own weights do not learn.")
        method_of(self.tune, "tune")
        if self.regularise.int8:
            raise ConfigError("regularise.int8 makes a model's own weights bear rounding; with tune they do not learn.")

    def _check_privacy(self) -> None:
        """See that each pair comes as often as the accountant counts, and that nothing else tells of it."""
        if self.train.privacy is None:
            return
        if self.vocabulary is None:
            raise ConfigError("train.privacy: a vocabulary would be learned from the private text; set start.model.")
        if self.data.join.share:
            raise ConfigError("train.privacy: joined examples show a pair more than once; leave data.join out.")
        if self.data.temperature != 1 or any(c.weight != 1 or c.both_directions for c in self.data.train):
            raise ConfigError(
                "train.privacy counts each pair once: leave data.temperature, weight and both_directions out."
            )

    def _check_distill(self) -> None:
        if self.distill is None:
            return
        if self.tokenizer != TokenizerConfig():
            raise ConfigError("distill: the student takes its teachers' vocabulary; leave the section tokenizer out.")
        if self.start and self.start.vocabulary:
            raise ConfigError("distill: the student takes its teachers' vocabulary; leave start.vocabulary out.")
        if self.output.resolve() in [folder.resolve() for folder in self.distill.teachers]:
            raise ConfigError(f"distill: {self.output} is a teacher's folder; set another output.")

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
        config = _model_config(self._inherited() | self.model, source_vocab_size, target_vocab_size)
        if not (config.encoder_layers and config.decoder_layers):
            raise ConfigError("a translation model needs both stacks: set model.encoder_layers and decoder_layers.")
        for side, folder in self.start.stacks if self.start else []:
            check_settings(config, folder, side)
        return config

    def _inherited(self) -> dict[str, Any]:
        """Settings of the models to start from."""
        if self.start is None or self.start.model is None:
            inherited: dict[str, Any] = {}
            for side, folder in self.start.stacks if self.start else []:
                inherited |= stack_settings(folder, side)
            if self.distill is not None:
                config, _ = load_config(self.distill.teachers[0])
                inherited |= {name: getattr(config, name) for name in _SPECIAL}
            return inherited
        config, task = load_config(self.start.model)
        if task.get("name") != "translation":
            raise ConfigError(f"start.model: {self.start.model} is a model for {task.get('name')}, not translation.")
        if task.get("tagged") == "both":
            raise ConfigError(
                f"start.model: {self.start.model} begins both sides of a pair with a tag, as M2M-100 does; "
                "only models with a tag in front of the source, or none, can be trained further."
            )
        return {name: value for name, value in to_dict(config).items() if name not in _SIZES}

    @property
    def vocabulary(self) -> Path | None:
        """The model folder whose vocabulary is taken over; None where one is learned."""
        if self.distill and not (self.start and self.start.model):
            return self.distill.teachers[0]
        return (self.start.model or self.start.vocabulary) if self.start else None

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
        return changes(recorded, self.fingerprint(), _with_defaults)


def _model_config(settings: dict[str, Any], *sizes: int) -> ModelConfig:
    return from_dict(ModelConfig, {**settings, **dict(zip(_SIZES, sizes, strict=True))}, "model")


def _with_defaults(fingerprint: dict[str, Any]) -> dict[str, Any]:
    start, tune, distill = (fingerprint.get(name) for name in ("start", "tune", "distill"))
    return {
        "data": to_dict(from_dict(DataConfig, fingerprint["data"])),
        "tokenizer": to_dict(from_dict(TokenizerConfig, fingerprint["tokenizer"])),
        "start": None if start is None else to_dict(from_dict(StartConfig, start)),
        "tune": None if tune is None else describe(method_of(tune)),
        "distill": None if distill is None else to_dict(from_dict(DistillConfig, distill)),
        "regularise": to_dict(from_dict(RegulariseConfig, fingerprint.get("regularise", {}))),
        "model": to_dict(_model_config(fingerprint["model"], 8, 8)),
        "train.seed": fingerprint["seed"],
    }


def changes(
    recorded: dict[str, Any], present: dict[str, Any], complete: Callable[[dict[str, Any]], dict[str, Any]]
) -> list[str]:
    """How a preset's fingerprint differs from a recorded one, after ``complete`` has filled in each one's defaults."""
    try:
        before = complete(recorded)
    except (ConfigError, KeyError, TypeError) as error:
        return [f"settings of another version, or of another kind of run: {error}"]
    return _differences("", before, complete(present))


def _differences(where: str, before: Any, now: Any) -> list[str]:
    """How two nested structures differ, each place in words; ``where`` is their own."""
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

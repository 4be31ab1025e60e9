"""Pretraining: text of one language, or of several, in; a model folder that others start from out."""

import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from regard import __version__
from regard.base.config import to_dict
from regard.base.device import choose_device
from regard.base.errors import DataError
from regard.base.files import write_atomic
from regard.data.batch import Batch, TextBatch
from regard.data.clean import overlap_key
from regard.data.corpus import read_lines
from regard.data.pretext import Example, Vocabulary, describe
from regard.data.sampler import BatchSampler
from regard.data.text import TextConfig, TextPart, TextStore, check_text
from regard.data.tokenizer import Tokenizer
from regard.model import DecoderOnly, EncoderOnly, ModelConfig, Transformer
from regard.model.folder import save_model
from regard.tasks.card import Recipe
from regard.tasks.preparation import Say, prepare_once
from regard.tasks.pretraining_preset import PretrainingPreset
from regard.tasks.stream import SampledTask
from regard.train.checkpoint import workplace
from regard.train.distributed import Processes
from regard.train.progress import check_trackers
from regard.train.task import Outcome
from regard.train.trainer import Trainer

_DEV_ROWS = 64
_FAMILIES = {"encoder": EncoderOnly, "decoder": DecoderOnly, "both": Transformer}


# ---- the data


def prepare(preset: PretrainingPreset, say: Say) -> None:
    """Make ``output/data``, or check that it was made for this preset.

    Raises:
        DataError: a text cannot be read; the message names file and line.
        ConfigError: the folder holds a run with other settings.
    """
    prepare_once(preset, lambda folder: _prepare(preset, folder, say))


def _prepare(preset: PretrainingPreset, folder: Path, say: Say) -> None:
    data = preset.data
    for text in [*data.train, *data.dev]:  # every error before anything is computed
        say(f"{text.path}: {check_text(text):,} lines")
    say("training the tokenizer")
    lines = (line for text in data.train for line in read_lines(text.path))
    tokenizer = Tokenizer.train(lines, preset.tokenizer, preset.pretext.marks(data.max_tokens))
    tokenizer.save(folder)
    held_out = {overlap_key(line) for text in data.dev for line in read_lines(text.path)} - {""}
    for i, text in enumerate(data.train):
        lines = _Lines(text, held_out)
        store = _build(folder / f"text-{i}", text, lines, tokenizer, preset)
        left_out = f"; {lines.left_out:,} lines left out, which stand in data.dev" if lines.left_out else ""
        say(f"{text.path}: {len(store):,} examples, {len(store.sentences.values):,} pieces{left_out}")
    for i, text in enumerate(data.dev):
        _build(folder / f"dev-{i}", text, _Lines(text, set()), tokenizer, preset)


def _build(
    folder: Path, text: TextConfig, lines: "_Lines", tokenizer: Tokenizer, preset: PretrainingPreset
) -> TextStore:
    settings = {"max_tokens": preset.data.max_tokens, "join_lines": preset.data.join_lines}
    try:
        return TextStore.build(folder, lines, tokenizer, text.language, **settings)
    except DataError as error:
        raise DataError(f"{text.path}: {error}") from error


class _Lines:
    """The numbered lines of a text, but for those that are held out, which are counted."""

    def __init__(self, text: TextConfig, held_out: set[str]):
        self.text, self.held_out, self.left_out = text, held_out, 0

    def __iter__(self) -> Iterator[tuple[int, str]]:
        for number, line in enumerate(read_lines(self.text.path), start=1):
            if self.held_out and overlap_key(line) in self.held_out:
                self.left_out += 1
            else:
                yield number, line


# ---- the task


class PretrainingTask(SampledTask):
    """Batches with new noise each time, loss, validation and saving."""

    def __init__(self, preset: PretrainingPreset, recipe: Recipe | None = None):
        """
        Args:
            preset: the run; its data has been prepared.
            recipe: how the run was started, for the card.

        Raises:
            DataError: the data is not there, or damaged.
        """
        folder = preset.output / "data"
        if not (folder / "done").exists():
            raise DataError(f"{folder} is not there; all processes of a run need the same file system.")
        self.preset, self.recipe, self.pretext = preset, recipe, preset.pretext
        self.tokenizer = Tokenizer.load(folder)
        self.config: ModelConfig = preset.model_config(self.tokenizer.vocab_size)
        self.vocabulary = Vocabulary(self.tokenizer, self.pretext.marks(preset.data.max_tokens))
        self.parts = [TextPart(TextStore(folder / f"text-{i}"), t.weight) for i, t in enumerate(preset.data.train)]
        self.sampler = BatchSampler(self.parts, preset.train.tokens, seed=preset.train.seed)
        self.leaves_out = self.config.layer_drop > 0
        self._dev_batches: list[Batch | TextBatch] | None = None

    def new_model(self) -> EncoderOnly | DecoderOnly | Transformer:
        """A model with random weights."""
        return _FAMILIES[self.pretext.trains](self.config)

    # ---- the stream

    def batch(self, plan: np.ndarray) -> Batch | TextBatch:
        """Look up the examples of a plan, and put noise into them: other noise in each epoch."""
        random = np.random.Generator(np.random.PCG64(self.seed_of(plan)))
        return self.pretext.batch([self.parts[part].store[index] for part, index in plan], random, self.vocabulary)

    def describe(self, plan: np.ndarray) -> str:
        """Name the texts of a plan by file and line, with their beginnings."""
        names = []
        for part, index in plan:
            store = self.parts[part].store
            text = self.tokenizer.decode(np.concatenate(store[index]))
            beginning = f"'{text[:60]}{'…' if len(text) > 60 else ''}'"
            names.append(f"{self.preset.data.train[part].path}, line {store.line(index)} ({beginning})")
        return "; ".join(names)

    # ---- loss and judging

    def loss(self, model: nn.Module, batch: Batch | TextBatch) -> Tensor:
        """Summed cross-entropy of the pieces to find."""
        return model(batch, self.preset.train.label_smoothing)

    @torch.no_grad()
    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss in nats a piece over the development texts, whose noise is always the same."""
        if self._dev_batches is None:
            self._dev_batches = list(self._make_dev_batches())
        device = next(model.parameters()).device
        total = sum(float(model(batch.to(device))) for batch in self._dev_batches)
        return {"loss": total / sum(batch.num_tokens for batch in self._dev_batches)}

    def _make_dev_batches(self) -> Iterator[Batch | TextBatch]:
        random = np.random.Generator(np.random.PCG64(0))
        stores = [TextStore(self.preset.output / "data" / f"dev-{i}") for i in range(len(self.preset.data.dev))]
        examples: list[Example] = [store[i] for store in stores for i in range(len(store))]
        examples.sort(key=lambda example: sum(map(len, example)))
        for start in range(0, len(examples), _DEV_ROWS):
            yield self.pretext.batch(examples[start : start + _DEV_ROWS], random, self.vocabulary)

    # ---- the finished model

    def save(self, folder: Path, outcome: Outcome) -> None:
        """Write the model folder."""
        data = self.preset.data
        task = {
            "name": "pretraining",
            "objective": describe(self.pretext),
            "max_tokens": data.max_tokens,
            "languages": list(dict.fromkeys(text.language for text in data.train)),
        }
        save_model(folder, self.config, outcome.weights, storage=self.preset.storage, task=task)
        self.tokenizer.save(folder)
        write_atomic(folder / "README.md", self._card(outcome))

    def _card(self, outcome: Outcome) -> str:
        preset, config = self.preset, self.config
        size = sum(weight.numel() for weight in outcome.weights.values())
        texts = "".join(
            f"- {Path(text.path).name} ({text.language}): {len(part.store):,} examples, weight {text.weight:g}\n"
            for text, part in zip(preset.data.train, self.parts, strict=True)
        )
        metrics = "".join(f"- {name}: {value:.3f} (nats a piece to find)\n" for name, value in outcome.metrics.items())
        settings = "".join(f"- {name}: {value}\n" for name, value in describe(self.pretext).items())
        if self.recipe:
            how = f"```\n{self.recipe.command}\n```\n\n```yaml\n{self.recipe.preset.rstrip()}\n```"
        else:
            values = {name: value for name, value in to_dict(preset).items() if name != "output"}
            how = f"```json\n{json.dumps(values, indent=2, ensure_ascii=False)}\n```"
        return (
            f"# Pretrained model: {self.pretext.kind}\n\n"
            f"{preset.description.strip() or 'No description was given: what the licences demand is not known.'}\n\n"
            f"{size:,} parameters, {config.encoder_layers} encoder and {config.decoder_layers} decoder layers of width "
            f"{config.d_model}, {self.tokenizer.vocab_size:,} pieces. {outcome.steps:,} steps, {outcome.tokens:,} "
            f"pieces to find, {outcome.minutes:.1f} minutes. Taken: {outcome.chosen}, stored as {preset.storage}.\n\n"
            f"## Objective\n\n{settings}\n## Texts\n\n{texts}\n## Validation\n\n{metrics or '- none'}\n\n"
            f"![training curve](curve.png)\n\n## How to make it\n\n{how}\n\n"
            f"Made with regard {__version__}, PyTorch {torch.__version__}, {outcome.device}.\n"
        )


def pretrain(preset: PretrainingPreset, say: Say, recipe: Recipe | None = None) -> Path | None:
    """Run, or go on with, the pretraining that ``preset`` describes.

    Args:
        preset: the run.
        say: takes what a person should read; called in every process.
        recipe: how the run was started, for the card.

    Returns:
        The model folder, or None when the run was interrupted (running it again goes on).

    Raises:
        DataError: a text cannot be read; the message names file and line.
        ConfigError: the output folder holds a run with other settings.
        RegardError: the training cannot go on, or the disk is full; checkpoints are as they were.
    """
    check_trackers(preset.train)
    processes = Processes(choose_device(preset.train.device))
    try:
        with workplace(preset.output) if processes.is_first else nullcontext():
            processes.first(lambda: prepare(preset, say))
            task = PretrainingTask(preset, recipe)
            torch.manual_seed(preset.train.seed)
            model = task.new_model()
            count = sum(parameter.numel() for parameter in model.parameters())
            say(f"{count:,} parameters; {task.sampler.batches_in_epoch:,} batches an epoch")
            settings = preset.fingerprint()
            return Trainer(model, task, preset.train, preset.output, settings=settings, processes=processes).train()
    finally:
        processes.close()

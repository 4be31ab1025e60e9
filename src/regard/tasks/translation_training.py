"""Training a translation model: parallel text in, a model folder out."""

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.base.device import choose_device
from regard.base.errors import ConfigError, DataError
from regard.base.files import write_atomic
from regard.data.batch import Batch, collate
from regard.data.corpus import Pair, read_pairs
from regard.data.poisson import PoissonSampler
from regard.data.sampler import BatchSampler
from regard.data.tokenizer import Tokenizer
from regard.model import Transformer
from regard.model.distillation import Distilled
from regard.model.folder import assign_weights, load_weights, model_hash, save_model
from regard.model.objective import CrossEntropy, Objective
from regard.model.rounded import round_products
from regard.tasks.augmentation import Augmentation
from regard.tasks.card import Recipe, write_card
from regard.tasks.distillation import follow, load_objective
from regard.tasks.preparation import Prepared, Say, prepare
from regard.tasks.preset import Preset, StartConfig
from regard.tasks.stream import SampledTask
from regard.tasks.tuning import TuningTask
from regard.tasks.vocabulary import language_tags, save_tokenizers, tag_of
from regard.tasks.warm_start import start_stack
from regard.train.checkpoint import workplace
from regard.train.distributed import Processes
from regard.train.privacy import check_accountant
from regard.train.progress import check_trackers
from regard.train.task import Outcome
from regard.train.trainer import Trainer
from regard.tune.folder import method_of
from regard.tune.method import choose

_DEV_ROWS = 64


class TranslationTask(SampledTask):
    """Batches, loss, validation and saving of a translation model."""

    def __init__(self, preset: Preset, prepared: Prepared, recipe: Recipe | None = None):
        """
        Args:
            preset: the run.
            prepared: its data.
            recipe: how the run was started, for the card.
        """
        self.preset, self.prepared, self.recipe = preset, prepared, recipe
        self.tokenizers, self.parts = prepared.tokenizers, prepared.parts
        self.config = preset.model_config(self.tokenizers[0].vocab_size, self.tokenizers[1].vocab_size)
        if preset.train.privacy:  # the seed of a private run must not be known
            examples, seed = preset.train.privacy.examples, secrets.randbits(63)
            self.sampler = PoissonSampler(self.parts, examples, seed=seed)
            self.sample_rate = self.sampler.rate
        else:
            self.sampler = BatchSampler(self.parts, preset.train.tokens, seed=preset.train.seed)
        self.augmentation = Augmentation(preset.data, prepared)
        self.leaves_out = self.config.layer_drop > 0
        self.objective: Objective = preset.regularise.objective(CrossEntropy(preset.train.label_smoothing))
        self.signatures: dict[str, str] = {}
        #: Float32 weights that do not learn, which belong to the finished model as well.
        self.frozen: dict[str, Tensor] = {}
        self._dev: list[tuple[str, str, list[Pair]]] | None = None
        self._dev_batches: list[Batch] | None = None

    # ---- the stream

    def batch(self, plan: np.ndarray) -> Batch:
        """Look up the pieces of a plan, and change them as the preset wants."""
        examples = [self.parts[part].example(index) for part, index in plan]
        return self._collate(self.augmentation(plan, examples, self.seed_of(plan)))

    def _collate(self, examples: Sequence[tuple[Any, Any]]) -> Batch:
        c = self.config
        sources, targets = [source for source, _ in examples], [target for _, target in examples]
        return collate(sources, targets, pad_id=c.pad_id, bos_id=c.bos_id, eos_id=c.eos_id)

    def describe(self, plan: np.ndarray) -> str:
        """Name the pairs of a plan by file and line, with the beginning of the source."""
        names = []
        for part, index in plan:
            text = self.tokenizers[0].decode(self.parts[part].example(index)[0])
            names.append(f"{self.prepared.locate(part, index)} ('{text[:60]}{'…' if len(text) > 60 else ''}')")
        return "; ".join(names)

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and the signatures of what was measured."""
        return {**super().state_dict(), "signatures": self.signatures}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to where another stream stood."""
        super().load_state_dict(state)
        self.signatures = state.get("signatures", {})

    # ---- loss and judging

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """The objective: label-smoothed cross-entropy, or what stands in its place, summed."""
        if isinstance(self.objective, CrossEntropy):  # which any model of sentence pairs knows
            return model(batch, self.objective.label_smoothing)
        return model(batch, objective=self.objective)

    def dev(self) -> list[tuple[str, str, list[Pair]]]:
        """Development pairs by direction, in the order of the corpora."""
        if self._dev is None:
            self._dev = []
            for corpus in self.preset.data.dev:
                pairs = list(read_pairs(corpus))
                self._dev.append((corpus.source, corpus.target, pairs))
                if corpus.both_directions:
                    self._dev.append((corpus.target, corpus.source, [Pair(p.target, p.source) for p in pairs]))
        return self._dev

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss in nats a target piece over all development pairs, and BLEU or chrF averaged over the sets."""
        assert isinstance(model, Transformer)
        metrics: dict[str, float] = {}
        if "loss" in self.preset.validation.metrics:
            metrics["loss"] = self.dev_loss(model)
        if self.preset.validation.translates:
            metrics |= self._dev_scores(model)
        return metrics

    @torch.no_grad()
    def dev_loss(self, model: nn.Module) -> float:
        """Loss of any model of sentence pairs, in nats a target piece, over all development pairs."""
        if self._dev_batches is None:
            self._dev_batches = list(self._make_dev_batches())
        device = next(model.parameters()).device
        total = sum(float(model(batch.to(device))) for batch in self._dev_batches)
        return total / sum(batch.num_tokens for batch in self._dev_batches)

    def _make_dev_batches(self) -> list[Batch]:
        """Development pairs in pieces; those that training would drop for their length are left out here as well."""
        batches = []
        for _, target, pairs in self.dev():
            tag = (self.tokenizers[0].tag_id(tag_of(target)),) if self._tagged else ()
            sources = self.tokenizers[0].encode_batch([pair.source for pair in pairs])
            targets = self.tokenizers[1].encode_batch([pair.target for pair in pairs])
            examples = [
                ([*tag, *s], t)
                for s, t in zip(sources, targets, strict=True)
                if max(len(s), len(t)) <= self.preset.data.max_tokens
            ]
            examples.sort(key=lambda example: (len(example[1]), len(example[0])))
            batches += [self._collate(examples[i : i + _DEV_ROWS]) for i in range(0, len(examples), _DEV_ROWS)]
        if not batches:
            raise DataError(f"no development pair has at most {self.preset.data.max_tokens} pieces (data.max_tokens).")
        return batches

    def _dev_scores(self, model: Transformer) -> dict[str, float]:
        from regard.tasks.evaluation import Score, corpus_scores
        from regard.tasks.translation import Translator

        config = self.preset.validation
        # where the model is, and not where decoding would be fastest: the training goes on there
        translator = Translator(model, self.tokenizers, self.languages(), device=str(next(model.parameters()).device))
        limit = config.sentences or None
        scores: dict[str, dict[str, Score]] = {name: {} for name in ("bleu", "chrf") if name in config.metrics}
        for number, (source, target, pairs) in enumerate(self.dev()):
            texts, references = [pair.source for pair in pairs[:limit]], [pair.target for pair in pairs[:limit]]
            translations = translator.translate(texts, source=source, target=target, beam=config.beam)
            found = corpus_scores([t.text for t in translations], references, target, metrics=tuple(scores))
            for name, sets in scores.items():
                label = f"{name}_{source}_{target}"
                sets[label if label not in sets else f"{label}_{number}"] = found[name]
        metrics: dict[str, float] = {}
        for name, sets in scores.items():
            if len(sets) == 1:
                sets = {name: next(iter(sets.values()))}
            else:
                metrics[name] = sum(score.score for score in sets.values()) / len(sets)
            metrics |= {label: score.score for label, score in sets.items()}
            self.signatures |= {label: score.signature for label, score in sets.items()}
        return metrics

    @property
    def _tagged(self) -> bool:
        return bool(language_tags(self.tokenizers[0]))

    def languages(self) -> dict[str, Any]:
        """The task section of the model's configuration."""
        return {
            "name": "translation",
            "directions": [list(d) for d in self.preset.directions],
            "tagged": self._tagged,
        }

    # ---- the finished model

    def save(self, folder: Path, outcome: Outcome) -> None:
        """Write the model folder."""
        weights = self.frozen | outcome.weights
        save_model(folder, self.config, weights, storage=self.preset.storage, task=self.languages())
        save_tokenizers(folder, self.tokenizers)
        write_atomic(folder / "generation.json", json.dumps({"beam": 5, "length_penalty": 1.0}, indent=2) + "\n")
        counts = [len(part.store) for part in self.parts if not part.reverse]
        write_card(
            folder / "README.md",
            self.preset,
            self.config,
            outcome,
            counts=counts,
            signatures=self.signatures,
            recipe=self.recipe,
        )


def train(
    preset: Preset,
    say: Say,
    recipe: Recipe | None = None,
    on_validation: Callable[[int, Mapping[str, float]], None] | None = None,
) -> Path | None:
    """Run, or go on with, the training that ``preset`` describes.

    Args:
        preset: the run.
        say: takes what a person should read; called in every process.
        recipe: how the run was started, for the card.
        on_validation: told the step and the metrics of each validation; what it raises ends the run.

    Returns:
        The model folder, or None when the run was interrupted (running it again goes on).

    Raises:
        DataError: a corpus cannot be read; the message names file and line.
        ConfigError: the output folder holds a run with other settings.
        RegardError: the training cannot go on, or the disk is full; checkpoints are as they were.
    """
    check_trackers(preset.train)
    check_accountant(preset.train.privacy)
    processes = Processes(choose_device(preset.train.device))
    try:
        with workplace(preset.output) if processes.is_first else nullcontext():
            taught = _taught(preset)
            processes.first(lambda: prepare(preset, say))
            task = TranslationTask(preset, Prepared.open(preset), recipe)
            if taught is not None:
                task.objective = preset.regularise.objective(taught)
            if preset.train.validate_every:
                processes.first(lambda: len(task.dev()))  # an error there should not wait for the first validation
            torch.manual_seed(preset.train.seed)
            model = Transformer(task.config)
            factors: dict[str, float] = {}
            if preset.start:
                _start(model, preset.start, task.tokenizers, say)
                factors = slow_down(model, preset.start.rates)
                task.frozen = {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
            if preset.regularise.int8:
                round_products(model)
            learned = task if preset.tune is None else _tuning(task, model, preset, recipe)
            count = sum(parameter.numel() for parameter in model.parameters())
            trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
            share = f", of which {trained:,} ({trained / count:.2%}) are trained" if trained < count else ""
            say(f"{count:,} parameters{share}; {task.sampler.batches_in_epoch:,} batches an epoch")
            trainer = Trainer(
                model,
                learned,
                preset.train,
                preset.output,
                settings=preset.fingerprint(),
                factors=factors,
                processes=processes,
                on_validation=on_validation,
            )
            if taught is not None:
                follow(taught, model)
            return trainer.train()
    finally:
        processes.close()


def _start(model: Transformer, start: StartConfig, tokenizers: tuple[Tokenizer, Tokenizer], say: Say) -> None:
    """Give ``model`` the weights to start from."""
    if start.model is not None:
        say(f"starting from {start.model}")
        assign_weights(model, load_weights(start.model / "model.safetensors"), str(start.model))
    shared = model.source_embedder.tokens.weight is model.target_embedder.tokens.weight
    for side, folder in start.stacks:
        first = side == "encoder" or start.encoder is None or not shared
        say(start_stack(model, side, folder, tokenizers[side == "decoder"], embedding=first))


def slow_down(model: nn.Module, rates: Mapping[str, float]) -> dict[str, float]:
    """Factors on the learning rate by weight; those of factor 0 are frozen.

    Args:
        model: loses the gradients of its frozen weights.
        rates: factor by pattern of names; of several patterns that fit, the first counts.

    Raises:
        ConfigError: a pattern fits nothing, or all weights are frozen.
    """
    parameters, factors = dict(model.named_parameters()), {}
    for pattern, factor in rates.items():
        for name in choose(parameters, [pattern], "start.rates"):
            factors.setdefault(name, factor)
    for name, factor in factors.items():
        parameters[name].requires_grad_(factor > 0)
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise ConfigError("start.rates freezes every weight; there is nothing left to train.")
    return factors


def _taught(preset: Preset) -> Distilled | None:
    """The loss where there are teachers."""
    if preset.distill is None:
        return None
    assert preset.vocabulary is not None
    return load_objective(preset.distill, preset.directions, preset.vocabulary, preset.train.label_smoothing)


def _tuning(task: TranslationTask, model: Transformer, preset: Preset, recipe: Recipe | None) -> TuningTask:
    """The same task for an adapter."""
    assert preset.start is not None
    assert preset.start.model is not None
    assert preset.tune is not None
    count = sum(len(part.store) for part in task.parts if not part.reverse)
    if count < 2:
        raise DataError(f"{count} pair is left to tune on; give some dozens at least.")
    base = model_hash(preset.start.model)
    return TuningTask(
        task, model, method_of(preset.tune, "tune"), preset=preset, base=base, examples=count, recipe=recipe
    )

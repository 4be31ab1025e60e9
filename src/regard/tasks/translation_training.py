"""Training a translation model: parallel text in, a model folder out."""

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic
from regard.data.batch import Batch, collate
from regard.data.clean import CleanReport, clean
from regard.data.corpus import CorpusConfig, Pair, check_corpus, read_pairs
from regard.data.dataset import PairStore, Part
from regard.data.join import join
from regard.data.sampler import BatchSampler
from regard.data.tokenizer import Tokenizer
from regard.model import Transformer
from regard.model.folder import save_model
from regard.tasks.preset import Preset
from regard.train.task import Task
from regard.train.trainer import Trainer

Say = Callable[[str], None]


def tag_of(language: str) -> str:
    """The piece in front of the source that says which language to translate into."""
    return f"<2{language}>"


class TranslationTask(Task):
    """Batches, loss, validation and saving of a translation model."""

    def __init__(self, preset: Preset, tokenizers: tuple[Tokenizer, Tokenizer], parts: list[Part], names: list[str]):
        """
        Args:
            preset: the run.
            tokenizers: of source and target; the same twice when joint.
            parts: training data.
            names: what to call each part in messages.
        """
        self.preset, self.tokenizers, self.parts, self.names = preset, tokenizers, parts, names
        self.config = preset.model_config(tokenizers[0].vocab_size, tokenizers[1].vocab_size)
        self.sampler = BatchSampler(parts, preset.train.tokens, seed=preset.train.seed)
        self._dev: list[tuple[str, str, list[Pair]]] | None = None

    # ---- the stream

    def draw(self) -> np.ndarray:
        """The next batch's plan: n×2, part and index."""
        return next(self.sampler)

    def batch(self, plan: np.ndarray) -> Batch:
        """Look up, or sample, the pieces of a plan."""
        if self.preset.data.subword_alpha:
            sources, targets = self._sampled(plan)
        else:
            examples = [self.parts[part].example(index) for part, index in plan]
            sources, targets = [e[0] for e in examples], [e[1] for e in examples]
        c = self.config
        return collate(sources, targets, pad_id=c.pad_id, bos_id=c.bos_id, eos_id=c.eos_id)

    def _sampled(self, plan: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        # The seed is a function of the batch's content, so that a resumed run samples the same.
        seed = int.from_bytes(hashlib.blake2b(plan.tobytes(), digest_size=4).digest()) ^ self.sampler.epoch
        sides = []
        for side in (0, 1):
            texts = [self.parts[p].store.text(i, side ^ self.parts[p].reverse) for p, i in plan]
            rows = self.tokenizers[side].sample(texts, self.preset.data.subword_alpha, seed=seed + side)
            # a sampled segmentation may be much longer than the corpus's; keep memory bounded
            sides.append([np.asarray(row[: 2 * self.preset.data.max_tokens], dtype=np.int64) for row in rows])
        return [self.parts[p].with_prefix(row) for (p, _), row in zip(plan, sides[0], strict=True)], sides[1]

    def describe(self, plan: np.ndarray) -> str:
        """Name the pairs of a plan: corpus and position in the cleaned corpus."""
        shown = [f"{self.names[part]} pair {index + 1}" for part, index in plan[:5]]
        more = f" and {len(plan) - 5} more" if len(plan) > 5 else ""
        return ", ".join(shown) + more

    @property
    def epoch(self) -> int:
        """Passes over the data that are complete."""
        return self.sampler.epoch

    def state_dict(self) -> dict[str, Any]:
        return self.sampler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.sampler.load_state_dict(state)

    # ---- loss and judging

    def loss(self, model: nn.Module, batch: Batch) -> Tensor:
        """Summed label-smoothed cross-entropy."""
        return model(batch, self.preset.train.label_smoothing)

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
        wanted = self.preset.validation.metrics
        metrics: dict[str, float] = {}
        if "loss" in wanted:
            metrics["loss"] = self._dev_loss(model)
        if "bleu" in wanted or "chrf" in wanted:
            from regard.tasks.evaluation import corpus_scores
            from regard.tasks.translation import Translator

            translator = Translator(model, self.tokenizers, self.languages())
            limit = self.preset.validation.sentences or None
            scores: dict[str, list[float]] = {"bleu": [], "chrf": []}
            for source, target, pairs in self.dev():
                texts, references = [p.source for p in pairs[:limit]], [p.target for p in pairs[:limit]]
                translations = translator.translate(texts, source=source, target=target, beam=self.preset.validation.beam)
                found = corpus_scores([t.text for t in translations], references, target)
                for name in scores:
                    scores[name].append(found[name].score)
                    if len(self.dev()) > 1 and name in wanted:
                        metrics[f"{name}_{source}_{target}"] = found[name].score
            metrics |= {name: sum(v) / len(v) for name, v in scores.items() if name in wanted}
        return metrics

    def _dev_loss(self, model: Transformer) -> float:
        total, tokens = 0.0, 0
        device = next(model.parameters()).device
        for source, target, pairs in self.dev():
            sources = self.tokenizers[0].encode_batch([p.source for p in pairs])
            targets = self.tokenizers[1].encode_batch([p.target for p in pairs])
            prefix = self._prefix(target)
            order = sorted(range(len(pairs)), key=lambda i: (len(targets[i]), len(sources[i])))  # noqa: B023
            for start in range(0, len(order), 64):
                rows = order[start : start + 64]
                batch = collate(
                    [np.asarray([*prefix, *sources[i]], dtype=np.int64) for i in rows],
                    [np.asarray(targets[i], dtype=np.int64) for i in rows],
                    pad_id=self.config.pad_id,
                    bos_id=self.config.bos_id,
                    eos_id=self.config.eos_id,
                )
                total += float(model(batch.to(device)))
                tokens += batch.num_tokens
        return total / max(tokens, 1)

    def _prefix(self, target: str) -> tuple[int, ...]:
        return (self.tokenizers[0].tag_id(tag_of(target)),) if len(self.preset.directions) > 1 else ()

    def languages(self) -> dict[str, Any]:
        """The task section of the model's configuration."""
        return {
            "name": "translation",
            "directions": [list(d) for d in self.preset.directions],
            "tagged": len(self.preset.directions) > 1,
        }

    # ---- the finished model

    def save(self, folder: Path, weights: dict[str, Tensor], history: list[dict[str, float]]) -> None:
        """Write the model folder."""
        from regard.tasks.card import write_card

        save_model(folder, self.config, weights, storage=self.preset.storage, task=self.languages())
        save_tokenizers(folder, self.tokenizers)
        write_atomic(folder / "generation.json", json.dumps({"beam": 5, "length_penalty": 1.0}, indent=2) + "\n")
        write_card(folder / "README.md", self.preset, self.config, weights, history)


def save_tokenizers(folder: Path, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    """One file pair when source and target share a tokenizer, two otherwise."""
    if tokenizers[0] is tokenizers[1]:
        tokenizers[0].save(folder)
    else:
        tokenizers[0].save(folder, "source")
        tokenizers[1].save(folder, "target")


def load_tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """What :func:`save_tokenizers` wrote."""
    if (folder / "tokenizer.model").exists() or not (folder / "source.model").exists():
        tokenizer = Tokenizer.load(folder)
        return tokenizer, tokenizer
    return Tokenizer.load(folder, "source"), Tokenizer.load(folder, "target")


# ---- preparing a run


class PreparedData:
    """The tokenisers and tokenised corpora of a run, made once and kept in ``output/data``."""

    def __init__(self, preset: Preset, say: Say):
        self.preset, self.say = preset, say
        self.folder = preset.output / "data"

    def task(self) -> TranslationTask:
        """Read or make everything and return the task.

        Raises:
            DataError: a corpus cannot be read; the message names file and line.
            ConfigError: the folder holds a run with other settings.
        """
        self._check_fingerprint()
        corpora = self.preset.data.train
        if not (self.folder / "done").exists():
            self._prepare()
        tokenizers = load_tokenizers(self.folder)
        directions = self.preset.directions
        parts, names = [], []
        for i, corpus in enumerate(corpora):
            store = PairStore(self.folder / f"corpus-{i}")
            for reverse in (False, True)[: 2 if corpus.both_directions else 1]:
                target = corpus.source if reverse else corpus.target
                prefix = (tokenizers[0].tag_id(tag_of(target)),) if len(directions) > 1 else ()
                parts.append(Part(store, reverse, prefix, corpus.weight))
                names.append(corpus.name)
        return TranslationTask(self.preset, tokenizers, parts, names)

    def _check_fingerprint(self) -> None:
        path = self.folder / "settings.json"
        # through JSON, as it will be read back
        wanted = json.loads(json.dumps(self.preset.fingerprint()))
        if not path.exists():
            write_atomic(path, json.dumps(wanted, indent=1, ensure_ascii=False))
            return
        found = json.loads(path.read_text(encoding="utf-8"))
        if found != wanted:
            changed = [name for name in wanted if wanted[name] != found.get(name)]
            raise ConfigError(
                f"{self.preset.output} holds a run with other settings ({', '.join(changed)} changed). "
                "Choose another output folder, or remove this one."
            )

    def _prepare(self) -> None:
        data = self.preset.data
        for corpus in [*data.train, *data.dev, *data.test]:  # every error before anything is computed
            count = check_corpus(corpus)
            self.say(f"{corpus.name}: {count:,} pairs")
        tokenizers = self._tokenizers()
        total = CleanReport()
        for i, corpus in enumerate(data.train):
            report = CleanReport()
            store, too_long = PairStore.build(
                self.folder / f"corpus-{i}",
                self._examples(corpus, report),
                *tokenizers,
                max_tokens=data.max_tokens,
                keep_text=bool(data.subword_alpha),
            )
            total.kept += report.kept
            total.dropped.update(report.dropped)
            long = f", {too_long:,} longer than {data.max_tokens} pieces" if too_long else ""
            self.say(f"{corpus.name}: {len(store):,} examples{long}")
        self.say(f"cleaning:\n{total}")
        write_atomic(self.folder / "cleaning.txt", f"{total}\n")
        write_atomic(self.folder / "done", "")

    def _held_out(self) -> Iterator[Pair]:
        for corpus in [*self.preset.data.dev, *self.preset.data.test]:
            yield from read_pairs(corpus)

    def _examples(self, corpus: CorpusConfig, report: CleanReport) -> Iterator[Pair]:
        pairs = clean(read_pairs(corpus), self.preset.data.clean, self._held_out(), report)
        if not self.preset.data.join.share:
            yield from pairs
            return
        kept = list(pairs)  # joining draws from the whole corpus
        yield from kept
        yield from join(kept, self.preset.data.join, corpus.source, corpus.target)

    def _tokenizers(self) -> tuple[Tokenizer, Tokenizer]:
        """Train the tokenisers on the training text, each corpus with its weight (rounded up to whole copies)."""
        config, corpora = self.preset.tokenizer, self.preset.data.train
        directions = self.preset.directions
        tags = sorted({tag_of(target) for _, target in directions}) if len(directions) > 1 else []

        def texts(sides: tuple[int, ...]) -> Iterator[str]:
            for corpus in corpora:
                for _ in range(max(1, math.ceil(corpus.weight))):
                    for pair in read_pairs(corpus):
                        yield from (pair[side] for side in sides)

        self.say("training the tokenizer")
        if config.joint:
            tokenizer = Tokenizer.train(texts((0, 1)), config, tags)
            save_tokenizers(self.folder, (tokenizer, tokenizer))
            return tokenizer, tokenizer
        pair = (Tokenizer.train(texts((0,)), config, tags), Tokenizer.train(texts((1,)), config))
        save_tokenizers(self.folder, pair)
        return pair


def train(preset: Preset, say: Say) -> Path | None:
    """Run, or go on with, the training that ``preset`` describes.

    Returns:
        The model folder, or None when the run was interrupted (running it again goes on).
    """
    import os

    rank = int(os.environ.get("RANK", "0"))
    if rank == 0:
        task = PreparedData(preset, say).task()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        # Trainer starts the process group; until then the folder itself is the signal.
        _wait_for(preset.output / "data" / "done")
        if rank:
            task = PreparedData(preset, lambda _: None).task()
    torch.manual_seed(preset.train.seed)
    model = Transformer(task.config)
    count = sum(p.numel() for p in model.parameters())
    say(f"{count:,} parameters, {task.sampler.batches_in_epoch:,} batches an epoch")
    trainer = Trainer(model, task, preset.train, preset.output, settings=preset.fingerprint())
    return trainer.train()


def _wait_for(path: Path, seconds: float = 3600.0) -> None:
    import time

    limit = time.monotonic() + seconds
    while not path.exists():
        if time.monotonic() > limit:
            raise RegardError(f"the first process did not prepare {path.parent} within {seconds:.0f} s.")
        time.sleep(0.2)



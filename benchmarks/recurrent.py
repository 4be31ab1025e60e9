"""The Transformer beside what came before it: Bahdanau's recurrent model (2015) on Multi30k en→de.

    python benchmarks/recurrent.py                  2,400 steps of each: half an hour to an hour on one core
    python benchmarks/recurrent.py --quick          to see that it works

Both have the data, vocabulary, batches, order, optimiser and schedule of presets/multi30k.yaml, about as many weights
beside their embeddings, and as many steps; the greedy translations of test_2016_flickr are scored.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import torch
from harness import say
from torch.nn.utils.rnn import pad_sequence

from regard.base.config import from_dict, override, read_yaml
from regard.base.errors import ConfigError
from regard.cli.arguments import parse
from regard.data.corpus import read_lines
from regard.data.tokenizer import EOS, Tokenizer
from regard.decode import TorchEngine
from regard.decode.request import Options as SearchOptions
from regard.decode.request import Request
from regard.model import ModelConfig, Transformer
from regard.model.recurrent import RecurrentConfig, RecurrentTranslator
from regard.tasks.evaluation import corpus_scores
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import Preset
from regard.tasks.translation_training import TranslationTask
from regard.train.trainer import Trainer

MODELS = ("recurrent", "transformer")
#: Sentences translated together, and the longest translation.
BATCH, LIMIT = 100, 80
TITLES = ["", "weights", "test BLEU", "validation loss", "minutes of training", "target tokens/s"]


@dataclass(frozen=True)
class Options:
    """Train both models for some steps and score them."""

    models: str = ",".join(MODELS)
    """Which of them."""
    steps: int = 2400
    """Steps of 2,048 target pieces each."""
    seed: int = 1
    """Seed of both."""
    threads: int = 1
    """CPU threads."""
    quick: bool = False
    """A few steps only."""
    json: str = ""
    """File for the results."""

    def __post_init__(self) -> None:
        if unknown := set(self.models.split(",")) - set(MODELS):
            raise ConfigError(f"'{', '.join(sorted(unknown))}' is no model; there are {', '.join(MODELS)}.")


def preset_of(options: Options) -> Preset:
    """The recipe, with a learning rate that comes down within the steps."""
    steps = 8 if options.quick else options.steps
    settings = {
        "output": str(harness.WORK / "recurrent"),
        "train.steps": steps,
        "train.schedule.warmup": min(400, steps // 4),
        "train.seed": options.seed,
        "train.threads": options.threads,
        "train.tensorboard": "false",
        "train.ema": 0,
        "train.final": "last",
    }
    path = Path(__file__).resolve().parents[1] / "presets" / "multi30k.yaml"
    return from_dict(Preset, override(read_yaml(path), [f"{name}={value}" for name, value in settings.items()]))


def recurrent(config: ModelConfig) -> RecurrentTranslator:
    """Bahdanau's model with about as many weights beside its embeddings as the Transformer of the preset has."""
    sizes, width = (config.source_vocab_size, config.target_vocab_size), config.d_model
    return RecurrentTranslator(
        RecurrentConfig(*sizes, embedding=width, hidden=256, attention=width, dropout=config.dropout)
    )


@torch.inference_mode()
def translate(model: Any, tokenizer: Tokenizer, lines: Sequence[str]) -> list[str]:
    """Greedy translations."""
    encoded = [[*tokenizer.encode(line), EOS] for line in lines]
    if isinstance(model, Transformer):
        requests = [Request(ids, SearchOptions(beam=1)) for ids in encoded]
        found = [hypotheses[0].ids for hypotheses in TorchEngine(model).translate(requests)]
    else:
        found = []
        for start in range(0, len(encoded), BATCH):
            rows = [torch.tensor(ids) for ids in encoded[start : start + BATCH]]
            lengths = torch.tensor([len(row) for row in rows])
            found += model.greedy(pad_sequence(rows, batch_first=True), lengths, LIMIT)
    return [tokenizer.decode(ids) for ids in found]


def run(name: str, preset: Preset, prepared: Prepared) -> dict[str, Any]:
    """Train one of them and score it."""
    task = TranslationTask(preset, prepared)
    torch.manual_seed(preset.train.seed)
    model = recurrent(task.config) if name == "recurrent" else Transformer(task.config)
    trainer = Trainer(model, task, preset.train, preset.output)
    began = time.perf_counter()
    for step in range(1, preset.train.steps + 1):
        trainer.step()
        if step % 200 == 0:
            say(f"{name}: {step} steps, {(time.perf_counter() - began) / 60:.1f} minutes")
    seconds = time.perf_counter() - began
    loss = task.dev_loss(model.eval())
    test = harness.multi30k() / "test" / "test_2016_flickr"
    sources, references = (list(read_lines(f"{test}.{language}")) for language in ("en", "de"))
    output = translate(model.float(), prepared.tokenizers[0], sources)
    bleu = corpus_scores(output, references, "de", metrics=("bleu",))["bleu"]
    return {
        "weights": sum(parameter.numel() for parameter in model.parameters()),
        "bleu": bleu.score,
        "signature": bleu.signature,
        "loss": loss,
        "minutes": seconds / 60,
        "speed": trainer.tokens_seen / seconds,
    }


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="recurrent.py")
    machine = harness.machine()
    preset = preset_of(options)
    prepare(preset, say)
    prepared = Prepared.open(preset)
    results = {}
    for name in options.models.split(","):
        results[name] = found = run(name, preset, prepared)
        say(f"{name}: {found}")
        harness.write_json(options.json, {"machine": machine, "models": results})
    rows = [
        [name, f"{r['weights']:,}", f"{r['bleu']:.1f}", f"{r['loss']:.3f}", f"{r['minutes']:.1f}", f"{r['speed']:,.0f}"]
        for name, r in results.items()
    ]
    print(harness.markdown_table(TITLES, rows))
    print(f"\n{preset.train.steps} steps. {next(iter(results.values()))['signature']}\n{harness.describe(machine)}")
    return 0


if __name__ == "__main__":
    harness.run(main)

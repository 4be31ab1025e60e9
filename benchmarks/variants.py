"""The loss of one small model with each kind of position, normaliser and similarity, after the same number of steps.

    python benchmarks/variants.py                        presets/attention.yaml, three seeds
    python benchmarks/variants.py --seeds 1 --only t5    one of them, once

Everything but the named choice is the same: data, order, widths, steps, learning rate. So small a model on so
small a task says which choices work, not which is best.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
import torch
from harness import say

from regard.base.config import from_dict, override, read_yaml
from regard.cli.arguments import parse
from regard.model import ModelConfig, Transformer
from regard.model.recurrent import RecurrentConfig, RecurrentTranslator
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import Preset
from regard.tasks.translation_training import TranslationTask
from regard.train.trainer import Trainer

PRESET = Path(__file__).resolve().parents[1] / "presets" / "attention.yaml"
RECURRENT = "recurrent, additive attention"
VARIANTS = {
    **{
        f"position: {kind}": [f"model.position={kind}"]
        for kind in ("none", "sinusoidal", "learned", "rotary", "shaw", "transformer_xl", "t5", "alibi")
    },
    **{
        f"normaliser: {name}": [f"model.attention.normaliser={name}", *more]
        for name, more in {"sparsemax": [], "entmax15": [], "top_k": ["model.attention.top_k=4"]}.items()
    },
    **{
        f"similarity: {name}": [f"model.attention.similarity={name}"]
        for name in ("dot", "cosine", "additive", "bilinear")
    },
    "one head of keys": ["model.attention.num_kv_heads=1"],
    "window of 4": ["model.attention.window=4"],
    "span of up to 16": ["model.attention.max_span=16", "model.attention.span_penalty=0.002"],
    RECURRENT: [],
}


@dataclass(frozen=True)
class Options:
    """Train one small model with every kind of attention."""

    seeds: str = "1,2,3"
    """Seeds, separated by commas."""
    steps: int = 0
    """Steps of each; 0 for what the preset says."""
    only: str = ""
    """Parts of the names of variants, separated by commas; all by default."""
    json: str = ""
    """File for the results."""


def preset_of(changes: Sequence[str]) -> Preset:
    """The preset with some settings changed, in a folder of the benchmarks."""
    values = override(read_yaml(PRESET), [f"output={harness.WORK / 'variants'}", *changes])
    for corpus in (*values["data"]["train"], *values["data"]["dev"]):
        corpus["path"] = str(PRESET.parents[1] / corpus["path"])
    return from_dict(Preset, values)


def recurrent(config: ModelConfig) -> RecurrentTranslator:
    """Bahdanau's model (2015) with about as many weights as the Transformers of the preset."""
    sizes, width = (config.source_vocab_size, config.target_vocab_size), config.d_model
    return RecurrentTranslator(
        RecurrentConfig(*sizes, embedding=width, hidden=width, attention=width, dropout=config.dropout)
    )


def train(prepared: Prepared, name: str, changes: Sequence[str]) -> tuple[float, float]:
    """Loss on the development set, in nats a piece, and seconds."""
    preset = preset_of([*changes, "train.tensorboard=false", "train.threads=1"])
    task = TranslationTask(preset, prepared)
    torch.manual_seed(preset.train.seed)
    model = recurrent(task.config) if name == RECURRENT else Transformer(task.config)
    trainer = Trainer(model, task, preset.train, preset.output)
    began = time.perf_counter()
    for _ in range(preset.train.steps):
        trainer.step()
    elapsed = time.perf_counter() - began
    return task.dev_loss(model.eval()), elapsed


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="variants.py")
    machine = harness.machine()
    base = preset_of([])
    prepare(base, say)
    prepared = Prepared.open(base)
    wanted = [text.strip() for text in options.only.split(",") if text.strip()]
    results: dict[str, Any] = {}
    for name, changes in VARIANTS.items():
        if wanted and not any(text in name for text in wanted):
            continue
        steps = [f"train.steps={options.steps}"] if options.steps else []
        runs = [train(prepared, name, [*changes, *steps, f"train.seed={seed}"]) for seed in options.seeds.split(",")]
        results[name] = {"loss": [loss for loss, _ in runs], "seconds": [seconds for _, seconds in runs]}
        say(f"{name}: {results[name]}")
    rows = [
        [name, f"{statistics.median(found['loss']):.3f}", f"{min(found['loss']):.3f}–{max(found['loss']):.3f}"]
        for name, found in results.items()
    ]
    print(harness.markdown_table(["", "loss", "range"], rows) + "\n\n" + harness.describe(machine))
    harness.write_json(options.json, {"machine": machine, "variants": results})
    return 0


if __name__ == "__main__":
    harness.run(main)

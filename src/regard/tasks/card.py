"""The README of a model folder: what it is, how it was made, what it may be used for."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from regard import __version__
from regard.base.config import to_dict
from regard.base.files import write_atomic
from regard.data.corpus import CorpusConfig
from regard.model import ModelConfig
from regard.tasks.preset import Preset
from regard.train.task import Outcome


@dataclass(frozen=True)
class Recipe:
    """How a run was started, as a person wrote it: environment variables stand by their names."""

    command: str
    """The command line, without the output folder."""
    preset: str
    """The preset as YAML, overrides applied."""


def write_card(
    path: Path,
    preset: Preset,
    config: ModelConfig,
    outcome: Outcome,
    *,
    counts: Sequence[int] | None = None,
    signatures: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
) -> None:
    """Write the card of a finished model as Markdown.

    Args:
        path: the file.
        preset: the run.
        config: the model.
        outcome: what the run came to.
        counts: examples of each training corpus after cleaning.
        signatures: sacreBLEU signatures of the metrics that have one.
        recipe: how the run was started; without it the card shows every setting.
    """
    directions = ", ".join(f"{source}→{target}" for source, target in preset.directions)
    lines = [
        f"# Translation model: {directions}",
        "",
        preset.description.strip()
        or "No description was given: what the licences of its data demand is not known (`description` in the preset).",
        "",
        *_table(("", ""), _facts(preset, config, outcome)),
        "",
        "## Training data",
        "",
        *_table(("corpus", "languages", "weight", "examples"), _data(preset.data.train, counts)),
        "",
        "Examples are what is left of a corpus after cleaning, with the joined ones; the weight is how many times an "
        "epoch sees each.",
        "",
        *_judgement(preset, outcome, signatures or {}),
        "![training curve](curve.png)",
        "",
        *_recipe(preset, recipe),
    ]
    write_atomic(path, "\n".join(lines))


def _facts(preset: Preset, config: ModelConfig, outcome: Outcome) -> list[tuple[str, ...]]:
    parameters = sum(weight.numel() for weight in outcome.weights.values())
    return [
        ("parameters", f"{parameters:,}"),
        ("layers", f"{config.encoder_layers} encoder, {config.decoder_layers} decoder"),
        ("width", f"{config.d_model}, feed-forward {config.d_ff}, {config.num_heads} heads"),
        ("vocabulary", f"{config.source_vocab_size:,} source, {config.target_vocab_size:,} target pieces"),
        ("weights", f"{outcome.chosen}, stored as {preset.storage}"),
        ("training", f"{outcome.steps:,} steps, {outcome.tokens:,} target pieces, {outcome.minutes:,.1f} minutes"),
        *([("privacy", outcome.promise)] if outcome.promise else []),
        ("made with", f"regard {__version__}, PyTorch {torch.__version__}, {outcome.device}"),
    ]


def _data(corpora: Sequence[CorpusConfig], counts: Sequence[int] | None) -> list[tuple[str, ...]]:
    known = [f"{count:,}" for count in counts] if counts is not None else ["not counted"] * len(corpora)
    return [
        (
            _short(c.path or c.source_path),
            f"{c.source}–{c.target}{', both ways' * c.both_directions}",
            f"{c.weight:g}",
            n,
        )
        for c, n in zip(corpora, known, strict=True)
    ]


def _short(path: str) -> str:
    """The end of a path: what lies before it belongs to one machine."""
    return "/".join(Path(path).parts[-3:]).lstrip("/")


def _judgement(preset: Preset, outcome: Outcome, signatures: Mapping[str, str]) -> list[str]:
    checked = [record for record in outcome.history if any(name.startswith("valid_") for name in record)]
    if not checked and not outcome.metrics:
        return ["The model was not validated.", ""]
    sets = ", ".join(_short(c.path or c.source_path) for c in preset.data.dev)
    lines = ["## Validation", "", f"Measured on the development sets ({sets}), before the weights were stored:", ""]
    rows = [(name, f"{value:.3f}", signatures.get(name, "–")) for name, value in outcome.metrics.items()]
    lines += [*_table(("metric", "this model", "sacreBLEU signature"), rows), ""]
    config = preset.validation
    if config.translates:
        size = f"the first {config.sentences} sentences" if config.sentences else "all sentences"
        lines += [f"BLEU and chrF on {size} of each set and direction, beam {config.beam}.", ""]
    if "loss" in config.metrics:
        lines += ["The loss is in nats a target piece: it cannot be compared between vocabularies.", ""]
    names = list(dict.fromkeys(name for record in checked for name in record if name.startswith("valid_")))
    judged = "moving average of the weights" if preset.train.ema else "weights"
    rows = [
        (f"{r['step']:,.0f}", f"{r['minutes']:.1f}", *(f"{r[n]:.3f}" if n in r else "" for n in names)) for r in checked
    ]
    header = ("step", "minutes", *(name.removeprefix("valid_") for name in names))
    return [*lines, f"During the training, of the {judged} at that step:", "", *_table(header, rows), ""]


def _recipe(preset: Preset, recipe: Recipe | None) -> list[str]:
    if recipe is None:
        values = {name: value for name, value in to_dict(preset).items() if name != "output"}
        text = json.dumps(values, indent=2, ensure_ascii=False)
        return ["## Settings", "", "```json", text, "```", ""]
    return ["## How to make it", "", "```", recipe.command, "```", "", "```yaml", recipe.preset.rstrip(), "```", ""]


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [header, ["---"] * len(header), *rows]
    return [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines]

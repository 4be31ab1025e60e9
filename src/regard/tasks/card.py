"""The README of a model folder: what it is, how it was made, what it may be used for."""

from pathlib import Path

import torch
from torch import Tensor

from regard import __version__
from regard.base.device import cpu_name
from regard.base.files import write_atomic
from regard.model import ModelConfig
from regard.tasks.preset import Preset


def write_card(
    path: Path, preset: Preset, config: ModelConfig, weights: dict[str, Tensor], history: list[dict[str, float]]
) -> None:
    """Write the card of a finished model as Markdown."""
    directions = ", ".join(f"{s}→{t}" for s, t in preset.directions)
    lines = [f"# Translation model: {directions}", ""]
    if preset.description:
        lines += [preset.description.strip(), ""]
    lines += [
        "| | |",
        "|---|---|",
        f"| parameters | {sum(w.numel() for w in weights.values()):,} |",
        f"| layers | {config.encoder_layers} encoder, {config.decoder_layers} decoder |",
        f"| width | {config.d_model}, feed-forward {config.d_ff}, {config.num_heads} heads |",
        f"| vocabulary | {config.source_vocab_size:,} source, {config.target_vocab_size:,} target pieces |",
        f"| weights | {preset.storage} |",
        f"| made with | regard {__version__}, PyTorch {torch.__version__}, {cpu_name()} |",
        "",
        "## Training data",
        "",
        *(f"- {Path(c.path or c.source_path).name} ({_folder(c.path or c.source_path)}), {c.source}–{c.target}, "
          f"weight {c.weight:g}" for c in preset.data.train),
        "",
    ]
    checked = [r for r in history if any(k.startswith("valid_") for k in r)]
    if checked:
        names = sorted({k for r in checked for k in r if k.startswith("valid_")})
        lines += ["## Validation", "", "| step | minutes | " + " | ".join(n.removeprefix("valid_") for n in names) + " |"]
        lines += ["|" + "---|" * (len(names) + 2)]
        lines += [
            f"| {r['step']:.0f} | {r['minutes']:.1f} | " + " | ".join(f"{r.get(n, float('nan')):.3f}" for n in names) + " |"
            for r in checked
        ]
        lines += [""]
    lines += ["![training curve](curve.png)", ""]
    write_atomic(path, "\n".join(lines))


def _folder(path: str) -> str:
    parts = Path(path).parts
    return parts[-3] if len(parts) >= 3 else str(Path(path).parent)

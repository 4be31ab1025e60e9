"""``regard export --to ctranslate2 --output DIR``: a model for another program."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regard.cli.arguments import Positional, parse

NAMES = {"hf": "Hugging Face transformers", "ctranslate2": "CTranslate2", "onnx": "ONNX runtimes"}


@dataclass(frozen=True)
class Options:
    """Write a translation model for Hugging Face transformers, CTranslate2 or ONNX runtimes."""

    to: Literal["hf", "ctranslate2", "onnx"]
    """hf: transformers reads it; ctranslate2; onnx: a graph of the encoder and one of the decoder."""
    output: Path
    """Folder to write."""
    model: Positional[Path | None] = None
    """Model folder; the model that ships with Regard by default."""


def main(argv: Sequence[str]) -> int:
    """Export; 0 when the folder is written."""
    options = parse(Options, argv, prog="regard export")
    from regard.compress import export_model
    from regard.tasks.translation import shipped_model

    export_model(options.model or shipped_model(), options.to, options.output)
    size = sum(path.stat().st_size for path in options.output.iterdir())
    print(f"{options.output}: {size / 1e6:,.1f} MB for {NAMES[options.to]}")
    return 0

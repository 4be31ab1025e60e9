"""``regard compress runs/mine --int8 --output models/mine``: the same model in a quarter of the room."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Write a copy of a model whose weights take less room on disk and in the native engine."""

    model: Positional[Path]
    """Model folder."""
    output: Path
    """Model folder to write."""
    int8: bool = False
    """Matrices as 8-bit integers with a scale a row: a quarter of the room."""
    float16: bool = False
    """Weights as 16-bit floating-point numbers: half of the room."""

    def __post_init__(self) -> None:
        if self.int8 == self.float16:
            raise ConfigError("give one of --int8 and --float16.")


def main(argv: Sequence[str]) -> int:
    """Compress; 0 when the copy is written."""
    options = parse(Options, argv, prog="regard compress")
    from regard.compress import compress_model

    before, after = compress_model(options.model, options.output, "int8" if options.int8 else "float16")
    print(f"{options.output}: {after / 1e6:,.1f} MB of weights, {before / 1e6:,.1f} MB before")
    return 0

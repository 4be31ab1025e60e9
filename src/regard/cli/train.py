"""``regard train PRESET.yaml [section.name=value …]``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.base.config import from_dict, override, read_yaml
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Train a model as a preset says; run again, it goes on where it stopped."""

    preset: Positional[Path]
    """YAML file that describes the run."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings to change, such as train.steps=2000 or output=runs/mine."""


def main(argv: Sequence[str]) -> int:
    """Train; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard train")
    from regard.tasks.preset import Preset
    from regard.tasks.translation_training import train

    values = override(read_yaml(options.preset), options.overrides)
    preset = from_dict(Preset, values)
    folder = train(preset, lambda text: print(text, file=sys.stderr, flush=True))
    if folder is None:
        return 130
    print(f"the model is in {folder}")
    return 0

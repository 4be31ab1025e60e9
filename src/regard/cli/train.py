"""``regard train PRESET.yaml [section.name=value …]``."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.base.config import expand_environment, from_dict, override, read_yaml
from regard.cli.arguments import Positional, parse

if TYPE_CHECKING:
    from regard.tasks.card import Recipe
    from regard.tasks.preset import Preset


@dataclass(frozen=True)
class Options:
    """Train a model as a preset says; run again, it goes on where it stopped.

    Ctrl-C writes a checkpoint after the present step and stops; a second one stops at once.
    """

    preset: Positional[Path]
    """YAML file that describes the run."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings to change, such as train.steps=2000, data.train.0.weight=3 or output=runs/mine."""


def main(argv: Sequence[str]) -> int:
    """Train; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard train")
    from regard.tasks.preset import Preset

    written = read_yaml(options.preset, expand=False)
    values = expand_environment(override(written, options.overrides), str(options.preset))
    values.pop("search", None)  # what regard search would try
    return run(from_dict(Preset, values), recipe_of("train", options.preset, options.overrides, written))


def run(preset: "Preset", recipe: "Recipe") -> int:
    """Train a model; 0 when finished, 130 when interrupted."""
    from regard.tasks.translation_training import train

    folder = train(preset, say, recipe)
    if folder is None:
        return 130
    if speaks():
        print(f"the model is in {folder}")
    return 0


def speaks() -> bool:
    """Whether this is the first of the processes that torchrun starts, or the only one."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str) -> None:
    """Tell a person, once."""
    if speaks():
        print(text, file=sys.stderr, flush=True)


def recipe_of(verb: str, path: Path, overrides: Sequence[str], written: dict[str, Any]) -> "Recipe":
    """What the model's card tells of a command with a preset; the output folder belongs to this machine only."""
    import yaml

    from regard.tasks.card import Recipe

    overrides = [text for text in overrides if not text.lstrip("-").startswith("output=")]
    name = path.name if path.is_absolute() else str(path)
    text = yaml.safe_dump(override(written, overrides), sort_keys=False, allow_unicode=True, width=120)
    return Recipe(shlex.join(["regard", verb, name, *overrides]), text)

"""``regard pretrain PRESET.yaml [section.name=value …]``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.base.config import expand_environment, from_dict, override, read_yaml
from regard.cli.arguments import Positional, parse
from regard.cli.train import recipe_of, say, speaks


@dataclass(frozen=True)
class Options:
    """Pretrain a model on text of one language or more, as a preset says; run again, it goes on where it stopped.

    What comes of it can be the start of a translation model (start.encoder and start.decoder in a preset of regard
    train), or, with objective: causal, write texts itself (regard generate).
    """

    preset: Positional[Path]
    """YAML file that describes the run."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings to change, such as objective=causal, train.steps=2000 or output=runs/mine."""


def main(argv: Sequence[str]) -> int:
    """Train; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard pretrain")
    from regard.tasks.pretraining import pretrain
    from regard.tasks.pretraining_preset import PretrainingPreset

    written = read_yaml(options.preset, expand=False)
    values = expand_environment(override(written, options.overrides), str(options.preset))
    preset = from_dict(PretrainingPreset, values)
    folder = pretrain(preset, say, recipe_of("pretrain", options.preset, options.overrides, written))
    if folder is None:
        return 130
    if speaks():
        print(f"the model is in {folder}")
    return 0

"""``regard tune --method lora --data domain.tsv --source en --target fr --output ADAPTER``."""

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import UseAppendAction

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse

if TYPE_CHECKING:
    from regard.tasks.card import Recipe

#: Learning rates: those of full and lora are measured (docs/adapting.md), the others a place to start from.
RATES = {
    "full": 3e-4,
    "lora": 2e-3,
    "adalora": 4e-3,
    "houlsby": 2e-3,
    "pfeiffer": 2e-3,
    "prefix": 3e-3,
    "prompt": 1e-2,
    "bias": 5e-3,
}


@dataclass(frozen=True)
class Options:
    """Adapt a model to a domain with an adapter, a few weights beside the model's own; run again, it goes on.

    Settings that have no option here can be given at the end by name, as a preset of regard train has them:
    tune.rank=8, train.tokens=2048, data.subword_alpha=0.2.
    """

    data: UseAppendAction[tuple[Path, ...]]
    """Sentence pairs: TSV, JSON lines or TMX; may be given several times."""
    source: str
    """Language of the first column, such as en."""
    target: str
    """Language of the second column."""
    output: Path
    """Folder of the run; it becomes the adapter (with --method full, a model)."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings by name, such as tune.rank=8."""
    method: Literal["lora", "adalora", "houlsby", "pfeiffer", "prefix", "prompt", "bias", "full"] = "lora"
    """Kind of adapter, or full: all weights of the model."""
    base: Path | None = None
    """Model folder to adapt; the model that ships with Regard by default."""
    dev: Path | None = None
    """Pairs to judge by, which are kept out of the training: the best of ten validations becomes the adapter."""
    both_directions: bool = False
    """Learn the opposite direction as well."""
    replay: UseAppendAction[tuple[Path, ...]] = ()
    """Pairs of the general domain to rehearse, so that it is not forgotten; may be given several times."""
    replay_share: float = 0.1
    """Share of the pairs of --replay that an epoch takes, others each time."""
    steps: int = 300
    """Optimiser steps."""
    rate: float | None = None
    """Highest learning rate; one that suits the method by default."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads; all cores by default."""
    seed: int = 1
    """Seed of initialisation, order and dropout."""

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"steps is {self.steps}; it must be at least 1.")
        if not self.replay and self.replay_share != 0.1:
            raise ConfigError("--replay-share has no effect without --replay.")


def main(argv: Sequence[str]) -> int:
    """Train the adapter; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard tune")
    from regard.tasks.preset import Preset
    from regard.tasks.translation_training import train

    values = override(settings(options), options.overrides)
    speaks = os.environ.get("RANK", "0") == "0"  # the first of the processes that torchrun starts

    def say(text: str) -> None:
        if speaks:
            print(text, file=sys.stderr, flush=True)

    folder = train(from_dict(Preset, values), say, _recipe(argv, values))
    if folder is None:
        return 130
    if speaks:
        print(f"the {'model' if options.method == 'full' else 'adapter'} is in {folder}")
    return 0


def settings(options: Options) -> dict[str, Any]:
    """The preset that the options stand for."""
    from regard.tasks.translation import shipped_model

    languages: dict[str, Any] = {"source": options.source, "target": options.target}
    languages["both_directions"] = options.both_directions
    every = max(1, options.steps // 10)
    train: dict[str, Any] = {
        "steps": options.steps,
        "tokens": 1024,
        "schedule": {
            "kind": "cosine",
            "peak": options.rate or RATES[options.method],
            "warmup": max(1, options.steps // 10),
        },
        "device": options.device,
        "threads": options.threads,
        "seed": options.seed,
        "validate_every": 0,
        "checkpoint_every": every,
        "log_every": every,
        "tensorboard": False,
    }
    values: dict[str, Any] = {
        "output": str(options.output),
        "start": {"model": str(options.base or shipped_model())},
        "data": {"train": [{"path": str(path), **languages} for path in options.data]},
        "train": train,
    }
    for path in options.replay:
        values["data"]["train"].append({"path": str(path), **languages, "weight": options.replay_share})
    if options.method != "full":
        values["tune"] = {"method": options.method}
    if options.dev is not None:
        values["data"]["dev"] = [{"path": str(options.dev), **languages}]
        train |= {"validate_every": every, "keep_best": 1, "final": "average_best"}
    return values


def _recipe(argv: Sequence[str], values: dict[str, Any]) -> "Recipe":
    """What the card tells of this command; the output folder, and where files lie, belong to this machine only."""
    import yaml

    from regard.tasks.card import Recipe

    words = [_portable(word) for word in argv]
    if "--output" in words:
        del words[words.index("--output") : words.index("--output") + 2]
    settings = {name: _portable(value) for name, value in values.items() if name != "output"}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=120)
    return Recipe(shlex.join(["regard", "tune", *words]), text)


def _portable(value: Any) -> Any:
    """The value with the name in place of each absolute path."""
    if isinstance(value, dict):
        return {key: _portable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_portable(part) for part in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value

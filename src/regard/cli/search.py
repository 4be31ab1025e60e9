"""``regard search PRESET.yaml --range train.schedule.peak=1e-4..1e-2:log``: settings tried, the bad ones given up."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tyro.conf import UseAppendAction

from regard.base.config import expand_environment, from_dict, override, read_yaml
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Train a preset many times with other settings, and find the best; run again, it goes on where it stopped.

    What to try stands in the section search of the preset, or is given by --range. The runs are compared by
    train.stopping.metric on the development data. Search on short runs: train.steps=500.
    """

    preset: Positional[Path]
    """YAML file that describes a run; its output becomes the folder of the search."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings to change for all runs, such as train.steps=500."""
    range: UseAppendAction[tuple[str, ...]] = ()
    """What to try: name=0..0.3, name=1e-4..1e-2:log, name=2..8:2 (every second) or name=256,512."""
    trials: int | None = None
    """Runs to begin; 20 by default."""


def main(argv: Sequence[str]) -> int:
    """Search; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard search")
    from regard.tasks.search import Search, SearchConfig, parse_range

    values = expand_environment(
        override(read_yaml(options.preset, expand=False), options.overrides), str(options.preset)
    )
    config = from_dict(SearchConfig, values.pop("search", None) or {}, "search")
    config = replace(config, ranges={**config.ranges, **dict(map(parse_range, options.range))})
    if options.trials is not None:
        config = replace(config, trials=options.trials)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    folder = Search(values, config, say).run()
    if folder is None:
        return 130
    print(f"the search is in {folder}")
    return 0

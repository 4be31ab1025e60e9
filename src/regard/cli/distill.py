"""``regard distill PRESET.yaml --teacher MODEL output=runs/student model.d_model=64``."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import UseAppendAction

from regard.base.config import expand_environment, from_dict, override, read_yaml
from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse
from regard.cli.decoding import ModelOptions
from regard.cli.train import run, say

if TYPE_CHECKING:
    from regard.data.corpus import CorpusConfig
    from regard.tasks.card import Recipe
    from regard.tasks.preset import Preset


@dataclass(frozen=True)
class Options:
    """Train a student, mostly a small model, on what its teachers think; run again, it goes on where it stopped.

    At the word level it learns the distribution that the teachers give at each piece of the corpus, together with the
    piece itself, and has their vocabulary. At the sequence level it learns from the teachers' own translations of the
    corpus's sources, which are written into the folder of the run first; its vocabulary is its own.
    """

    preset: Positional[Path]
    """YAML file that describes the student's run, as for regard train."""
    overrides: Positional[tuple[str, ...]] = ()
    """Settings to change, such as output=runs/student or model.d_model=64."""
    teacher: UseAppendAction[tuple[Path, ...]] = ()
    """Model folder of a teacher; of several, the mean of the distributions counts."""
    level: Literal["word", "sequence", "both"] = "word"
    """What is learned: distributions, translations, or distributions over translations."""
    share: float | None = None
    """Part of the loss that is the teachers' at the word level, 0.5 by default; the rest is that of the labels."""
    temperature: float | None = None
    """Of the distributions at the word level, 1 by default; higher ones show more of what is unlikely."""
    beam: int | None = None
    """Of the teachers' translations at the sequence level, 5 by default."""

    def __post_init__(self) -> None:
        if not self.teacher:
            raise ConfigError("name a teacher: --teacher MODEL.")
        if self.level == "sequence" and (self.share is not None or self.temperature is not None):
            raise ConfigError("--share and --temperature have no effect with --level sequence.")
        if self.level == "word" and self.beam is not None:
            raise ConfigError("--beam has no effect with --level word: the teachers translate nothing.")
        if self.level != "sequence" and any(text.lstrip("-").startswith("tokenizer") for text in self.overrides):
            raise ConfigError("the student takes its teachers' vocabulary; tokenizer settings have no effect.")
        if self.beam is not None and self.beam < 1:
            raise ConfigError(f"beam is {self.beam}; it must be at least 1.")


def main(argv: Sequence[str]) -> int:
    """Train the student; 0 when finished, 130 when interrupted."""
    options = parse(Options, argv, prog="regard distill")
    from regard.tasks.preset import Preset

    written = override(read_yaml(options.preset, expand=False), options.overrides)
    if options.level != "sequence":
        written = taught(written, options)
        say(f"the student has the vocabulary of {options.teacher[0]}")
    preset = from_dict(Preset, expand_environment(written, str(options.preset)))
    if options.level != "word":
        preset = replace(preset, data=replace(preset.data, train=translations(preset, options)))
    return run(preset, _recipe(argv, written))


def taught(values: dict[str, Any], options: Options) -> dict[str, Any]:
    """The student's preset with its teachers; their vocabulary takes the place of the one that it would learn."""
    given = {"share": options.share, "temperature": options.temperature}
    distill = {name: value for name, value in given.items() if value is not None}
    teachers = [str(folder) for folder in options.teacher]
    distill = {**(values.get("distill") or {}), "teachers": teachers, **distill}
    return {name: value for name, value in values.items() if name != "tokenizer"} | {"distill": distill}


def translations(preset: "Preset", options: Options) -> "list[CorpusConfig]":
    """The teachers' translations of the training corpora, made where they are not there yet."""
    from regard.tasks.synthesis import translate_corpora

    if preset.output.resolve() in [folder.resolve() for folder in options.teacher]:
        raise ConfigError(f"{preset.output} is a teacher's folder; set another output.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("the teachers translate in one process; run this without torchrun, or use --level word.")
    model, search = ModelOptions(options.teacher), {"beam": options.beam or 5}
    return translate_corpora(preset, model.load(), search, model.identity(), say)


def _recipe(argv: Sequence[str], values: dict[str, Any]) -> "Recipe":
    """What the student's card tells of this command; the output folder, and where files lie, belong to this machine."""
    import yaml

    from regard.tasks.card import Recipe

    words = [Path(word).name if Path(word).is_absolute() else word for word in argv if not word.startswith("output=")]
    settings = {name: value for name, value in values.items() if name != "output"}
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, width=120)
    return Recipe(shlex.join(["regard", "distill", *words]), text)

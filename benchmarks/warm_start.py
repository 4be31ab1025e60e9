"""BLEU on Multi30k de→en with few pairs, by what the model begins as: nothing, a masked model, a denoising one.

    python benchmarks/warm_start.py --pairs 1000                  a quarter of an hour on one core, mostly pretraining
    python benchmarks/warm_start.py --pairs 5000 --steps 800      five minutes more
    python benchmarks/warm_start.py --pairs 1000 --quick          to see that it works

The pretrained models see the 29,000 captions of each side, shuffled, and nothing that says which belong together. All
translation models have their vocabulary, the same architecture and as many steps; the weights with the lowest loss on
the validation set are scored on test_2016_flickr, greedily. What is there already is not made again: a run that was
stopped goes on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import harness
from harness import say

from regard.base.config import expand_environment, from_dict, override, read_json, read_yaml
from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic
from regard.cli.arguments import parse
from regard.data.corpus import read_lines
from regard.tasks.evaluation import corpus_scores
from regard.tasks.preset import Preset
from regard.tasks.pretraining import pretrain
from regard.tasks.pretraining_preset import PretrainingPreset
from regard.tasks.translation import Translator
from regard.tasks.translation_training import train
from regard.train.checkpoint import CheckpointFolder

PRESETS = Path(__file__).resolve().parents[1] / "presets"
BEGINNINGS = ("nothing", "masked", "denoising")
#: Enough for a figure that means nothing.
QUICK = ["train.steps=4", "train.validate_every=2", "train.schedule.warmup=2"]


@dataclass(frozen=True)
class Options:
    """Pretrain twice, then train with each number of pairs from each beginning, and score."""

    pairs: str = "1000"
    """Numbers of training pairs, separated by commas: the first ones of the corpus."""
    beginnings: str = ",".join(BEGINNINGS)
    """What to begin as."""
    steps: int = 400
    """Steps of each translation model; as many for each beginning."""
    pretraining_steps: int = 3000
    """Steps of each pretraining."""
    seed: int = 1
    """Seed of every run."""
    threads: int = 1
    """CPU threads."""
    quick: bool = False
    """A few steps of everything."""
    json: str = ""
    """File for the results."""

    def __post_init__(self) -> None:
        unknown = set(self.beginnings.split(",")) - set(BEGINNINGS)
        if unknown:
            raise ConfigError(f"'{', '.join(sorted(unknown))}' is no beginning; there are {', '.join(BEGINNINGS)}.")


def values_of(preset: str, changes: Sequence[str]) -> dict[str, Any]:
    """A preset with some settings changed."""
    values = override(read_yaml(PRESETS / preset, expand=False), changes)
    return expand_environment(values, preset)


def pretrained(kind: str, options: Options, common: Sequence[str]) -> Path:
    """The folder of a pretrained model."""
    folder = harness.WORK / "warm_start" / ("quick" if options.quick else "") / kind
    changes = [*common, f"objective={kind}", f"output={folder}", f"train.steps={options.pretraining_steps}"]
    changes += ["model.decoder_layers=2"] if kind == "denoising" else []
    if pretrain(from_dict(PretrainingPreset, values_of("pretrain.yaml", changes + QUICK * options.quick)), say) is None:
        raise RegardError("stopped; the same command goes on")
    return folder


def few_pairs(count: int) -> Path:
    """The beginning of the training corpus, as TSV."""
    path = harness.WORK / "warm_start" / f"train{count}.tsv"
    sides = [read_lines(harness.multi30k() / f"train/train.{language}") for language in ("de", "en")]
    lines = [f"{source}\t{target}\n" for _, source, target in zip(range(count), *sides, strict=False)]
    write_atomic(path, "".join(lines))
    return path


def translated(beginning: str, count: int, folders: dict[str, Path], options: Options, common: Sequence[str]) -> Path:
    """The folder of a translation model."""
    vocabulary = folders[beginning if beginning in folders else "masked"]
    start = {"vocabulary": str(vocabulary)}
    if beginning in folders:
        start |= {"encoder": str(vocabulary), "decoder": str(vocabulary)}
    output = vocabulary.parent / f"{beginning}-{count}"
    changes = [*common, f"output={output}", f"train.steps={options.steps}", *QUICK * options.quick]
    values = values_of("warm_start.yaml", changes)
    values["start"] = start
    values["data"]["train"] = [{"path": str(few_pairs(count)), "source": "de", "target": "en"}]
    if beginning not in folders:
        sizes = read_json(vocabulary / "config.json")["model"]
        values["model"] |= {name: sizes[name] for name in ("d_model", "d_ff", "num_heads", "encoder_layers")}
        values["model"]["decoder_layers"] = sizes["encoder_layers"]
    if train(from_dict(Preset, values), say) is None:
        raise RegardError("stopped; the same command goes on")
    return output


def score(folder: Path) -> tuple[float, str]:
    """BLEU on the test set, with its signature."""
    test = harness.multi30k() / "test"
    sources, references = (list(read_lines(test / f"test_2016_flickr.{language}")) for language in ("de", "en"))
    translations = Translator.from_pretrained(folder).translate(sources, source="de", target="en", beam=1)
    found = corpus_scores([t.text for t in translations], references, "en", metrics=("bleu",))["bleu"]
    return found.score, found.signature


def spent(folder: Path) -> tuple[int, float]:
    """Steps and minutes of a run."""
    state = CheckpointFolder(folder / "training").state() or {}
    return state["step"], state["seconds"] / 60


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="warm_start.py")
    machine = harness.machine()
    harness.warn_if_busy(machine)
    common = [f"train.seed={options.seed}", f"train.threads={options.threads}", "train.tensorboard=false"]
    beginnings = options.beginnings.split(",")
    # the masked model is the one whose vocabulary those that begin as nothing have
    kinds = [kind for kind in BEGINNINGS[1:] if kind in beginnings or (kind == "masked" and "nothing" in beginnings)]
    folders = {kind: pretrained(kind, options, common) for kind in kinds}
    results: dict[str, Any] = {}
    signature = ""
    for count in map(int, options.pairs.split(",")):
        for beginning in beginnings:
            folder = translated(beginning, count, folders, options, common)
            bleu, signature = score(folder)
            steps, minutes = spent(folder)
            results[f"{beginning}, {count} pairs"] = {"bleu": bleu, "steps": steps, "minutes": minutes}
            say(f"{beginning}, {count} pairs: BLEU {bleu:.1f} after {steps} steps, {minutes:.1f} minutes")
    rows = [[name, f"{r['bleu']:.1f}", f"{r['steps']:,}", f"{r['minutes']:.1f}"] for name, r in results.items()]
    pretraining = {kind: spent(folder) for kind, folder in folders.items()}
    print(harness.markdown_table(["", "BLEU", "steps", "minutes"], rows))
    for kind, (steps, minutes) in pretraining.items():
        print(f"{kind}: {steps:,} steps, {minutes:.1f} minutes")
    print(f"{signature}\n{harness.describe(machine)}")
    harness.write_json(options.json, {"machine": machine, "runs": results, "pretraining": pretraining})
    return 0


if __name__ == "__main__":
    harness.run(main)

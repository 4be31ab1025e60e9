"""What each way to adapt the shipped model learns of a domain, and what it forgets.

    python benchmarks/adapting.py                      Python's documentation, English to French, 1,000 pairs
    python benchmarks/adapting.py --domain health --methods lora,full
    python benchmarks/adapting.py --pairs 50,200,1000 --methods lora      the learning curve of corrections
    python benchmarks/adapting.py --quick                            to see that it works

The shipped model has seen none of these texts. Adapters are trained as ``regard tune`` does, with its defaults where
nothing else is said, and scored by greedy translations: of the domain's development pairs, and of those of Tatoeba,
what the model was made for. What is there already is not made again: a run that was stopped goes on.
"""

import random
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import harness
from harness import say

from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic
from regard.cli import tune
from regard.cli.arguments import Positional, parse
from regard.data.corpus import read_lines
from regard.tasks.evaluation import corpus_scores
from regard.tasks.translation import Translator
from regard.train.checkpoint import CheckpointFolder

ROOT = harness.WORK / "adapting"
TITLES = ["pairs", "method", "trained weights", "size, KB", "domain BLEU", "chrF", "Tatoeba BLEU", "minutes"]


class Domain(NamedTuple):
    """Where the pairs of a domain lie, below the folder of the data."""

    source: str
    target: str
    train: str
    dev: str
    """The same as ``train`` where there is one set: then its lines take turns."""
    general: str
    """Folder of the model's own domain."""


DOMAINS = {
    "pydocs-fr": Domain("en", "fr", "pydocs-eng-fra/train/train.tsv", "pydocs-eng-fra/dev/dev.tsv", "tatoeba-eng-fra"),
    "pydocs-zh": Domain("en", "zh", "pydocs-eng-zho/train/train.tsv", "pydocs-eng-zho/dev/dev.tsv", "tatoeba-eng-cmn"),
    "health": Domain("en", "zh", "tico19/dev/dev.en-zh.tsv", "tico19/dev/dev.en-zh.tsv", "tatoeba-eng-cmn"),
}


@dataclass(frozen=True)
class Options:
    """Adapt the shipped model in several ways and score what comes of it."""

    overrides: Positional[tuple[str, ...]] = ()
    """Settings of every run, as regard tune has them at its end, such as tune.rank=8."""
    domain: str = "pydocs-fr"
    """pydocs-fr, pydocs-zh or health."""
    pairs: str = "1000"
    """Numbers of training pairs, separated by commas."""
    methods: str = "full,lora,adalora,houlsby,prefix,bias"
    """Methods of regard tune."""
    steps: int = 300
    """Steps of each run."""
    rate: float | None = None
    """Learning rate of every run; that of the method by default."""
    replay_share: float = 0.0
    """Share of Tatoeba's training pairs to rehearse an epoch."""
    seed: int = 1
    """Which pairs, and the seed of the runs."""
    threads: int = 1
    """CPU threads."""
    quick: bool = False
    """A few steps and sentences."""
    json: str = ""
    """File for the results."""

    def __post_init__(self) -> None:
        if self.domain not in DOMAINS:
            raise ConfigError(f"'{self.domain}' is no domain; there are {', '.join(DOMAINS)}.")


def pairs_of(path: Path) -> list[tuple[str, str]]:
    """The first two columns of a TSV file."""
    lines = (line.split("\t") for line in read_lines(path))
    return [(columns[0], columns[1]) for columns in lines if len(columns) > 1 and columns[0].strip()]


def split(domain: Domain) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """Pairs to train on, and pairs to score on."""
    train = pairs_of(harness.data() / domain.train)
    if domain.train == domain.dev:
        return train[::2], train[1::2]
    return train, pairs_of(harness.data() / domain.dev)


def sample(domain: Domain, name: str, count: int, seed: int) -> Path:
    """So many pairs of a domain, as TSV; of a smaller number the first of a larger one."""
    every = split(domain)[0]
    random.Random(seed).shuffle(every)
    path = ROOT / f"{name}-{count}-{seed}.tsv"
    write_atomic(path, "".join(f"{source}\t{target}\n" for source, target in every[:count]))
    return path


def adapted(options: Options, domain: Domain, method: str, count: int) -> Path:
    """The folder of an adapter, or for full fine-tuning of a model.

    Raises:
        RegardError: the run was interrupted.
    """
    steps = 4 if options.quick else options.steps
    words = [options.domain, str(count), method, f"{steps}", f"seed{options.seed}"]
    words += [f"rate{options.rate:g}"] if options.rate else []
    words += [f"replay{options.replay_share:g}"] if options.replay_share else []
    folder = ROOT / "-".join([*words, *options.overrides])
    arguments = ["--method", method, "--source", domain.source, "--target", domain.target, "--output", str(folder)]
    arguments += ["--data", str(sample(domain, options.domain, count, options.seed)), "--steps", str(steps)]
    arguments += ["--seed", str(options.seed), "--threads", str(options.threads)]
    arguments += ["--rate", str(options.rate)] if options.rate else []
    if options.replay_share:
        general = harness.data() / domain.general / "train" / "train.tsv"
        arguments += ["--replay", str(general), "--replay-share", str(options.replay_share)]
    say("regard tune " + shlex.join([*arguments, *options.overrides]))
    if tune.main([*arguments, *options.overrides]):
        raise RegardError("stopped; the same command goes on")
    return folder


def scores(folder: Path | None, method: str, options: Options, domain: Domain) -> dict[str, float]:
    """BLEU and chrF on the domain, and BLEU on Tatoeba; greedy search."""
    if folder is None:
        translator = Translator.from_pretrained()
    elif method == "full":
        translator = Translator.from_pretrained(folder)
    else:
        translator = Translator.from_pretrained(adapters={"it": folder}, shares={"it": 1.0})
    sets = {"domain": split(domain)[1], "general": pairs_of(harness.data() / domain.general / "dev" / "dev.tsv")}
    found = {}
    for name, pairs in sets.items():
        sources, references = zip(*pairs[: 20 if options.quick else None], strict=True)
        output = translator.translate(sources, domain.source, domain.target, beam=1)
        texts = [translation.text for translation in output]
        for metric, score in corpus_scores(texts, references, domain.target, metrics=("bleu", "chrf")).items():
            found[f"{name} {metric}"] = score.score
            say(f"{name} {metric} {score.score:.2f} {score.signature}")
    return found


def size_of(folder: Path, method: str) -> tuple[int, float]:
    """Trained weights and KB on disk."""
    from safetensors import safe_open

    path = folder / ("model.safetensors" if method == "full" else "adapter_model.safetensors")
    with safe_open(path, "numpy") as file:
        count = sum(file.get_tensor(name).size for name in file.keys())  # noqa: SIM118 - it is no dictionary
    return count, path.stat().st_size / 1000


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="adapting.py")
    domain, machine = DOMAINS[options.domain], harness.machine()
    before = scores(None, "", options, domain)
    results: list[dict[str, Any]] = [{"pairs": 0, "method": "none", **before}]
    rows = [["–", "none", "–", "–", *_figures(before), "–"]]
    for count in map(int, options.pairs.split(",")):
        for method in options.methods.split(","):
            folder = adapted(options, domain, method, count)
            found = scores(folder, method, options, domain)
            weights, size = size_of(folder, method)
            minutes = ((CheckpointFolder(folder / "training").state() or {}).get("seconds", 0)) / 60
            results.append({"pairs": count, "method": method, "weights": weights, "minutes": minutes, **found})
            rows.append([f"{count:,}", method, f"{weights:,}", f"{size:,.0f}", *_figures(found), f"{minutes:.1f}"])
            print(harness.markdown_table(TITLES, rows), flush=True)
            harness.write_json(options.json, {"machine": machine, "runs": results})
    print(f"\n{options.steps} steps of 1,024 target pieces. {harness.describe(machine)}")
    return 0


def _figures(found: dict[str, float]) -> list[str]:
    return [f"{found[name]:.1f}" for name in ("domain bleu", "domain chrf", "general bleu")]


if __name__ == "__main__":
    harness.run(main)

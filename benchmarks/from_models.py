"""What a model's own output teaches, on Multi30k: a small student of a larger teacher, and pairs made of text alone.

    python benchmarks/from_models.py distillation       en→de: a teacher, and students of a quarter of its size
    python benchmarks/from_models.py backtranslation    de→en: 5,000 pairs, and 24,000 English sentences beside them

Everything goes through the command line, and the commands are shown. What is there already is not made again: a run
that was stopped goes on. About five minutes each on a quiet core; with --steps 4, to see that it works, one.
"""

import shlex
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import harness
from harness import say

from regard.base.files import write_atomic
from regard.cli.arguments import Positional, parse
from regard.cli.main import main as regard
from regard.data.corpus import read_lines
from regard.model.folder import load_weights
from regard.tasks.evaluation import corpus_scores
from regard.tasks.translation import Translator

PRESET = Path(__file__).resolve().parents[1] / "presets" / "multi30k.yaml"
PAIRS = 5000
#: Two layers of the preset's width on either side; the students have one, of half the width.
TEACHER = "tokenizer.vocab_size=3000 model.encoder_layers=2 model.decoder_layers=2 validation={}".split()
STUDENT = (
    "tokenizer.vocab_size=3000 model.encoder_layers=1 model.decoder_layers=1 model.d_model=64 model.d_ff=128 "
    "model.dropout=0 validation={}"
).split()
#: Of few pairs the best validation is taken: they are soon overfitted.
FEW = "model.dropout=0.3 train.keep_best=1 train.final=average_best".split()
ROUNDS = 3


@dataclass(frozen=True)
class Options:
    """Train, make what is made, train again, and score on test_2016_flickr (greedy, native engine)."""

    experiment: Positional[Literal["distillation", "backtranslation"]]
    """Which one."""
    steps: int = 700
    """Of every training, 2,048 target pieces each."""
    seed: int = 1
    """Of every training and of the draws."""
    threads: int = 1
    """CPU threads."""
    json: str = ""
    """File for the results."""


def run(*words: str | Path) -> None:
    """One command line."""
    command = [str(word) for word in words]
    say(f"$ {shlex.join(['regard', *command])}")
    status = regard(command)
    if status:
        sys.exit(status)


def loop(options: Options) -> list[str]:
    """The loop's settings, as overrides."""
    steps, warmup = options.steps, max(1, options.steps // 5)
    every = max(1, steps // 7)
    return [
        f"train.steps={steps}",
        f"train.seed={options.seed}",
        f"train.threads={options.threads}",
        f"train.schedule.warmup={warmup}",
        f"train.validate_every={every}",
        f"train.checkpoint_every={every}",
        "train.ema=0.99",
        "train.tensorboard=false",
    ]


def distillation(work: Path, options: Options) -> dict[str, Path]:
    """A teacher, and a student without it, with its distributions, and with its translations."""
    common = loop(options)
    folders = {name: work / name for name in ("teacher", "student", "word", "sequence")}
    run("train", PRESET, *TEACHER, *common, f"output={folders['teacher']}")
    run("train", PRESET, *STUDENT, *common, f"output={folders['student']}")
    # its vocabulary is the teacher's
    taught = [setting for setting in STUDENT if not setting.startswith("tokenizer")]
    teacher = ("--teacher", folders["teacher"])
    run("distill", PRESET, *teacher, *taught, *common, f"output={folders['word']}")
    sequence = (*teacher, "--level", "sequence", "--beam", "4")
    run("distill", PRESET, *sequence, *STUDENT, *common, f"output={folders['sequence']}")
    return {
        "teacher": folders["teacher"],
        "student, alone": folders["student"],
        "student, word level": folders["word"],
        "student, sequence level": folders["sequence"],
    }


def backtranslation(work: Path, options: Options) -> dict[str, Path]:
    """A model of few pairs, and models of these and of pairs made from text by one of the opposite direction."""
    few, text = work / "few.tsv", work / "text.en"
    pairs = list(zip(*(read_lines(harness.multi30k() / f"train/train.{side}") for side in ("de", "en")), strict=True))
    write_atomic(few, "".join(f"{source}\t{target}\n" for source, target in pairs[:PAIRS]))
    write_atomic(text, "".join(f"{target}\n" for _, target in pairs[PAIRS:]))

    def train(name: str, source: str, target: str, *corpora: str) -> Path:
        languages, column, dev = f"source: {source}, target: {target}", int(source == "en"), harness.multi30k() / "dev"
        own = f"{{{languages}, path: {few}, source_column: {column}, target_column: {1 - column}}}"
        held = f"{{{languages}, source_path: {dev}/val.{source}, target_path: {dev}/val.{target}}}"
        data = [f"data.train=[{', '.join([own, *corpora])}]", f"data.dev=[{held}]"]
        run("train", PRESET, *TEACHER, *FEW, *loop(options), *data, f"output={work / name}")
        return work / name

    found = {f"{PAIRS:,} pairs": train("few", "de", "en")}
    back = train("back", "en", "de")
    kinds = {"searched": ["--beam", "4"], "drawn": ["--sample", "--seed", str(options.seed)]}
    for kind, search in kinds.items():
        made = work / f"{kind}.tsv"
        if not made.exists():
            languages = ("--source", "de", "--target", "en")
            run("backtranslate", "--model", back, "--text", text, *languages, *search, "--output", made)
        for mark, tag in (("", ""), (", tagged", ", tag: <BT>")):
            corpus = f"{{path: {made}, source: de, target: en{tag}}}"
            found[f"and {kind} pairs{mark}"] = train(f"{kind}{'-tagged' * bool(tag)}", "de", "en", corpus)
    return found


def score(folders: dict[str, Path], source: str, target: str, threads: int) -> tuple[dict[str, Any], str]:
    """BLEU on the test set and the speed of all sentences together, the models taking turns; and the signature."""
    test = harness.multi30k() / "test"
    sources, references = (list(read_lines(test / f"test_2016_flickr.{side}")) for side in (source, target))
    translators = {name: Translator.from_pretrained(folder, threads=threads) for name, folder in folders.items()}
    seconds: dict[str, list[float]] = {name: [] for name in folders}
    results: dict[str, Any] = {}
    signature = ""
    for _ in range(ROUNDS):
        for name, translator in translators.items():
            began = time.perf_counter()
            made = translator.translate(sources, source, target, beam=1)
            seconds[name].append(time.perf_counter() - began)
            bleu = corpus_scores([t.text for t in made], references, target, metrics=("bleu",))["bleu"]
            results[name], signature = {"bleu": bleu.score}, bleu.signature
    for name, folder in folders.items():
        weights = load_weights(folder / "model.safetensors")
        results[name]["parameters"] = sum(weight.numel() for weight in weights.values())
        results[name]["sentences_per_second"] = len(sources) / statistics.median(seconds[name])
    return results, signature


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="from_models.py")
    machine = harness.machine()
    harness.warn_if_busy(machine)
    work = harness.WORK / options.experiment / f"{options.steps}-{options.seed}"
    learn = {"distillation": distillation, "backtranslation": backtranslation}[options.experiment]
    source, target = ("en", "de") if options.experiment == "distillation" else ("de", "en")
    results, signature = score(learn(work, options), source, target, options.threads)
    rows = [
        [name, f"{r['parameters']:,}", f"{r['bleu']:.1f}", f"{r['sentences_per_second']:,.0f}"]
        for name, r in results.items()
    ]
    print(harness.markdown_table([f"{source}→{target}", "parameters", "BLEU", "sentences/s"], rows))
    print(f"{signature}\n{harness.describe(machine)}")
    harness.write_json(options.json, {"machine": machine, "runs": results})
    return 0


if __name__ == "__main__":
    harness.run(main)

"""Quality for time: BLEU on Multi30k en→de (test_2016_flickr) after some minutes of training.

    python benchmarks/multi30k.py --minutes 15 --seeds 1,2
    python benchmarks/multi30k.py --minutes 90 --protocol lower model.dropout=0.3 train.tokens=4096
    python benchmarks/multi30k.py --minutes 0.3 --seeds 1        to see that it works

Two protocols, whose figures cannot be compared with one another:

- ``cased``: trained on the text as it is; the detokenised, cased output is scored by sacreBLEU with its 13a tokeniser.
- ``lower``: that of the published 41.02 (Wu et al. 2021, Good for Misconceived Reasons; LividWo/Revisit-MMT).
  Training and test text is lower-cased, its punctuation normalised and cut into words by Moses's rules, as in the
  ``lc.norm.tok`` files of Multi30k; four-gram BLEU is counted on these words as they stand, which is what fairseq
  reports. The German reference has 12,103 words there and here.

The minutes are those of the training steps; validation and checkpoints come on top, and the wall time is given too. As
the learning rate must come down in time, a few steps are timed first to find how many fit. The curve is that of the
validation set; the test set is translated once, at the end.
"""
# pyright: reportMissingImports=false

import functools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import harness
import torch
from harness import say

from regard.base.config import from_dict, override, read_json, read_yaml
from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic
from regard.cli.arguments import Positional, parse
from regard.data.corpus import read_lines
from regard.data.tokenizer import EOS
from regard.decode.request import Options as SearchOptions
from regard.decode.request import Request
from regard.model import Transformer
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import Preset
from regard.tasks.translation import Translator
from regard.tasks.translation_training import TranslationTask, train
from regard.train.checkpoint import CheckpointFolder
from regard.train.trainer import Trainer

ROOT = Path(__file__).resolve().parents[1]
REFERENCE_WORDS = 12_103
#: Part of the minutes that the planned steps take, so that the cosine ends before the time does.
MARGIN = 0.97
WARM_STEPS, TIMED_STEPS = 10, 30


@dataclass(frozen=True)
class Options:
    """Train for some minutes with each seed, and score."""

    overrides: Positional[tuple[str, ...]] = ()
    """Settings of the preset to change, such as model.dropout=0.3."""
    minutes: float = 15.0
    """Minutes of training."""
    steps: int = 0
    """Steps to take, whatever the time; 0 for as many as fit into the minutes."""
    seeds: str = "1,2"
    """Seeds of initialisation, order and dropout."""
    protocol: Literal["cased", "lower", "both"] = "cased"
    """What is trained on and how it is scored."""
    points: int = 10
    """Validations during a run."""
    beam: int = 5
    """Beam size for the scores at the end."""
    length_penalty: float = 1.0
    """Length penalty with that."""
    preset: Path = ROOT / "presets" / "multi30k.yaml"
    """The recipe."""
    output: Path = harness.WORK / "multi30k"
    """Folder of the runs; one that was interrupted goes on when the same command is given again."""
    json: str = ""
    """File for the results."""


# ---- the text of the lower-cased protocol


@functools.cache
def moses(language: str) -> Any:
    """A function from a line to its lower-cased, normalised words between single spaces.

    Raises:
        ConfigError: sacremoses is not installed.
    """
    try:
        from sacremoses import MosesPunctNormalizer, MosesTokenizer
    except ImportError as error:
        raise ConfigError(
            "the lower-cased protocol needs sacremoses: pip install -r benchmarks/requirements.txt"
        ) from error
    normalizer, tokenizer = MosesPunctNormalizer(language), MosesTokenizer(language)

    def prepare_line(line: str) -> str:
        # "&apos;" for an apostrophe, as Moses escapes it, is a word as much as the apostrophe itself: BLEU is the same
        return tokenizer.tokenize(normalizer.normalize(line.strip().lower()), return_str=True, escape=False)

    return prepare_line


def write_lower(folder: Path) -> None:
    """Write Multi30k as the lower-cased protocol wants it, in the same places below ``folder``."""
    source = harness.multi30k()
    for part in ("train/train", "dev/val", "test/test_2016_flickr"):
        for language in ("en", "de"):
            lines = [moses(language)(line) for line in read_lines(source / f"{part}.{language}")]
            write_atomic(folder / "multi30k" / f"{part}.{language}", "".join(f"{line}\n" for line in lines))


@contextmanager
def data_at(folder: Path) -> Iterator[None]:
    """Let REGARD_DATA name ``folder`` meanwhile."""
    earlier = os.environ["REGARD_DATA"]
    os.environ["REGARD_DATA"] = str(folder)
    try:
        yield
    finally:
        os.environ["REGARD_DATA"] = earlier


# ---- one run


def read_preset(options: Options, data: Path, folder: Path, seed: int, steps: int) -> Preset:
    """The preset for one run, which validates and saves ``options.points`` times."""
    with data_at(data):
        values = read_yaml(options.preset)
    every = max(1, steps // options.points)
    settings = {
        "output": str(folder),
        "train.seed": seed,
        "train.steps": steps,
        "train.minutes": 0 if options.steps else options.minutes,
        "train.validate_every": every,
        "train.checkpoint_every": every,
        "train.tensorboard": "false",
    }
    values = override(values, [*(f"{name}={value}" for name, value in settings.items()), *options.overrides])
    warmup = values["train"].get("schedule", {}).get("warmup", 0)
    if warmup > steps // 4:
        values = override(values, [f"train.schedule.warmup={max(1, steps // 10)}"])
        say(f"a warm-up of {warmup} steps is too long for {steps}; taking {max(1, steps // 10)}")
    return from_dict(Preset, values)


def steps_in(preset: Preset, minutes: float) -> int:
    """How many steps fit into ``minutes``, by timing a few on this machine."""
    prepare(preset, say)
    torch.manual_seed(preset.train.seed)
    task = TranslationTask(preset, Prepared.open(preset))
    with tempfile.TemporaryDirectory() as scratch:
        trainer = Trainer(Transformer(task.config), task, preset.train, scratch)
        for _ in range(WARM_STEPS):
            trainer.step()
        began, tokens = time.perf_counter(), trainer.tokens_seen
        for _ in range(TIMED_STEPS):
            trainer.step()
        seconds = (time.perf_counter() - began) / TIMED_STEPS
        trainer.gradients.close()
    speed = (trainer.tokens_seen - tokens) / TIMED_STEPS / seconds
    steps = max(1, int(MARGIN * minutes * 60 / seconds) // 10 * 10)
    say(f"{1000 * seconds:.0f} ms a step, {speed:,.0f} tokens/s: {steps:,} steps fit into {minutes:g} minutes")
    return steps


def run(options: Options, protocol: str, seed: int) -> dict[str, Any]:
    """Train with one seed, translate the test set and score it. The wall time is that of this stretch.

    Raises:
        KeyboardInterrupt: the training was interrupted.
    """
    data = Path(os.environ["REGARD_DATA"])
    if protocol == "lower":
        data = options.output / "lower-cased"
        if not (data / "multi30k" / "test" / "test_2016_flickr.de").exists():
            write_lower(data)
    length = f"{options.steps}steps" if options.steps else f"{options.minutes:g}min"
    folder = options.output / f"{protocol}-{length}-seed{seed}"
    steps = options.steps or planned(options, protocol, data, folder, seed, length)
    preset = read_preset(options, data, folder, seed, steps)
    began = time.perf_counter()
    if train(preset, say) is None:
        raise KeyboardInterrupt
    wall = (time.perf_counter() - began) / 60
    state = CheckpointFolder(folder / "training").state() or {}
    history = state.get("history", [])
    return {
        "protocol": protocol,
        "seed": seed,
        "steps": state.get("step", steps),
        "tokens": state.get("tokens", 0),
        "minutes": state.get("seconds", 0.0) / 60,
        "wall_minutes": wall,
        "curve": [{k: r[k] for k in ("step", "minutes", "valid_bleu")} for r in history if "valid_bleu" in r],
        **final_scores(options, protocol, data, folder),
    }


def planned(options: Options, protocol: str, data: Path, folder: Path, seed: int, length: str) -> int:
    """The number of steps for a run of some minutes: timed once for all seeds, and remembered."""
    plan = options.output / f"{protocol}-{length}.json"
    wanted = {"overrides": list(options.overrides)}
    if plan.exists() and (found := read_json(plan)).get("overrides") == wanted["overrides"]:
        return found["steps"]
    steps = steps_in(read_preset(options, data, folder, seed, 10_000), options.minutes)
    write_atomic(plan, json.dumps({**wanted, "steps": steps}) + "\n")
    return steps


def final_scores(options: Options, protocol: str, data: Path, folder: Path) -> dict[str, Any]:
    """BLEU on the validation and the test set, with signatures."""
    translator = Translator.from_pretrained(folder)
    scores: dict[str, Any] = {}
    for name, part in (("dev", "dev/val"), ("test", "test/test_2016_flickr")):
        source = [line.strip() for line in read_lines(data / "multi30k" / f"{part}.en")]
        reference = [line.strip() for line in read_lines(data / "multi30k" / f"{part}.de")]
        began = time.perf_counter()
        if protocol == "lower":
            output = by_line(translator, source, options)
            scores[name] = {"lower": word_bleu(output, reference)}
        else:
            found = translator.translate(source, "en", "de", beam=options.beam, length_penalty=options.length_penalty)
            output = [translation.text for translation in found]
            scores[name] = cased_scores(output, reference)
        scores[name]["seconds"] = time.perf_counter() - began
        write_atomic(folder / f"{name}.de", "".join(f"{line}\n" for line in output))
    return scores


def by_line(translator: Translator, source: Sequence[str], options: Options) -> list[str]:
    """Translate each line as it is: text cut into words is not for a sentence splitter."""
    search = SearchOptions(beam=options.beam, length_penalty=options.length_penalty)
    before, after = translator.tokenizers
    requests = [Request([*before.encode(line), EOS], search) for line in source]
    return [after.decode(hypotheses[0].ids) for hypotheses in translator.engine.translate(requests)]


def cased_scores(output: Sequence[str], reference: Sequence[str]) -> dict[str, Any]:
    """Cased detokenised BLEU; and where sacremoses is installed, the same output under the other protocol's measure."""
    from regard.tasks.evaluation import corpus_scores

    bleu = corpus_scores(output, reference, "de", metrics=("bleu",))["bleu"]
    scores: dict[str, Any] = {"cased": {"bleu": bleu.score, "signature": bleu.signature}}
    try:
        cut = moses("de")
    except ConfigError:
        return scores
    return {**scores, "lower": word_bleu([cut(line) for line in output], [cut(line) for line in reference])}


def word_bleu(output: Sequence[str], reference: Sequence[str]) -> dict[str, Any]:
    """Four-gram corpus BLEU on words as they stand, without smoothing: fairseq's BLEU4 and multi-bleu's."""
    from sacrebleu.metrics.bleu import BLEU

    metric = BLEU(tokenize="none", smooth_method="none", force=True)
    score = metric.corpus_score(list(output), [list(reference)])
    return {
        "bleu": score.score,
        "signature": metric.get_signature().format(),
        "detail": str(score),
        "reference_words": score.ref_len,
    }


# ---- tables


def report(results: list[dict[str, Any]]) -> str:
    """Scores by seed, and the curves."""
    parts = []
    for protocol in dict.fromkeys(r["protocol"] for r in results):
        runs = [r for r in results if r["protocol"] == protocol]
        measures = [m for m in ("cased", "lower") if m in runs[0]["test"]]
        titles = {"cased": "BLEU, cased 13a", "lower": "BLEU, lower-cased words"}
        header = [
            "seed",
            "minutes",
            "wall",
            "steps",
            "tokens",
            *(f"{s} {titles[m]}" for s in ("dev", "test") for m in measures),
        ]
        rows = [
            [
                str(r["seed"]),
                f"{r['minutes']:.1f}",
                f"{r['wall_minutes']:.1f}",
                f"{r['steps']:,}",
                f"{r['tokens'] / 1e6:.1f}M",
                *(f"{r[part][m]['bleu']:.2f}" for part in ("dev", "test") for m in measures),
            ]
            for r in runs
        ]
        if len(runs) > 1:
            means = [spread([r[part][m]["bleu"] for r in runs]) for part in ("dev", "test") for m in measures]
            rows.append(["mean ± s.d.", "", "", "", "", *means])
        parts.append(f"**Trained on {'lower-cased words' if protocol == 'lower' else 'cased text'}**\n")
        parts.append(harness.markdown_table(header, rows) + "\n")
        parts += [f"{titles[m]}: `{runs[0]['test'][m]['signature']}`\n" for m in measures]
        parts.append(curve(runs))
        words = {r["test"]["lower"]["reference_words"] for r in runs if "lower" in r["test"]}
        if words - {REFERENCE_WORDS}:
            parts.append(
                f"The reference has {words} words, the published one {REFERENCE_WORDS}: not the same protocol.\n"
            )
    return "\n".join(parts)


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation."""
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def curve(runs: list[dict[str, Any]]) -> str:
    """Validation BLEU against minutes, a column a seed; greedy search, the average of the weights."""
    points = max((r["curve"] for r in runs), key=len)
    header = ["minutes", *(f"{p['minutes']:.1f}" for p in points)]
    rows = [
        [f"validation BLEU, greedy, seed {r['seed']}", *(f"{p['valid_bleu']:.1f}" for p in r["curve"])]
        + [""] * (len(points) - len(r["curve"]))
        for r in runs
    ]
    return harness.markdown_table(header, rows) + "\n"


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="multi30k.py")
    harness.multi30k()  # an error there should not wait
    protocols = ("cased", "lower") if options.protocol == "both" else (options.protocol,)
    if "lower" in protocols:
        moses("de")
    machine = harness.machine()
    harness.warn_if_busy(machine)
    results: list[dict[str, Any]] = []
    for protocol in protocols:
        for seed in options.seeds.split(","):
            results.append(run(options, protocol, int(seed)))
            tests = {m: round(v["bleu"], 2) for m, v in results[-1]["test"].items() if m != "seconds"}
            say(f"{protocol}, seed {seed}: test {tests}")
            harness.write_json(options.json, {"machine": machine, "runs": results})
    print(report(results) + "\n" + harness.describe(machine))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except RegardError as error:
        say(str(error))
        sys.exit(1)

"""Decoding speed: Regard's PyTorch engine and Hugging Face ``generate`` on the same weights.

    python benchmarks/decoding.py                       both sizes, five rounds
    python benchmarks/decoding.py --sizes small --quick a minute, to see that it works

A model with random weights is written as a Regard folder and as a Hugging Face Marian folder; the logits of both must
agree to 1e-4 in fp32 before anything is timed. Sources have 25 pieces, and exactly 32 are produced: neither side can
end a sentence earlier. Of Hugging Face's settings (fp32 or bf16, one thread or all, SDPA or eager attention, dynamic or
static cache) the best ones are found first, for each case, and the better of the last two counts. Regard runs in fp32
and in its default precision, as it comes.
"""

import random
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import harness
import torch
from harness import Contender, ContenderError, Summary, say
from peers import hugging_face_generate
from peers.hugging_face_generate import Job, Setting
from peers.marian import write_marian

from regard.base.device import cpu_count
from regard.base.errors import RegardError
from regard.cli.arguments import parse
from regard.decode.engine import TorchEngine
from regard.decode.pack import choose_precision
from regard.decode.request import Options as SearchOptions
from regard.decode.request import Request
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_model, save_model

SOURCE_LENGTH = 25
LENGTH = 32
#: A round of one contender takes about this long, in at most ten calls.
ROUND_SECONDS = 1.0

SIZES = {
    "small": {"layers": 3, "d_model": 256, "d_ff": 1024, "num_heads": 4, "vocab_size": 8_000},
    "base": {"layers": 6, "d_model": 512, "d_ff": 2048, "num_heads": 8, "vocab_size": 32_000},
}


@dataclass(frozen=True)
class Options:
    """Measure milliseconds a call, interleaved."""

    sizes: str = "small,base"
    """Models: small (3+3 layers, d256, ff1024, 8k pieces), base (6+6, d512, ff2048, 32k)."""
    batches: str = "1,32"
    """Sentences in a call."""
    beams: str = "1,4"
    """Beam sizes; 1 is greedy."""
    rounds: int = 5
    """Times that each contender runs."""
    threads: int = 0
    """CPU threads, for Hugging Face the most to try; 0 for all cores."""
    quick: bool = False
    """One round of one call and fewer settings: shows that it works, not how fast it is."""
    json: str = ""
    """File for the results."""


def make_model(size: str) -> Transformer:
    """A model of Marian's shape with random weights, biases and norms."""
    shape = SIZES[size]
    config = ModelConfig(
        source_vocab_size=shape["vocab_size"],
        target_vocab_size=shape["vocab_size"],
        encoder_layers=shape["layers"],
        decoder_layers=shape["layers"],
        d_model=shape["d_model"],
        d_ff=shape["d_ff"],
        num_heads=shape["num_heads"],
        norm_position="post",
    )
    torch.manual_seed(11)
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:  # zeros and ones would hide a bias in the wrong place
                parameter += 0.1 * torch.randn_like(parameter)
    return model


def regard_contender(connection: Connection, folder: Path, threads: int) -> None:
    """Regard's PyTorch engine; a job's setting names the precision."""
    harness.prepare_process(threads)
    model, _ = load_model(folder)
    eos = model.config.eos_id
    engines = {
        "fp32": TorchEngine(model, device="cpu", precision="fp32", never=[eos]),
        "auto": TorchEngine(model, device="cpu", never=[eos]),
    }

    def run(job: Any) -> dict[str, Any]:
        options = SearchOptions(beam=job.beam, max_length=job.length)
        requests = [Request(source, options) for source in job.source]
        seconds, found = [], []
        for _ in range(job.calls):
            began = time.perf_counter()
            found = engines[job.setting].translate(requests)
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds, "outputs": [hypotheses[0].ids for hypotheses in found]}

    dtype = str(choose_precision("auto", torch.device("cpu"))).removeprefix("torch.")
    harness.answer(connection, {"default": dtype, "threads": threads}, run)


def checked(contender: Contender, job: Job) -> dict[str, Any]:
    """Run a job and see that it produced what it should.

    Raises:
        RegardError: an output has another length.
    """
    result = contender.ask(job)
    lengths = {len(output) for output in result["outputs"]}
    if lengths != {job.length} or len(result["outputs"]) != len(job.source):
        raise RegardError(f"{contender.name} ({job.setting}) produced {sorted(lengths)} pieces, not {job.length}.")
    return result


def best_settings(theirs: Contender, job: Job, threads: int, quick: bool) -> list[tuple[float, Setting]]:
    """Hugging Face's two best settings for a case, with their seconds a call."""
    tried: dict[Setting, float] = {}

    def attempt(setting: Setting) -> None:
        if setting in tried:
            return
        try:
            checked(theirs, replace(job, setting=setting, calls=1))  # warm-up
            timed = checked(theirs, replace(job, setting=setting, calls=1 if quick else 3))
        except ContenderError as error:
            raise RegardError(f"{setting}: {error}") from error
        tried[setting] = min(timed["seconds"])

    for dtype in ("float32", "bfloat16"):
        for number in sorted({1, threads}):
            attempt(Setting(dtype, number))
    best = min(tried, key=tried.__getitem__)
    if not quick:
        attempt(replace(best, cache="static"))
        best = min(tried, key=tried.__getitem__)
        attempt(replace(best, attention="eager"))
    return sorted(((seconds, setting) for setting, seconds in tried.items()), key=lambda item: item[0])[:2]


def measure(
    size: str, batch: int, beam: int, ours: Contender, theirs: Contender, options: Options, threads: int
) -> dict[str, Any]:
    """One case: seconds a call of every contender, by round."""
    draw = random.Random(1000 * batch + beam)
    vocab, eos = SIZES[size]["vocab_size"], 3
    source = [[*(draw.randrange(4, vocab) for _ in range(SOURCE_LENGTH - 1)), eos] for _ in range(batch)]
    job = Job(Setting("float32", threads), source, beam, LENGTH, calls=1)
    label = f"{size}, batch {batch}, " + ("greedy" if beam == 1 else f"beam {beam}")

    settings = best_settings(theirs, job, threads, options.quick)
    entries: dict[str, tuple[Contender, Job, float]] = {}
    for precision in ("fp32", "auto"):
        own = replace(job, setting=precision)  # type: ignore[arg-type]
        checked(ours, own)
        entries[f"regard {precision}"] = (ours, own, checked(ours, own)["seconds"][0])
    for seconds, setting in settings:
        entries[f"hugging face {setting}"] = (theirs, replace(job, setting=setting), seconds)

    rounds = 1 if options.quick else options.rounds
    times: dict[str, list[float]] = {name: [] for name in entries}
    names = list(entries)
    for number in range(rounds):
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            contender, its_job, seconds = entries[name]
            calls = 1 if options.quick else max(1, min(10, round(ROUND_SECONDS / seconds)))
            result = checked(contender, replace(its_job, calls=calls))
            times[name].append(1e3 * statistics.median(result["seconds"]))
    reference = checked(theirs, job)["outputs"]
    mine = checked(ours, entries["regard fp32"][1])["outputs"]
    same = sum(a == b for a, b in zip(mine, reference, strict=True)) / batch
    best = min((name for name in names if name.startswith("hugging")), key=lambda name: statistics.median(times[name]))
    say(f"{label}: " + "; ".join(f"{name} {Summary.of(values).text(1)} ms" for name, values in times.items()))
    return {
        "size": size,
        "batch": batch,
        "beam": beam,
        "label": label,
        "milliseconds": times,
        "hugging_face_best": best,
        "same_output_in_fp32": same,
    }


def report(cases: list[dict[str, Any]], default: str) -> str:
    """The table, as Markdown."""
    header = [
        "ms a call",
        "Hugging Face, best",
        "its setting",
        "Regard fp32",
        "×",
        f"Regard default ({default})",
        "×",
        "same output",
    ]
    rows = []
    for case in cases:
        times, best = case["milliseconds"], case["hugging_face_best"]
        row = [case["label"], Summary.of(times[best]).text(1), best.removeprefix("hugging face ")]
        for precision in ("fp32", "auto"):
            own = times[f"regard {precision}"]
            row += [Summary.of(own).text(1), f"{harness.ratio(times[best], own):.1f}"]
        rows.append([*row, f"{case['same_output_in_fp32']:.0%}"])
    return harness.markdown_table(header, rows)


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="decoding.py")
    sizes = [size.strip() for size in options.sizes.split(",")]
    if unknown := [size for size in sizes if size not in SIZES]:
        say(f"no size {', '.join(unknown)}; there are {', '.join(SIZES)}.")
        return 2
    threads = options.threads or cpu_count()
    machine = harness.machine()
    harness.warn_if_busy(machine)
    cases, default, difference = [], "", 0.0
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            regard_folder, marian_folder = Path(temporary, "regard"), Path(temporary, "marian")
            model = make_model(size)
            save_model(regard_folder, model.config, dict(model.named_parameters()), task={})
            write_marian(marian_folder, model, banned=True)
            ours = Contender("Regard", regard_contender, folder=regard_folder, threads=threads)
            theirs = harness.start(
                "Hugging Face",
                hugging_face_generate.contender,
                folder=marian_folder,
                regard_folder=regard_folder,
                threads=threads,
            )
            if theirs is None:
                ours.close()
                return 1
            default, difference = ours.info["default"], max(difference, theirs.info["logit_difference"])
            try:
                for batch in options.batches.split(","):
                    for beam in options.beams.split(","):
                        cases.append(measure(size, int(batch), int(beam), ours, theirs, options, threads))
            finally:
                ours.close()
                theirs.close()
    print(report(cases, default))
    print(
        f"\nMedians (lowest–highest) of {1 if options.quick else options.rounds} rounds; × is the median of the ratios."
    )
    print(f"Largest difference of the logits in fp32: {difference:.1e}.\n\n{harness.describe(machine)}")
    harness.write_json(options.json, {"machine": machine, "logit_difference": difference, "cases": cases})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except (RegardError, ContenderError) as error:
        say(str(error))
        sys.exit(1)

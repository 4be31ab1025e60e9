"""Decoding speed: Regard's two engines, CTranslate2 and Hugging Face ``generate`` on the same weights.

    python benchmarks/decoding.py                       all sizes, five rounds
    python benchmarks/decoding.py --sizes small --quick a minute, to see that it works

A model with random weights is written as a Regard folder and as a Hugging Face Marian folder; the logits of both must
agree to 1e-4 in fp32 before anything is timed. Sources have 25 pieces, and exactly 32 are produced: no side can end a
sentence earlier. The shipped model translates lines of natural length instead (``--text``), beside CTranslate2 only.
Of Hugging Face's settings (fp32 or bf16, one thread or all, SDPA or eager attention, dynamic or static cache) and of
CTranslate2's (int8 or float32, threads within and between sentences) the best ones are found first, for each case, and
the better of the last two counts. Regard runs as it comes: the native engine in int8 and in fp32, the PyTorch engine in
its default precision.
"""

import random
import statistics
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
from peers import ctranslate2_translator, hugging_face_generate
from peers.hugging_face_generate import Job, Setting
from peers.marian import write_marian

from regard.base.device import cpu_count
from regard.base.errors import RegardError
from regard.cli.arguments import parse
from regard.decode import NativeEngine, TorchEngine
from regard.decode.request import Options as SearchOptions
from regard.decode.request import Request
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_model, save_model
from regard.tasks.translation import shipped_model
from regard.tasks.vocabulary import load_tokenizers, tag_of

SOURCE_LENGTH = 25
LENGTH = 32
#: A round of one contender takes about this long, in at most ten calls.
ROUND_SECONDS = 1.0
OURS = ("native int8", "native fp32", "PyTorch")

SIZES = {
    "small": {"layers": 3, "d_model": 256, "d_ff": 1024, "num_heads": 4, "vocab_size": 8_000},
    "base": {"layers": 6, "d_model": 512, "d_ff": 2048, "num_heads": 8, "vocab_size": 32_000},
}
#: What the shipped model translates unless there is a file of other lines.
TEXT = (
    "I have not seen him since the end of last summer.",
    "The train was late again, so we walked home along the river.",
    "Could you tell me where I can buy fresh bread on a Sunday?",
    "She laughed.",
    "Nobody in the village remembered who had built the old bridge, but everybody had a story about it.",
    "My brother wants to learn Chinese before he travels to Beijing.",
    "It rained.",
    "If you leave the window open at night, the cat comes in and sleeps on the piano.",
)


@dataclass(frozen=True)
class Options:
    """Measure milliseconds a call, interleaved."""

    sizes: str = "shipped,small,base"
    """Models: shipped (the one in the package), small (3+3 layers, d256, ff1024, 8k pieces), base (6+6, d512, 32k)."""
    batches: str = "1,32"
    """Sentences in a call."""
    beams: str = "1,4"
    """Beam sizes; 1 is greedy."""
    rounds: int = 5
    """Times that each contender runs."""
    threads: int = 0
    """CPU threads, for the peers the most to try; 0 for all cores."""
    only: str = "hugging face,ctranslate2"
    """Peers to measure."""
    text: str = ""
    """English lines for the shipped model; a few of our own by default."""
    quick: bool = False
    """One round of one call and fewer settings: shows that it works, not how fast it is."""
    json: str = ""
    """File for the results."""


@dataclass
class Case:
    """A model on disk, its contenders, and what they translate."""

    size: str
    ours: Contender
    peers: dict[str, Contender]
    sentences: list[list[int]]
    length: int
    """Pieces that come out; 0 for as many as it takes."""


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
    """Both of Regard's engines; a job's setting names one of ``OURS``."""
    harness.prepare_process(threads)
    model, task = load_model(folder)
    never = {1} if task else {model.config.eos_id}
    if task:
        never |= set(load_tokenizers(folder)[1].never)
    engines = {
        "native int8": NativeEngine.from_folder(folder, precision="int8", threads=threads, never=never),
        "native fp32": NativeEngine.from_folder(folder, precision="fp32", threads=threads, never=never),
        "PyTorch": TorchEngine(model, device="cpu", never=never),
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

    harness.answer(connection, {"threads": threads}, run)


def checked(contender: Contender, job: Any) -> dict[str, Any]:
    """Run a job and see that it produced what it should.

    Raises:
        RegardError: an output has another length.
    """
    result = contender.ask(job)
    lengths = {len(output) for output in result["outputs"]}
    if len(result["outputs"]) != len(job.source) or (job.length and lengths != {job.length}):
        raise RegardError(f"{contender.name} ({job.setting}) produced {sorted(lengths)} pieces, not {job.length}.")
    return result


def best_settings(name: str, peer: Contender, job: Any, threads: int, quick: bool) -> list[tuple[float, Any]]:
    """A peer's two best settings for a case, with their seconds a call."""
    tried: dict[Any, float] = {}

    def attempt(setting: Any) -> None:
        if setting in tried:
            return
        try:
            checked(peer, replace(job, setting=setting, calls=1))  # warm-up
            timed = checked(peer, replace(job, setting=setting, calls=1 if quick else 3))
        except ContenderError as error:
            raise RegardError(f"{setting}: {error}") from error
        tried[setting] = min(timed["seconds"])

    if name == "ctranslate2":
        for setting in ctranslate2_translator.settings(len(job.source), threads):
            attempt(setting)
    else:
        for dtype in ("float32", "bfloat16"):
            for number in sorted({1, threads}):
                attempt(Setting(dtype, number))
        if not quick:
            attempt(replace(min(tried, key=tried.__getitem__), cache="static"))
            attempt(replace(min(tried, key=tried.__getitem__), attention="eager"))
    return sorted(((seconds, setting) for setting, seconds in tried.items()), key=lambda item: item[0])[:2]


def measure(case: Case, batch: int, beam: int, options: Options, threads: int) -> dict[str, Any]:
    """Seconds a call of every contender, by round."""
    source = case.sentences[:batch]
    label = f"{case.size}, batch {batch}, " + ("greedy" if beam == 1 else f"beam {beam}")
    job = Job("native int8", source, beam, case.length, calls=1)  # type: ignore[arg-type]
    entries: dict[str, tuple[Contender, Any, float]] = {}
    for name in OURS:
        own = replace(job, setting=name)  # type: ignore[arg-type]
        checked(case.ours, own)
        entries[name] = (case.ours, own, checked(case.ours, own)["seconds"][0])
    for name, peer in case.peers.items():
        for seconds, setting in best_settings(name, peer, job, threads, options.quick):
            entries[f"{name}: {setting}"] = (peer, replace(job, setting=setting), seconds)

    times: dict[str, list[float]] = {name: [] for name in entries}
    outputs: dict[str, list[list[int]]] = {}
    names = list(entries)
    for number in range(1 if options.quick else options.rounds):
        for name in [*names[number % len(names) :], *names[: number % len(names)]]:
            contender, its_job, seconds = entries[name]
            calls = 1 if options.quick else max(1, min(10, round(ROUND_SECONDS / seconds)))
            result = checked(contender, replace(its_job, calls=calls))
            times[name].append(1e3 * statistics.median(result["seconds"]))
            outputs[name] = result["outputs"]
    say(f"{label}: " + "; ".join(f"{name} {Summary.of(values).text(1)} ms" for name, values in times.items()))
    best = {
        peer: min((n for n in names if n.startswith(peer)), key=lambda name: statistics.median(times[name]))
        for peer in case.peers
    }
    return {"label": label, "milliseconds": times, "best": best, "outputs": outputs}


def report(cases: list[dict[str, Any]], peers: Sequence[str]) -> str:
    """The table, as Markdown: milliseconds a call, and how many times faster the native engine in int8 is."""
    header = ["ms a call", *OURS]
    for peer in peers:
        header += [f"{peer}, best", "its setting", "×"]
    rows = []
    for case in cases:
        times = case["milliseconds"]
        row = [case["label"], *(Summary.of(times[name]).text(1) for name in OURS)]
        for peer in peers:
            name = case["best"].get(peer)
            if name is None:
                row += ["", "", ""]
                continue
            factor = harness.ratio(times[name], times["native int8"])
            row += [Summary.of(times[name]).text(1), name.partition(": ")[2], f"{factor:.1f}"]
        rows.append(row)
    return harness.markdown_table(header, rows)


def open_case(size: str, folder: Path, options: Options, threads: int) -> tuple[Case, float]:
    """Write the model of ``size`` below ``folder`` and start its contenders; with the largest difference of logits."""
    wanted = [name.strip() for name in options.only.split(",")]
    peers: dict[str, Contender | None] = {}
    difference = 0.0
    if size == "shipped":
        model_folder, length = shipped_model(), 0
        tokenizer, _ = load_tokenizers(model_folder)
        lines = Path(options.text).read_text(encoding="utf-8").splitlines() if options.text else list(TEXT)
        tag, eos = tokenizer.tag_id(tag_of("de")), tokenizer.eos_id
        random.Random(7).shuffle(lines)
        sentences = [[tag, *tokenizer.encode(line), eos] for line in lines if line]
        marian = None
    else:
        model_folder, marian, length = folder / "regard", folder / "marian", LENGTH
        model = make_model(size)
        eos = model.config.eos_id
        save_model(model_folder, model.config, dict(model.named_parameters()), task={})
        write_marian(marian, model, banned=True)
        draw = random.Random(1000)
        vocab = SIZES[size]["vocab_size"]
        sentences = [[*(draw.randrange(4, vocab) for _ in range(SOURCE_LENGTH - 1)), eos] for _ in range(256)]
    ours = Contender("Regard", regard_contender, folder=model_folder, threads=threads)
    if "hugging face" in wanted and marian is not None:
        theirs = harness.start(
            "hugging face",
            hugging_face_generate.contender,
            folder=marian,
            regard_folder=model_folder,
            threads=threads,
        )
        peers["hugging face"] = theirs
        difference = theirs.info["logit_difference"] if theirs else 0.0
    if "ctranslate2" in wanted:
        kind, where = ("marian", marian) if marian is not None else ("regard", model_folder)
        peers["ctranslate2"] = harness.start(
            "ctranslate2", ctranslate2_translator.contender, folder=where, kind=kind, eos=eos
        )
    found = {name: peer for name, peer in peers.items() if peer is not None}
    while len(sentences) < max(int(batch) for batch in options.batches.split(",")):
        sentences += sentences
    return Case(size, ours, found, sentences, length), difference


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="decoding.py")
    sizes = [size.strip() for size in options.sizes.split(",")]
    if unknown := [size for size in sizes if size not in ("shipped", *SIZES)]:
        say(f"no size {', '.join(unknown)}; there are shipped, {', '.join(SIZES)}.")
        return 2
    threads = options.threads or cpu_count()
    machine = harness.machine()
    harness.warn_if_busy(machine)
    cases, difference = [], 0.0
    for size in sizes:
        with tempfile.TemporaryDirectory() as temporary:
            case, apart = open_case(size, Path(temporary), options, threads)
            difference = max(difference, apart)
            try:
                for batch in options.batches.split(","):
                    for beam in options.beams.split(","):
                        cases.append(measure(case, int(batch), int(beam), options, threads))
            finally:
                for contender in (case.ours, *case.peers.values()):
                    contender.close()
    peers = [name for name in ("hugging face", "ctranslate2") if any(name in case["best"] for case in cases)]
    print(report(cases, peers))
    print(
        f"\nMedians (lowest–highest) of {1 if options.quick else options.rounds} rounds; × is the median of the ratios "
        "to the native engine in int8."
    )
    print(f"Largest difference of the logits in fp32: {difference:.1e}.\n\n{harness.describe(machine)}")
    harness.write_json(options.json, {"machine": machine, "logit_difference": difference, "cases": cases})
    return 0


if __name__ == "__main__":
    harness.run(main)

"""Attention forward and backward: milliseconds and peak memory of Regard and its peers on the same problem.

    python benchmarks/attention.py                 lengths 256, 1024 and 4096, fp32 and bf16: ten minutes
    python benchmarks/attention.py --quick         a minute, to see that it works
    python benchmarks/attention.py --dispatch      which of Regard's kernels is faster where: what measured.py knows

Eight heads of 64, causal, eight rows (two at length 4096). The first part compares kernels on queries, keys and values
alone; the second whole modules, with the four projections. Times are the processor's, where there is one thread: they
mean something beside other work, too. Peak memory is what a call adds to the process at most. Each case is printed as
soon as it was measured, the tables at the end.
"""

import ctypes
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import harness
from harness import Contender, Summary, say

from regard.base.errors import RegardError
from regard.cli.arguments import parse

HEADS, WIDTH = 8, 64
WINDOW = 128
#: Seconds that a measurement takes at least: short calls are made several times.
SHORTEST = 0.1
Job = tuple[int, int, str]
"""Rows, length, type."""
Prepare = Callable[[Job], Callable[[], Any]]
"""From a job to the work to be measured."""


@dataclass(frozen=True)
class Options:
    """Measure attention forward and backward, interleaved."""

    lengths: str = "256,1024,4096"
    """Lengths, separated by commas."""
    types: str = "float32,bfloat16"
    """Types, separated by commas."""
    rounds: int = 5
    """Times that each contender runs; at lengths above 1024, three at most."""
    only: str = ""
    """Parts of the names of contenders, separated by commas; all by default."""
    quick: bool = False
    """Two rounds of short rows: shows that it works, not how fast it is."""
    threads: int = 1
    """CPU threads of every contender."""
    dispatch: bool = False
    """Compare Regard's own kernels with one another instead."""
    json: str = ""
    """File for the results."""


def rows_of(length: int) -> int:
    """How many rows a problem of this length has."""
    return 8 if length <= 1024 else 2


# ---- what is measured


def bare(function: Callable[..., Any], *, backward: bool = True) -> Prepare:
    """A function of query, key and value; forward and backward, or forward alone."""
    import torch

    def prepare(job: Job) -> Callable[[], Any]:
        rows, length, dtype = job
        made = [torch.randn(rows, HEADS, length, WIDTH, dtype=getattr(torch, dtype)) for _ in range(3)]
        if not backward:
            return lambda: function(*made)
        given, probe = [t.requires_grad_() for t in made], torch.randn_like(made[0])
        return lambda: torch.autograd.grad(function(*given), given, probe)

    return prepare


def whole(make: Callable[[], Any], call: Callable[[Any, Any], Any]) -> Prepare:
    """A module on B×T×D; forward and backward to its input and its weights."""
    import torch

    def prepare(job: Job) -> Callable[[], Any]:
        rows, length, dtype = job
        module = make().to(getattr(torch, dtype))
        x = torch.randn(rows, length, HEADS * WIDTH, dtype=getattr(torch, dtype), requires_grad=True)
        probe, learned = torch.randn_like(x), [x, *module.parameters()]
        return lambda: torch.autograd.grad(call(module, x), learned, probe, allow_unused=True)

    return prepare


def naive(query: Any, key: Any, value: Any) -> Any:
    """The textbook's: two products around a softmax, and a mask of -inf."""
    import torch

    future = torch.ones(query.shape[2], key.shape[2], dtype=torch.bool).triu(1)
    scores = (query * WIDTH**-0.5 @ key.mT).masked_fill(future, float("-inf"))
    return scores.softmax(-1) @ value


def in_module(implementation: str) -> Prepare:
    """``nn.MultiheadAttention`` and x-transformers."""
    import torch
    from torch import nn

    width = HEADS * WIDTH
    if implementation.startswith("nn.MultiheadAttention"):
        weights = implementation.endswith("with weights")

        def call(module: nn.MultiheadAttention, x: torch.Tensor) -> torch.Tensor:
            future = nn.Transformer.generate_square_subsequent_mask(x.shape[1], dtype=x.dtype)
            return module(x, x, x, attn_mask=future, is_causal=True, need_weights=weights)[0]

        return whole(lambda: nn.MultiheadAttention(width, HEADS, batch_first=True), call)
    from x_transformers.x_transformers import Attention

    flash = implementation.endswith("flash")
    return whole(
        lambda: Attention(width, dim_head=WIDTH, heads=HEADS, causal=True, flash=flash), lambda module, x: module(x)
    )


def ours(what: str) -> Prepare:
    """Regard: a kernel by name, or multi-head attention, plain or looked at."""
    from regard.attention import Mask, MultiHeadAttention, attend, record
    from regard.base.kernels import training_kernels

    def rule() -> Mask:
        causal = Mask.causal()
        return causal & Mask.window(WINDOW, 0) if "window" in what else causal

    if what.startswith("kernel"):
        name: Any = what.split()[1].strip(",")
        if name == "tiled" and training_kernels() is None:
            raise RegardError("the tiled kernel was not built, or is not for this processor")
        return bare(lambda q, k, v: attend(q, k, v, rule(), kernel=name), backward="forward" not in what)

    def call(module: Any, x: Any) -> Any:
        if "looked at" not in what:
            return module(x, mask=rule())
        with record(module) as seen:
            output = module(x, mask=rule())
        seen[""].weights(rows=0, heads=0, differentiable=False)
        return output

    return whole(lambda: MultiHeadAttention(HEADS * WIDTH, HEADS), call)


def sdpa(query: Any, key: Any, value: Any) -> Any:
    """PyTorch's fused kernel alone."""
    from torch.nn.functional import scaled_dot_product_attention

    return scaled_dot_product_attention(query, key, value, is_causal=True)


PARTS: dict[str, dict[str, Callable[[], Prepare]]] = {
    "Kernels": {
        "Regard": lambda: ours("kernel auto"),
        f"Regard, window {WINDOW}": lambda: ours("kernel auto window"),
        "SDPA": lambda: bare(sdpa),
        "matmul, softmax, matmul": lambda: bare(naive),
    },
    "Modules": {
        "Regard": lambda: ours("module"),
        f"Regard, window {WINDOW}": lambda: ours("module, window"),
        "Regard, a head looked at": lambda: ours("module, looked at"),
        "nn.MultiheadAttention": lambda: in_module("nn.MultiheadAttention"),
        "nn.MultiheadAttention, with weights": lambda: in_module("nn.MultiheadAttention, with weights"),
        "x-transformers": lambda: in_module("x-transformers"),
        "x-transformers, flash": lambda: in_module("x-transformers, flash"),
    },
}
#: Regard's kernels by what they are asked for.
KERNELS: dict[str, Callable[[], Prepare]] = {
    f"{name}{what}": (lambda name=name, what=what: ours(f"kernel {name}{what}"))
    for what, names in {
        "": ("explicit", "sdpa", "tiled"),
        ", forward": ("explicit", "sdpa", "tiled"),
        ", window": ("sdpa", "blocked", "tiled"),
    }.items()
    for name in names
}


def contender(connection: Connection, threads: int, part: str, entry: str) -> None:
    """Answers a job with milliseconds, and with MiB when it comes for the first time."""
    harness.prepare_process(threads)
    import torch

    prepare = (KERNELS if part == "dispatch" else PARTS[part])[entry]()
    clock = time.process_time if threads == 1 else time.perf_counter
    last: tuple[Job, Callable[[], Any]] | None = None

    def run(job: Job) -> tuple[float, float]:
        nonlocal last
        size = float("nan")
        if last is None or last[0] != job:
            torch.manual_seed(0)
            last = None  # what it holds is freed first
            last = job, prepare(job)
            last[1]()  # what is made once is made here
            give_back_freed_memory()  # else the call would live on what the one before it has freed
            before = resident("VmRSS", reset=True)
            last[1]()
            size = resident("VmHWM") - before
        began, calls = clock(), 0
        while clock() - began < SHORTEST or not calls:
            last[1]()
            calls += 1
        return 1e3 * (clock() - began) / calls, size

    harness.answer(connection, {"threads": threads}, run)


def give_back_freed_memory() -> None:
    """Hand what was freed back to the system, where the C library can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def resident(field: str, *, reset: bool = False) -> float:
    """Memory of this process in MiB, now (VmRSS) or at most since the last reset (VmHWM); nan where not known."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        return float("nan")
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))


# ---- rounds and tables


def compare(part: str, names: Sequence[str], jobs: Sequence[Job], options: Options) -> dict[str, dict[str, Any]]:
    """Milliseconds and MiB of each contender, by job."""
    wanted = [text.strip() for text in options.only.split(",") if text.strip()]
    chosen = [name for name in names if not wanted or any(text in name for text in wanted)]
    started = [harness.start(name, contender, threads=options.threads, part=part, entry=name) for name in chosen]
    contenders: list[Contender] = [one for one in started if one is not None]
    found: dict[str, dict[str, Any]] = {one.name: {} for one in contenders}
    try:
        for job in jobs if contenders else ():
            rounds = options.rounds if job[1] <= 1024 else min(3, options.rounds)
            for name, answers in harness.take_turns(contenders, [job] * rounds).items():
                times, sizes = zip(*answers, strict=True)
                found[name][key(job)] = {"ms": times, "MiB": sizes[:1]}
            measured = ", ".join(f"{name} {Summary.of(found[name][key(job)]['ms']).text(1)}" for name in found)
            say(f"{part}, {job[0]} rows of {key(job)}, ms: {measured}")
    finally:
        for one in contenders:
            one.close()
    return found


def key(job: Job) -> str:
    return f"{job[1]} {'fp32' if job[2] == 'float32' else 'bf16'}"


def table(found: dict[str, dict[str, Any]], jobs: Sequence[Job], field: str) -> str:
    """Medians, a row for each contender."""
    rows = [
        [name, *(f"{Summary.of(answers[key(job)][field]).median:,.0f}" for job in jobs)]
        for name, answers in found.items()
    ]
    return harness.markdown_table([field, *(key(job) for job in jobs)], rows)


def ratios(found: dict[str, dict[str, Any]], jobs: Sequence[Job]) -> str:
    """Time of the best of the others over Regard's, who that is, and the times of Regard's own variants over it."""
    own = [name for name in found if name.startswith("Regard")]
    others = [name for name in found if name not in own]
    if "Regard" not in own or not others:
        return ""
    titles = ["best of the others / Regard", "who that is", *(f"{name} / Regard" for name in own[1:])]
    rows = {title: [title] for title in titles}
    for job in jobs:
        times = {name: found[name][key(job)]["ms"] for name in found}
        best = min(others, key=lambda name: Summary.of(times[name]).median)
        rows["best of the others / Regard"].append(f"{harness.ratio(times[best], times['Regard']):.2f}")
        rows["who that is"].append(best)
        for name in own[1:]:
            rows[f"{name} / Regard"].append(f"{harness.ratio(times[name], times['Regard']):.2f}")
    return "\n\n" + harness.markdown_table(["", *(key(job) for job in jobs)], list(rows.values()))


def limits(found: dict[str, dict[str, Any]], jobs: Sequence[Job]) -> str:
    """The measured entry for ``regard.attention.measured.TABLE``."""

    def faster(one: str, other: str, dtype: str) -> list[tuple[int, bool]]:
        return [
            (job[1], harness.ratio(found[one][key(job)]["ms"], found[other][key(job)]["ms"]) < 1)
            for job in jobs
            if job[2] == dtype and one in found and other in found
        ]

    lines = []
    for dtype in dict.fromkeys(job[2] for job in jobs):
        explicit = [length for length, wins in faster("explicit", "sdpa", dtype) if wins]
        trained = [length for length, wins in faster("tiled", "sdpa", dtype) if wins]
        tiled = [length for length, wins in faster("tiled, forward", "sdpa, forward", dtype) if wins]
        blocked = [length for length, wins in faster("blocked, window", "sdpa, window", dtype) if wins]
        lines.append(
            f"torch.{dtype}: Limits(explicit_training={max(explicit, default=0)}, "
            f"tiled_training={min(trained, default='never')}, "
            f"tiled_queries={min(tiled, default='never')}), blocks pay from {min(blocked, default='never')} keys on"
        )
    return "\n".join(lines)


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="attention.py")
    lengths = [256, 512] if options.quick else [int(text) for text in options.lengths.split(",")]
    if options.dispatch and not options.quick:
        lengths = [16, 32, 64, 128, 256, 512, 1024, 2048]
    rounds = 2 if options.quick else options.rounds
    options = Options(**{**vars(options), "rounds": rounds})
    jobs = [(rows_of(length), length, dtype.strip()) for dtype in options.types.split(",") for length in lengths]
    machine = harness.machine()
    harness.warn_if_busy(machine)
    parts = {"dispatch": KERNELS} if options.dispatch else PARTS
    results = {part: compare(part, list(names), jobs, options) for part, names in parts.items()}
    for part, found in results.items():
        if not found:
            continue
        print(f"**{part}**\n\n{table(found, jobs, 'ms')}{ratios(found, jobs)}\n\n{table(found, jobs, 'MiB')}\n")
        if options.dispatch:
            print(limits(found, jobs) + "\n")
    print(harness.describe(machine))
    harness.write_json(options.json, {"machine": machine, "results": results})
    return 0


if __name__ == "__main__":
    harness.run(main)

"""Attention forward and backward: milliseconds and peak memory of Regard and its peers on the same problem.

    python benchmarks/attention.py                 lengths 256, 1024 and 4096, fp32 and bf16, five rounds
    python benchmarks/attention.py --quick         a minute, to see that it works
    python benchmarks/attention.py --dispatch      which of Regard's kernels is faster where: what dispatch.py knows

Eight heads of 64, causal, eight rows (two at length 4096). The first part compares kernels on queries, keys and values
alone; the second whole modules, with the four projections. Peak memory is what a call adds to the process at most.
"""

import ctypes
import sys
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
Job = tuple[int, int, str]
"""Rows, length, type."""


@dataclass(frozen=True)
class Options:
    """Measure attention forward and backward, interleaved."""

    lengths: str = "256,1024,4096"
    """Lengths, separated by commas."""
    types: str = "float32,bfloat16"
    """Types, separated by commas."""
    rounds: int = 5
    """Times that each contender runs."""
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


def bare(function: Callable[..., Any]) -> Callable[[Job], Callable[[], Any]]:
    """A function of query, key and value; forward and backward."""
    import torch

    def prepare(job: Job) -> Callable[[], Any]:
        rows, length, dtype = job
        made = [torch.randn(rows, HEADS, length, WIDTH, dtype=getattr(torch, dtype)) for _ in range(3)]
        given, probe = [t.requires_grad_() for t in made], torch.randn_like(made[0])
        return lambda: torch.autograd.grad(function(*given), given, probe)

    return prepare


def whole(make: Callable[[], Any], call: Callable[[Any, Any], Any]) -> Callable[[Job], Callable[[], Any]]:
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


def in_module(implementation: str) -> Callable[[Job], Callable[[], Any]]:
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


def ours(what: str) -> Callable[[Job], Callable[[], Any]]:
    """Regard: a kernel by name, or multi-head attention, plain or looked at."""
    from regard.attention import Mask, MultiHeadAttention, attend, record

    def rule() -> Mask:
        causal = Mask.causal()
        return causal & Mask.window(WINDOW, 0) if "window" in what else causal

    if what.startswith("kernel"):
        name: Any = what.split()[1]
        return bare(lambda q, k, v: attend(q, k, v, rule(), kernel=name))

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


PARTS: dict[str, dict[str, Callable[[], Callable[[Job], Callable[[], Any]]]]] = {
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
KERNELS: dict[str, Callable[[], Callable[[Job], Callable[[], Any]]]] = {
    **{name: (lambda name=name: ours(f"kernel {name}")) for name in ("explicit", "sdpa")},
    **{f"{name}, window": (lambda name=name: ours(f"kernel {name} window")) for name in ("sdpa", "blocked")},
}


def contender(connection: Connection, threads: int, part: str, entry: str) -> None:
    """Answers a job with milliseconds and MiB."""
    harness.prepare_process(threads)
    import torch

    prepare = (KERNELS if part == "dispatch" else PARTS[part])[entry]()

    def run(job: Job) -> tuple[float, float]:
        torch.manual_seed(0)
        work = prepare(job)
        work()  # what is made once is made here
        began = time.perf_counter()
        work()
        elapsed = time.perf_counter() - began
        give_back_freed_memory()  # else the call would live on what the one before it has freed
        before = resident("VmRSS", reset=True)
        work()
        return 1e3 * elapsed, resident("VmHWM") - before

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
    found: dict[str, dict[str, Any]] = {}
    try:
        for job in jobs if contenders else ():
            say(f"{part}: {job[0]} rows of {job[1]} in {job[2]}")
            for name, answers in harness.take_turns(contenders, [job] * options.rounds).items():
                times, sizes = zip(*answers, strict=True)
                found.setdefault(name, {})[key(job)] = {"ms": times, "MiB": sizes}
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


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="attention.py")
    lengths = [256, 512] if options.quick else [int(text) for text in options.lengths.split(",")]
    if options.dispatch and not options.quick:
        lengths = [32, 64, 128, 256, 512, 1024, 2048]
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
        print(f"**{part}**\n\n{table(found, jobs, 'ms')}\n\n{table(found, jobs, 'MiB')}\n")
    print(harness.describe(machine))
    harness.write_json(options.json, {"machine": machine, "results": results})
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except RegardError as error:
        say(str(error))
        sys.exit(1)

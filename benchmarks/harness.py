"""What the benchmarks share: contenders taken in turns, medians, and tables that name the machine.

Each contender lives in a process of its own, so that neither its memory nor its library's settings touch the
others, and stays alive for the whole run. A round asks each of them for the same work once; the order turns from
round to round. So the clock speed, the temperature and the neighbours of the machine drift over all contenders alike,
and the ratio of two contenders is the median of their ratios within the rounds.
"""

import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NoReturn

from regard.base.device import cpu_count, cpu_flags, cpu_name
from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic

#: Where the benchmarks keep what they prepare; the project's cache folder is not under version control.
WORK = Path(__file__).resolve().parents[1] / ".cache" / "benchmarks"
PEERS = ("transformers", "ctranslate2", "accelerate", "joeynmt", "sacremoses", "x-transformers")
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "bf16", "asimddp")


def data() -> Path:
    """The folder of all corpora.

    Raises:
        ConfigError: REGARD_DATA does not name one.
    """
    root = os.environ.get("REGARD_DATA", "")
    if not root or not Path(root).is_dir():
        raise ConfigError("set the environment variable REGARD_DATA to the folder of the corpora.")
    return Path(root)


def multi30k() -> Path:
    """The folder of Multi30k: train, dev and test, each with one plain file a language.

    Raises:
        ConfigError: it is not where REGARD_DATA says.
    """
    root = os.environ.get("REGARD_DATA", "")
    folder = Path(root) / "multi30k"
    if not root or not (folder / "train" / "train.en").exists():
        raise ConfigError(
            "set the environment variable REGARD_DATA to a folder that holds multi30k/train/train.en and .de, "
            "multi30k/dev/val.* and multi30k/test/test_2016_flickr.* (github.com/multi30k/dataset, data/task1/raw)."
        )
    return folder


# ---- contenders in processes of their own


class ContenderError(Exception):
    """A contender could not start, or broke; the message ends with its traceback."""


@dataclass(frozen=True)
class _Failure:
    text: str


def prepare_process(threads: int) -> None:
    """Give every contender what Regard gives itself: threads, flushed denormals, freed memory kept."""
    import torch

    from regard.base.device import keep_freed_memory

    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    keep_freed_memory()


def answer(connection: Connection, info: Mapping[str, Any], run: Callable[[Any], Any]) -> None:
    """Serve a benchmark from a contender's process: say ``info``, then run the jobs that come until None does."""
    connection.send(dict(info))
    while (job := connection.recv()) is not None:
        connection.send(run(job))


def _main(connection: Connection, function: Callable[..., None], settings: dict[str, Any]) -> None:
    os.dup2(2, 1)  # standard output is for the tables, whatever a peer has to say
    try:
        function(connection, **settings)
    except KeyboardInterrupt:
        pass
    except BaseException:
        connection.send(_Failure(traceback.format_exc()))


class Contender:
    """A process that answers jobs; ``info`` is what it said of itself when it was ready."""

    def __init__(self, name: str, function: Callable[..., None], **settings: Any):
        """Start ``function(connection, **settings)``, which must call :func:`answer`, and wait until it is ready.

        Raises:
            ContenderError: it did not come that far.
        """
        self.name = name
        context = multiprocessing.get_context("spawn")  # fork would copy PyTorch's thread pool in a broken state
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_main, args=(theirs, function, settings), daemon=True, name=name)
        self._process.start()
        theirs.close()
        self.info: dict[str, Any] = self._receive()

    def ask(self, job: Any) -> Any:
        """Run one job and return its result.

        Raises:
            ContenderError: it broke.
        """
        self._connection.send(job)
        return self._receive()

    def close(self) -> None:
        """End the process."""
        try:
            self._connection.send(None)
            self._process.join(timeout=20)
        except OSError:
            pass
        if self._process.is_alive():
            self._process.terminate()
            self._process.join()

    def _receive(self) -> Any:
        try:
            reply = self._connection.recv()
        except EOFError as error:
            self._process.join()
            raise ContenderError(f"{self.name} died (exit code {self._process.exitcode}).") from error
        if isinstance(reply, _Failure):
            raise ContenderError(f"{self.name} failed:\n{reply.text}")
        return reply


def start(name: str, function: Callable[..., None], **settings: Any) -> Contender | None:
    """A contender, or None, with the reason on standard error, where it cannot start (a peer that is not installed)."""
    began = time.perf_counter()
    try:
        contender = Contender(name, function, **settings)
    except ContenderError as error:
        say(f"without {name}: {str(error).strip().splitlines()[-1]}")
        if os.environ.get("REGARD_DEBUG"):
            say(str(error))
        return None
    say(f"{name} is ready after {time.perf_counter() - began:.0f} s: {contender.info}")
    return contender


def take_turns(contenders: Sequence[Contender], jobs: Sequence[Any]) -> dict[str, list[Any]]:
    """Each job is a round: every contender runs it once, and another one begins each time. Results by name."""
    results: dict[str, list[Any]] = {contender.name: [] for contender in contenders}
    for number, job in enumerate(jobs):
        first = number % len(contenders)
        for contender in [*contenders[first:], *contenders[:first]]:
            results[contender.name].append(contender.ask(job))
    return results


# ---- the machine's limit


def matmul_contender(connection: Connection, threads: int, size: int = 2048) -> None:
    """Multiplies square matrices; a job names the dtype and is answered with GFLOP/s, the best of a few."""
    prepare_process(threads)
    import torch

    def run(dtype: str) -> float:
        a = torch.randn(size, size).to(getattr(torch, dtype))
        b = torch.randn(size, size).to(getattr(torch, dtype))
        best = float("inf")
        for _ in range(6):
            began = time.perf_counter()
            torch.mm(a, b)
            best = min(best, time.perf_counter() - began)
        return 2 * size**3 / best / 1e9

    answer(connection, {"size": size}, run)


# ---- numbers and tables


@dataclass(frozen=True)
class Summary:
    """The median of some measurements and how far they spread."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Summary":
        """Summarise at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 0) -> str:
        """``median (low–high)``."""
        return f"{self.median:,.{digits}f} ({self.low:,.{digits}f}–{self.high:,.{digits}f})"


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median over the rounds of ours / theirs."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; columns after the first are aligned to the right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|---:" * (len(header) - 1) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])


def machine() -> dict[str, Any]:
    """What a figure must be read with: processor, cores, instruction sets, versions, command."""
    versions = {"python": platform.python_version()}
    for package in ("regard", "torch", "sacrebleu", *PEERS):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": cpu_name(),
        "cores": cpu_count(),
        "instruction_sets": [flag for flag in FLAGS if flag in cpu_flags()],
        "memory_gib": round(_memory_gib(), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "load_at_start": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "versions": versions,
        "command": " ".join(["python", *sys.orig_argv[1:]]),
    }


def describe(values: Mapping[str, Any]) -> str:
    """The machine as the two lines under a table."""
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    return (
        f"{values['cores']} cores of {values['processor']} ({', '.join(values['instruction_sets'])}), "
        f"{values['memory_gib']} GiB, {values['system']}; {versions}.\n`{values['command']}`"
    )


def warn_if_busy(values: Mapping[str, Any]) -> None:
    """Say so where something else runs: it would be measured along."""
    if (values["load_at_start"] or 0) > 0.5:
        say(f"warning: the machine is busy (load {values['load_at_start']}); these figures will not be worth quoting.")


def write_json(path: str, results: Mapping[str, Any]) -> None:
    """Write the results where ``--json`` says, if it says anything."""
    if path:
        write_atomic(path, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        say(f"results in {path}")


def run(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a benchmark with the arguments of the command line; an error is one line and status 1."""
    try:
        sys.exit(main(sys.argv[1:]))
    except (RegardError, ContenderError) as error:
        say(str(error))
        sys.exit(1)


def say(text: str) -> None:
    """Progress, apart from the table on standard output."""
    print(text, file=sys.stderr, flush=True)


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (ValueError, OSError, AttributeError):
        return float("nan")

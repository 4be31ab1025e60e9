"""Run the commands of a document, so that what it promises is true.

    python .ci/readme.py README.md

Every ```sh, ```bash and ```python block is run, in order, in one scratch folder that holds copies of the
presets, with the environment's programs first on the PATH. A block after ``<!-- not run: reason -->`` is left
out and the reason printed. The first command that fails ends the run.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RUNNERS = {
    "sh": ["bash", "-euo", "pipefail", "-c"],
    "bash": ["bash", "-euo", "pipefail", "-c"],
    "python": [sys.executable, "-c"],
}
FENCE = re.compile(r"^(?P<indent> *)```(?P<language>[\w-]*)[^\n`]*$")
NOT_RUN = re.compile(r"<!--\s*not run:\s*(?P<reason>.+?)\s*-->")


@dataclass(frozen=True)
class Block:
    """A fenced block that can be run."""

    line: int
    """Number of its first line of code."""
    language: str
    code: str
    not_run: str | None = None
    """Why it is left out."""


def blocks(text: str) -> Iterator[Block]:
    """Yield the runnable blocks of a Markdown ``text``, in order."""
    lines = text.splitlines()
    number = 0
    reason: str | None = None
    while number < len(lines):
        if fence := FENCE.match(lines[number]):
            start = number = number + 1
            while number < len(lines) and lines[number].strip() != "```":
                number += 1
            if number == len(lines):
                raise ValueError(f"line {start}: this block is never closed")
            if fence["language"] in RUNNERS:
                indent = len(fence["indent"])
                code = "\n".join(line[indent:] for line in lines[start:number])
                yield Block(start + 1, fence["language"], code, reason)
            reason = None
        elif comment := NOT_RUN.search(lines[number]):
            reason = comment["reason"]
        elif lines[number].strip():
            reason = None  # the comment stands directly before its block
        number += 1


def environment() -> dict[str, str]:
    """The environment of the commands: this Python's programs come first."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    return {**os.environ, "PATH": path, "PYTHONUNBUFFERED": "1"}


def run(block: Block, folder: Path, timeout: float) -> bool:
    """Run one block in ``folder``; True if it succeeded."""
    command = [*RUNNERS[block.language], block.code]
    # A session of its own, so that what the block has started ends with it.
    process = subprocess.Popen(command, cwd=folder, env=environment(), start_new_session=True)
    try:
        return process.wait(timeout) == 0
    except subprocess.TimeoutExpired:
        print(f"took longer than {timeout:.0f} s", file=sys.stderr)
        return False
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the commands of a document.")
    parser.add_argument("document", type=Path)
    parser.add_argument("--timeout", type=float, default=600, help="seconds a block may take")
    options = parser.parse_args()
    found = list(blocks(options.document.read_text(encoding="utf-8")))
    if not found:
        print(f"{options.document}: there is nothing to run in it", file=sys.stderr)
        return 1
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="readme-", dir=ROOT / ".cache") as name:
        folder = Path(name)
        if (ROOT / "presets").is_dir():
            shutil.copytree(ROOT / "presets", folder / "presets")
        for block in found:
            print(f"\n-- {options.document}:{block.line}\n{block.code}\n--", flush=True)
            if block.not_run:
                print(f"not run: {block.not_run}")
                continue
            start = time.perf_counter()
            if not run(block, folder, options.timeout):
                print(f"{options.document}:{block.line}: this block failed", file=sys.stderr)
                return 1
            print(f"-- {time.perf_counter() - start:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

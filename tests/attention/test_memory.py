"""Memory grows with the length of the text, not with its square: measured, in a process of its own."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Runs each case at each length, forward and backward, and prints the MiB that it added to the process at most.
MEASURE = """
import ctypes, json, sys
from pathlib import Path
import torch
from regard.attention import ALiBi, Mask, MultiHeadAttention, Scoring, attend, record

torch.set_num_threads(1)
WIDTH, HEADS = 32, 2


def resident(field):
    status = Path("/proc/self/status").read_text()
    return next(float(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(field))


def kernel(name, mask, scoring=None):
    def run(length):
        given = [torch.randn(1, HEADS, length, WIDTH, requires_grad=True) for _ in range(3)]
        attend(*given, mask(length), scoring or Scoring(), kernel=name).sum().backward()
    return run


def recorded(length):
    attention = MultiHeadAttention(HEADS * WIDTH, HEADS)
    with record(attention) as seen:
        attention(torch.randn(1, length, HEADS * WIDTH), mask=Mask.causal()).sum().backward()
    weights = seen[""].weights(heads=0, queries=[5, length - 1], differentiable=False)
    assert weights.shape == (1, 1, 2, length)


def causal(length):
    return Mask.causal()


def window(length):
    return Mask.causal() & Mask.window(64, 0)


CASES = {
    "causal": kernel("auto", causal),
    "window": kernel("auto", window),
    "recorded": recorded,
    "causal, sdpa": kernel("sdpa", causal),
    "window, blocked": kernel("blocked", window),
    "causal, tiled": kernel("tiled", causal),
    "window of any width, tiled": kernel("tiled", lambda length: Mask.causal() & Mask.window(length // 2, 0)),
    "padded, tiled": kernel("tiled", lambda length: Mask.causal() & Mask.padding(torch.tensor([length - 3]))),
    "terms, tiled": kernel("tiled", causal, Scoring(position=ALiBi(HEADS))),
    "all weights, explicit": kernel("explicit", causal),
}
found = {}
for case, lengths in json.loads(sys.argv[1]).items():
    for length in lengths:
        CASES[case](64)  # what is made once
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        before = resident("VmRSS")
        CASES[case](length)
        found.setdefault(case, []).append(resident("VmHWM") - before)
print(json.dumps(found))
"""

SHORT, LONG = 1024, 4096
LINEAR = ["causal", "window", "recorded", "causal, sdpa", "window, blocked"]
TILED = ["causal, tiled", "window of any width, tiled", "padded, tiled", "terms, tiled"]
SQUARE = "all weights, explicit"


def measured(cases: dict[str, tuple[int, int]]) -> dict[str, list[float]]:
    """MiB at each length."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("peak memory is read from Linux' /proc")
    arguments = [sys.executable, "-c", MEASURE, json.dumps(cases)]
    return json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)


def check(found: dict[str, list[float]]) -> None:
    """At 4 times the length, 4 times the memory is linear, and 16 times the square."""
    square = 4 * LONG * LONG / 2**20  # one float for each pair of positions
    for case, (short, long) in found.items():
        assert long < 0.7 * square, (case, short, long)
        assert long < 6 * max(short, 1.0), (case, short, long)


def test_causal_window_and_recorded_runs() -> None:
    """The measurement would see it: the kernel that holds the weights does grow with the square."""
    found = measured({**dict.fromkeys(LINEAR, (SHORT, LONG)), SQUARE: (SHORT // 2, LONG // 2)})
    short, long = found.pop(SQUARE)
    assert long > 8 * short
    check(found)


@pytest.mark.avx512
def test_tiles() -> None:
    check(measured(dict.fromkeys(TILED, (SHORT, LONG))))

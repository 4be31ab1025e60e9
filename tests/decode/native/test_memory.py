"""What happens where memory runs out: an error for those who asked for too much, and nobody else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from regard.model import Transformer
from regard.model.folder import save_model

pytest.importorskip("resource", reason="this system has no limits on memory to set")

_STARVED = """
import resource, sys
from regard.base.errors import RegardError
from regard.decode import NativeEngine, Options, Request

def limit(spare):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + spare if spare >= 0 else resource.RLIM_INFINITY, hard))

_, hard = resource.getrlimit(resource.RLIMIT_AS)
engine = NativeEngine.from_folder(sys.argv[1], threads=2)
small = Request([7, 8, 3], Options(beam=2, max_length=6))
large = Request([7] * 30 + [3], Options(sample=True, num_hypotheses=6000, max_length=3))
expected = engine.translate([small])[0][0].ids
failed = 0
for spare in [k * 2**15 for k in range(24)] + [2**20, 2**22, 2**24]:
    waiting = engine.add(small)
    limit(spare)
    try:
        engine.translate([large])
    except RegardError as error:
        assert "not enough memory" in str(error), error
        failed += 1
    limit(-1)
    assert engine.translate([small])[0][0].ids == expected
    while engine.busy:  # what ran beside it failed with it, or came through
        try:
            assert all(r.number == waiting and r.hypotheses[0].ids == expected for r in engine.step())
        except RegardError as error:
            assert "not enough memory" in str(error), error
assert len(engine.translate([large])[0]) == 6000
print(failed)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="this system does not say how much memory is used")
def test_an_engine_survives_a_lack_of_memory(make: Callable[..., Transformer], tmp_path: Path) -> None:
    """Allocations fail in one place after another, also on the engine's own threads."""
    model = make(1)
    save_model(tmp_path, model.config, dict(model.named_parameters()), task={})
    command = [sys.executable, "-c", _STARVED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    assert int(done.stdout) >= 5

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from regard.train.distributed import Processes


def test_alone_there_is_nothing_to_agree_on() -> None:
    processes = Processes(torch.device("cpu"))
    assert processes.is_first
    assert (processes.world, processes.here) == (1, 1)
    assert processes.sum(1.5, 2.0) == [1.5, 2.0]
    assert processes.first(lambda: "done") == "done"
    model = torch.nn.Linear(1, 1)
    assert processes.wrap(model) is model
    processes.close()


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Two gloo processes under torchrun; see two_processes.py."""
    folder = tmp_path_factory.mktemp("together")
    script = Path(__file__).with_name("two_processes.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    return folder, subprocess.run([*command, str(folder)], capture_output=True, text=True, timeout=120, check=False)


def said(together: Any, name: str) -> list[Any]:
    folder, result = together
    paths = [folder / f"{name}-{rank}.json" for rank in (0, 1)]
    assert all(path.exists() for path in paths), result.stderr[-4000:]
    return [json.loads(path.read_text()) for path in paths]


@pytest.mark.slow
def test_two_processes_are_one_with_their_global_batch(together: Any, toy: Any) -> None:
    one = toy.trainer(dropout=0.0, validate_every=4, ema=0.9, accumulate=2)
    one.train()
    both = said(together, "same")
    for steps, tokens, history in both:
        assert (steps, tokens) == (one.step_count, one.tokens_seen)
        for name in ("loss", "valid_loss", "grad_norm", "lr", "epoch"):
            assert [r[name] for r in history if name in r] == pytest.approx(
                [r[name] for r in one.history if name in r], abs=1e-6
            )
    path = Path("training") / "step-00000008"
    for file in ("weights.safetensors", "state.safetensors"):
        ours = load_file(one.output / path / file)
        theirs = load_file(together[0] / "same" / path / file)
        for name in ours:
            if not name.startswith("random"):
                torch.testing.assert_close(theirs[name], ours[name], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_two_processes_stop_early_together(together: Any) -> None:
    first, second = said(together, "early")
    assert first == [8, {"best": 2.0, "best_step": 4, "bad": 2}, 4]  # only the first one validates
    assert second == [8, {"best": 2.0, "best_step": 4, "bad": 2}, 0]


@pytest.mark.slow
def test_a_signal_to_one_stops_both_and_they_go_on_bit_for_bit(together: Any) -> None:
    first, second = said(together, "resumed")
    assert first[:3] == second[:3] == [True, 5, True]
    assert first[3] != second[3]  # each has random numbers of its own


@pytest.mark.slow
def test_an_error_of_the_first_is_everyones(together: Any) -> None:
    first, second = said(together, "fails")
    assert first == "KeyError: 'no such piece'"
    assert second == "RegardError: process 1 stops because the first one failed: KeyError: 'no such piece'"


@pytest.mark.slow
def test_an_error_of_another_one_leaves_nobody_waiting(together: Any) -> None:
    assert said(together, "other") == ["RuntimeError", "MemoryError"]
    assert together[1].returncode != 0

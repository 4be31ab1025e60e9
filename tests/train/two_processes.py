"""What two processes do together; started by torchrun in test_distributed.py, with the folder to write into."""

import importlib.util
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

from regard.base.errors import RegardError
from regard.train import finish
from regard.train.config import StoppingConfig
from regard.train.distributed import Processes
from regard.train.trainer import Trainer

spec = importlib.util.spec_from_file_location("toys", Path(__file__).with_name("conftest.py"))
assert spec is not None
assert spec.loader is not None
toys = importlib.util.module_from_spec(spec)
sys.modules["toys"] = toys
spec.loader.exec_module(toys)

os.fsync = lambda descriptor: None  # type: ignore[assignment]
finish.draw_curve = lambda history, path: None  # type: ignore[assignment]
FOLDER = Path(sys.argv[1])
PROCESSES = Processes(torch.device("cpu"))
RANK = PROCESSES.rank
CLOSE, PROCESSES.close = PROCESSES.close, lambda: None  # type: ignore[method-assign]


def trainer(output: str, task: Any = None, dropout: float = 0.2, **settings: Any) -> Trainer:
    torch.manual_seed(0)
    config = toys.Toy(FOLDER).config(**settings)
    return Trainer(toys.ToyModel(dropout), task or toys.ToyTask(), config, FOLDER / output, processes=PROCESSES)


def note(name: str, value: Any) -> None:
    (FOLDER / f"{name}-{RANK}.json").write_text(json.dumps(value))


def same_as_one() -> None:
    run = trainer("same", dropout=0.0, validate_every=4, ema=0.9)
    run.train()
    note("same", [run.step_count, run.tokens_seen, run.history])


def early_stopping() -> None:
    task = toys.ToyTask()
    task.judgements = [3.0, 2.0, 2.5, 2.25, 1.0]
    run = trainer("early", task, steps=50, validate_every=2, stopping=StoppingConfig(patience=2))
    run.train()
    note("early", [run.step_count, run.stopping.state_dict(), task.validations])


def interrupted_and_resumed() -> None:
    """A signal to one process stops both; together they go on bit for bit, each with its own dropout."""
    whole = trainer("whole", accumulate=2, validate_every=3, ema=0.9)
    whole.train()
    first = trainer("parts", accumulate=2, validate_every=3, ema=0.9)
    batch = first.task.batch

    def watched(plan: Any) -> Any:
        if RANK == 1 and first.step_count == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return batch(plan)

    first.task.batch = watched  # type: ignore[method-assign]
    stopped = first.train() is None
    second = trainer("parts", accumulate=2, validate_every=3, ema=0.9)
    second.train()
    weights, expected = second.optimizer.weights(), whole.optimizer.weights()
    equal = all(torch.equal(weights[name], expected[name]) for name in expected)
    note("resumed", [stopped, first.step_count, equal, torch.rand(1).item()])


def the_first_fails() -> None:
    """An error where only the first process works is everyone's."""

    def fail(model: Any) -> None:
        raise KeyError("no such piece")

    task = toys.ToyTask()
    task.on_validate = fail
    try:
        trainer("fails", task, validate_every=2).train()
    except (KeyError, RegardError) as error:
        note("fails", f"{type(error).__name__}: {error}")


def the_other_fails() -> None:
    """An error in one process only: the other must not wait for it for ever."""
    PROCESSES.close = CLOSE  # type: ignore[method-assign]
    run = trainer("other")
    batch = run.task.batch

    def watched(plan: Any) -> Any:
        if RANK == 1 and run.step_count == 2:
            raise MemoryError("too large")
        return batch(plan)

    run.task.batch = watched  # type: ignore[method-assign]
    try:
        run.train()
    except (MemoryError, RuntimeError) as error:
        note("other", type(error).__name__)
        sys.exit(3)


for scenario in (same_as_one, early_stopping, interrupted_and_resumed, the_first_fails, the_other_fails):
    scenario()

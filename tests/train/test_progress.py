import os
import pty
import struct
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from regard.base.errors import ConfigError
from regard.train.config import TrainConfig
from regard.train.progress import Reporter, draw_curve

VALUES = {"step": 50, "minutes": 1.5, "loss": 2.5, "tokens_per_second": 1234.5, "lr": 1e-3, "epoch": 0.25}


def config(**settings: Any) -> TrainConfig:
    return TrainConfig(**{"steps": 1, "tensorboard": False, **settings})


def test_plain_lines_where_there_is_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(tmp_path, config())
    assert not reporter.is_live
    reporter.progress(VALUES, 0.5, 3723.4)
    reporter.progress(VALUES, 0.5, 59.6)
    reporter.progress(VALUES, 1.0, 0.0)
    reporter.say("done [all of it]")
    reporter.close()
    line = "step 50  loss 2.500  1,234 tokens/s  lr 1.00e-03  epoch 0.25"
    assert capsys.readouterr().err.splitlines() == [
        f"{line}  50%, 1:02:03 left",
        f"{line}  50%, 1:00 left",
        line,
        "done [all of it]",
    ]


def test_a_live_line_on_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    main, other = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with open(other, "w", encoding="utf-8") as terminal, monkeypatch.context() as patch:
        patch.setattr(sys, "stderr", terminal)
        reporter = Reporter(tmp_path, config())
        assert reporter.is_live
        reporter.progress(VALUES, 0.5, 60.0)
        reporter.say("step 50  validation: pip install 'regard[wandb]'")
        reporter.progress({**VALUES, "step": 51}, 0.5, 60.0)
        reporter.close()
    shown = os.read(main, 1 << 16).decode()
    os.close(main)
    assert "step 51  loss 2.500" in shown
    assert "step 50  validation: pip install 'regard[wandb]'\r\n" in shown  # as it stands: brackets are no markup
    assert "\x1b[?25h" in shown  # the cursor is back


def test_the_others_are_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reporter = Reporter(tmp_path, config(tensorboard=True), quiet=True)
    reporter.say("x")
    reporter.record(VALUES)
    reporter.close()
    assert capsys.readouterr() == ("", "")
    assert not list(tmp_path.iterdir())


def events(folder: Path) -> list[tuple[int, str]]:
    """What TensorBoard would show: (step, name), later files winning where they say so."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(str(folder), purge_orphaned_data=True)
    found.Reload()
    return sorted((event.step, name) for name in found.Tags()["scalars"] for event in found.Scalars(name))


def test_tensorboard_events(tmp_path: Path) -> None:
    first = Reporter(tmp_path, config(tensorboard=True))
    for step in (10, 20, 30):
        first.record({"step": step, "loss": 1.0})
    first.close()
    # killed, and going on from step 15: what it reported of later steps is forgotten
    second = Reporter(tmp_path, config(tensorboard=True), step=15)
    second.record({"step": 25, "loss": 1.0})
    second.close()
    assert events(tmp_path / "tensorboard") == [(10, "loss"), (25, "loss")]


def test_a_tracker_that_cannot_write_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    reporter = Reporter(tmp_path / "file", config(tensorboard=True))
    reporter.record(VALUES)
    reporter.close()
    assert "TensorBoard cannot be written" in capsys.readouterr().err


def test_wandb_has_to_be_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'regard\[wandb\]'"):
        Reporter(tmp_path, config(wandb="mine"))


def test_the_stretches_of_a_run_are_one_run_at_wandb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def init(**options: Any) -> Any:
        calls.append(options)
        log = lambda values, step: calls.append((step, values))  # noqa: E731
        return SimpleNamespace(log=log, finish=lambda: calls.append("finish"))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init, __spec__=SimpleNamespace()))
    for _ in range(2):
        reporter = Reporter(tmp_path, config(wandb="mine"))
        reporter.record({"step": 3, "loss": 1.0})
        reporter.close()
    assert calls[1:3] == [(3, {"loss": 1.0}), "finish"]
    assert calls[0]["project"] == "mine"
    assert calls[0]["id"] == calls[3]["id"]
    assert len(calls[0]["id"]) == 32


@pytest.mark.parametrize(
    "history",
    [
        [],
        [VALUES],
        [VALUES, {"step": 50, "minutes": 1.5, "valid_loss": 2.0}],
        [{"step": 50, "minutes": 1.5, "valid_bleu": 20.0, **{f"valid_bleu_{i}": 1.0 * i for i in range(12)}}],
    ],
    ids=["nothing", "loss", "validation", "scores without a loss"],
)
def test_the_curve_is_a_picture(tmp_path: Path, history: list[dict[str, float]]) -> None:
    draw_curve(history, tmp_path / "curve.png")
    content = (tmp_path / "curve.png").read_bytes()
    assert content.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", content[16:24])
    assert (width, height) == (960, 540)

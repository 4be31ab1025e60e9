"""What a person sees of a run, and what is kept of it."""

import importlib.util
import sys
import uuid
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from regard.base.errors import ConfigError
from regard.base.files import write_atomic
from regard.train.config import TrainConfig


def check_trackers(config: TrainConfig) -> None:
    """Find out before any work is done whether the run can be reported as ``config`` wants.

    Raises:
        ConfigError: the W&B client is not installed.
    """
    if config.wandb and importlib.util.find_spec("wandb") is None:
        raise ConfigError(
            f"train.wandb is '{config.wandb}', but the W&B client is not installed. "
            "Install it (pip install 'regard[wandb]'), or remove the setting."
        )


class Reporter:
    """Prints progress (a live line on a terminal, plain lines elsewhere) and feeds the trackers."""

    def __init__(self, folder: Path, config: TrainConfig, *, step: int = 0, quiet: bool = False):
        """
        Args:
            folder: where the trackers keep their files.
            config: which trackers there are.
            step: where the run stands; what a killed stretch reported of later steps is forgotten.
            quiet: say and keep nothing (the processes of a run but the first).

        Raises:
            ConfigError: a tracker is not installed.
        """
        check_trackers(config)
        self.quiet = quiet
        self._live: Any = None
        self._trackers: list[tuple[str, Callable[[int, dict[str, float]], None], Callable[[], None]]] = []
        if quiet:
            return
        if config.tensorboard:
            self._guarded("TensorBoard", lambda: self._start_tensorboard(folder, step))
        if config.wandb:
            self._start_wandb(folder, config.wandb)
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()

    def _start_tensorboard(self, folder: Path, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

        def record(step: int, values: dict[str, float]) -> None:
            for name, value in values.items():
                writer.add_scalar(name, value, step)

        self._trackers.append(("TensorBoard", record, writer.close))

    def _start_wandb(self, folder: Path, project: str) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - an extra

        name = folder / "wandb.txt"  # so that the stretches of a run are one run there as well
        if not name.exists():
            write_atomic(name, uuid.uuid4().hex)
        run = wandb.init(project=project, dir=str(folder), id=name.read_text(encoding="utf-8").strip(), resume="allow")
        self._trackers.append(("W&B", lambda step, values: run.log(values, step=step), run.finish))

    def _guarded(self, name: str, work: Callable[[], None]) -> bool:
        """Do ``work`` for a tracker; what it cannot write is no reason to end a run of hours."""
        try:
            work()
        except OSError as error:
            self.say(f"{name} cannot be written ({error}); going on without it.")
            return False
        return True

    @property
    def is_live(self) -> bool:
        """Whether :meth:`progress` replaces what it said before."""
        return self._live is not None

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.quiet:
            return
        if self._live is not None:
            self._live.console.print(text, highlight=False, markup=False, soft_wrap=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def progress(self, values: dict[str, float], share_done: float, seconds_left: float) -> None:
        """The state of the run: on a terminal it replaces the last one."""
        text = (
            f"step {values['step']:.0f}  loss {values['loss']:.3f}  {values['tokens_per_second']:,.0f} tokens/s  "
            f"lr {values['lr']:.2e}  epoch {values['epoch']:.2f}"
        )
        if seconds_left:
            text += f"  {share_done:.0%}, {_duration(seconds_left)} left"
        if self._live is not None:
            from rich.text import Text

            self._live.update(Text(text, no_wrap=True, overflow="ellipsis"))
        else:
            self.say(text)

    def record(self, values: dict[str, float]) -> None:
        """Send the values of ``values["step"]`` to the trackers."""
        step, rest = int(values["step"]), {name: value for name, value in values.items() if name != "step"}
        self._trackers = [t for t in self._trackers if self._guarded(t[0], partial(t[1], step, rest))]

    def close(self) -> None:
        """Flush and stop."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        for name, _, close in self._trackers:
            self._guarded(name, close)
        self._trackers = []


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """Plot loss and validation metrics against minutes of training, as PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), layout="constrained")
    left = figure.subplots()
    names = dict.fromkeys(name for record in history for name in record if name == "loss" or name.startswith("valid_"))
    losses = [name for name in names if name in ("loss", "valid_loss")]
    scores = [name for name in names if name not in losses]
    right = left.twinx() if scores else left
    for number, name in enumerate([*losses, *scores]):
        records = [record for record in history if name in record]
        (right if name in scores else left).plot(
            [record["minutes"] for record in records],
            [record[name] for record in records],
            "-" if name == "loss" else "o-" if name == "valid_loss" else "s--",
            color=f"C{number}",
            markersize=4,
            label={"loss": "training loss"}.get(name, name.removeprefix("valid_")),
        )
    left.set_xlabel("minutes of training")
    left.set_ylabel("loss, nats a token")
    if scores:
        right.set_ylabel("score")
        right.legend(loc="center right", frameon=False)
    if losses:
        left.legend(loc="upper right", frameon=False)
    figure.savefig(path, dpi=120)

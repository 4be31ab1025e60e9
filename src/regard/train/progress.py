"""What a person sees of a run, and what is kept of it."""

import sys
import time
from pathlib import Path
from typing import Any


class Reporter:
    """Prints progress (a live line on a terminal, plain lines elsewhere) and feeds the trackers."""

    def __init__(self, folder: Path, *, tensorboard: bool, wandb: str, quiet: bool = False):
        self.quiet = quiet
        self._live: Any = None
        self._writers: list[Any] = []
        if quiet:
            return
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter

                self._writers.append(SummaryWriter(str(folder / "tensorboard")))
            except ImportError:
                self.say("TensorBoard is not installed; go on without it (pip install 'regard[train]').")
        self._wandb: Any = None
        if wandb:
            import wandb as client

            self._wandb = client.init(project=wandb, dir=str(folder), resume="allow")
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), refresh_per_second=4, transient=True)
            self._live.start()

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.quiet:
            return
        if self._live is not None:
            self._live.console.print(text, highlight=False)
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
            self._live.update(text)
        else:
            self.say(text)

    def record(self, step: int, values: dict[str, float]) -> None:
        """Send values to TensorBoard and W&B."""
        for writer in self._writers:
            for name, value in values.items():
                if name != "step":
                    writer.add_scalar(name, value, step)
        if not self.quiet and self._wandb is not None:
            self._wandb.log(values, step=step)

    def close(self) -> None:
        """Flush and stop."""
        if self._live is not None:
            self._live.stop()
        for writer in self._writers:
            writer.close()
        if not self.quiet and self._wandb is not None:
            self._wandb.finish()


def _duration(seconds: float) -> str:
    return time.strftime("%H:%M:%S" if seconds >= 3600 else "%M:%S", time.gmtime(seconds))


def draw_curve(history: list[dict[str, float]], path: Path) -> None:
    """Plot loss and validation metrics against minutes of training, as PNG."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(8, 4.5), layout="constrained")
    trained = [r for r in history if "loss" in r]
    axis.plot([r["minutes"] for r in trained], [r["loss"] for r in trained], color="#8899aa", label="training loss")
    checked = [r for r in history if "valid_loss" in r]
    if checked:
        axis.plot([r["minutes"] for r in checked], [r["valid_loss"] for r in checked], "o-", color="#1f4e79", label="loss")
    axis.set_xlabel("minutes of training")
    axis.set_ylabel("loss, nats a token")
    names = sorted({n for r in checked for n in r if n.startswith("valid_") and n != "valid_loss"})
    if names:
        right = axis.twinx()
        for name, colour in zip(names, ("#c0504d", "#4f8f4f", "#8064a2", "#b07020"), strict=False):
            points = [r for r in checked if name in r]
            values = [r[name] for r in points]
            right.plot([r["minutes"] for r in points], values, "s--", color=colour, label=name.removeprefix("valid_"))
        right.set_ylabel("score")
        right.legend(loc="center right", frameon=False)
    axis.legend(loc="upper right", frameon=False)
    figure.savefig(path, dpi=120)
    pyplot.close(figure)

"""The end of a run: which weights become the model, and its files put in their place."""

from pathlib import Path

from torch import Tensor

from regard.train.checkpoint import CheckpointFolder, new_safetensors
from regard.train.config import TrainConfig
from regard.train.progress import draw_curve
from regard.train.task import Outcome, Task

# The model appears here as a whole; then its files are moved into the folder of the run.
_FINISHED = ".finished"


def choose_weights(
    config: TrainConfig,
    step: int,
    last: dict[str, Tensor],
    average: dict[str, Tensor] | None,
    checkpoints: CheckpointFolder,
    best: list[int],
) -> tuple[dict[str, Tensor], str]:
    """The weights that become the model, and which they are in words.

    Args:
        config: ``final`` says what is wanted.
        step: the last step.
        last: weights after it.
        average: their moving average.
        checkpoints: the kept ones.
        best: steps of the best validations; where there was none, ``last`` is taken.
    """
    if config.final == "average_last":
        steps = checkpoints.steps()[-config.keep_last :]
        return checkpoints.average_last(steps), f"mean of the checkpoints of steps {_list(steps)}"
    if config.final == "average_best" and best:
        return checkpoints.average_best(best), f"mean of the best validations, steps {_list(best)}"
    if config.final == "ema" and average is not None:
        return average, f"moving average (decay {config.ema:g}) at step {step:,}"
    return last, f"step {step:,}" + (", since there was no validation" if config.final == "average_best" else "")


def write_model(output: Path, task: Task, outcome: Outcome) -> None:
    """Write the model folder; the files of an earlier model give way only when all of the new ones are on the disk.

    Raises:
        RegardError: the disk is full or the folder cannot be written; an earlier model is as it was.
    """
    with new_safetensors(output / _FINISHED) as temporary:
        task.save(temporary, outcome)
        draw_curve(outcome.history, temporary / "curve.png")
    move_model(output)


def move_model(output: Path) -> None:
    """Move a finished model to where it is looked for; goes on where a kill ended the moving."""
    finished = output / _FINISHED
    if finished.exists():
        # config.json last: with it, the folder is a model
        for file in sorted(finished.iterdir(), key=lambda file: file.name == "config.json"):
            file.replace(output / file.name)
        finished.rmdir()


def _list(steps: list[int]) -> str:
    return ", ".join(f"{step:,}" for step in steps)

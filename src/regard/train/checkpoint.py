"""Checkpoints: everything a run needs to go on as if it had not stopped.

``training/step-00001000/`` holds float32 weights, optimiser moments, the moving
average, random states (all safetensors) and the rest as JSON. A checkpoint appears
whole or not at all, and the one before it is removed only afterwards.
``training/best/step-00001000/`` holds the weights of one of the best validations.
"""

import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.base.errors import RegardError
from regard.base.files import explain_write_error, new_folder

FORMAT = 1
_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Checkpoint:
    """One moment of a run."""

    weights: dict[str, Tensor]
    """Float32 weights by name."""
    tensors: dict[str, Tensor]
    """Optimiser, moving average and random states, flat."""
    state: dict[str, Any]
    """Everything else, as JSON values."""


class CheckpointFolder:
    """The ``training/`` folder of a run."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` lies."""
        return self.folder / _name(step)

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        return _steps(self.folder, "state.json")

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Write a checkpoint.

        Raises:
            RegardError: the disk is full or the folder cannot be written; earlier
                checkpoints are as they were.
        """
        with new_safetensors(self.path(step)) as temporary:
            save_file(_contiguous(checkpoint.weights), temporary / _WEIGHTS)
            save_file(_contiguous(checkpoint.tensors), temporary / "state.safetensors")
            text = json.dumps({"format": FORMAT, **checkpoint.state}, indent=1)
            (temporary / "state.json").write_text(text, encoding="utf-8")

    def load(self) -> Checkpoint | None:
        """The newest checkpoint; None where there is none.

        Raises:
            RegardError: it was written by another version or is damaged.
        """
        state = self.state()
        if state is None:
            return None
        path = self.path(self.steps()[-1])
        return Checkpoint(_load(path / _WEIGHTS), _load(path / "state.safetensors"), state)

    def state(self) -> dict[str, Any] | None:
        """What the newest checkpoint holds beside tensors; None where there is none.

        Raises:
            RegardError: it was written by another version or is damaged.
        """
        if not self.steps():
            return None
        path = self.path(self.steps()[-1])
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            written_as = state.pop("format")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, error) from error
        if written_as != FORMAT:
            raise RegardError(f"{path} was written by another version of Regard; finish the run with that version.")
        return state

    def save_best(self, step: int, weights: dict[str, Tensor]) -> None:
        """Keep the weights that a validation judged well."""
        with new_safetensors(self.folder / "best" / _name(step)) as temporary:
            save_file(_contiguous(weights), temporary / _WEIGHTS)

    def prune(self, last: int, every: int, best: list[int]) -> None:
        """Remove what a run does not need any more. Called after :meth:`save`.

        A checkpoint that was written between two regular ones, because the run was
        interrupted, lasts until the next: the regular ones, whose average may become
        the model, are then those of a run that was never interrupted.

        Args:
            last: regular checkpoints to keep, beside the newest of all.
            every: a step that is a multiple of it is regular.
            best: steps whose weights to keep.
        """
        steps = self.steps()
        keep = {*steps[-1:], *[step for step in steps if step % every == 0][-last:]}
        doomed = [self.path(step) for step in steps if step not in keep]
        doomed += [self.folder / "best" / _name(s) for s in _steps(self.folder / "best", _WEIGHTS) if s not in best]
        for path in doomed:
            shutil.rmtree(path, ignore_errors=True)

    def average_last(self, steps: list[int]) -> dict[str, Tensor]:
        """The mean of the weights of the checkpoints of ``steps``."""
        return average([_load(self.path(step) / _WEIGHTS) for step in steps])

    def average_best(self, steps: list[int]) -> dict[str, Tensor]:
        """The mean of the weights kept by :meth:`save_best` for ``steps``."""
        return average([_load(self.folder / "best" / _name(step) / _WEIGHTS) for step in steps])


def average(models: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several sets of weights, summed in float64."""
    return {name: torch.stack([m[name].double() for m in models]).mean(0).float() for name in models[0]}


@contextmanager
def new_safetensors(path: Path) -> Iterator[Path]:
    """Yield a folder to write into that appears as ``path`` when all went well.

    Raises:
        RegardError: the disk is full or the folder cannot be written; safetensors has an error of its own for that.
    """
    try:
        with new_folder(path) as temporary:
            yield temporary
    except SafetensorError as error:
        raise explain_write_error(path, OSError(str(error))) from error


@contextmanager
def workplace(folder: Path) -> Iterator[None]:
    """Make ``folder``, keep other processes from training in it, and clear away what a killed one left half written.

    Raises:
        RegardError: another process is at work there, or the folder cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(folder, error) from error
    try:
        with _lock(folder):
            for place in (folder, folder / "data", folder / "training", folder / "training" / "best"):
                for leftover in place.glob(".tmp-*"):
                    if leftover.is_dir():
                        shutil.rmtree(leftover, ignore_errors=True)
                    else:
                        leftover.unlink(missing_ok=True)
            yield
    finally:
        with suppress(OSError):  # where nothing came of it, nothing stays
            folder.rmdir()


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    try:
        import fcntl
    except ImportError:  # not on Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RegardError(
                f"another process is training in {folder}; wait for it, or choose another output."
            ) from error
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(descriptor)


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _steps(folder: Path, file: str) -> list[int]:
    found = [path for path in folder.glob("step-*") if re.fullmatch(r"step-\d+", path.name) and (path / file).exists()]
    return sorted(int(path.name.removeprefix("step-")) for path in found)


def _load(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _damaged(path.parent, error) from error


def _damaged(path: Path, error: Exception) -> RegardError:
    return RegardError(f"the checkpoint {path} is damaged ({error}). Remove it to go on from the one before.")


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

"""Checkpoints: everything a run needs to go on as if it had not stopped.

``training/step-00001000/`` holds float32 weights, optimiser moments, the moving
average, random states (all safetensors) and the rest as JSON. A checkpoint appears
whole or not at all, and the one before it is removed only afterwards.
"""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from regard.base.errors import RegardError
from regard.base.files import explain_write_error, new_folder

FORMAT = 1


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

    def steps(self) -> list[int]:
        """Steps of the complete checkpoints, oldest first."""
        found = [p for p in self.folder.glob("step-*") if (p / "state.json").exists()]
        return sorted(int(p.name.removeprefix("step-")) for p in found)

    def path(self, step: int) -> Path:
        """Where the checkpoint of ``step`` lies."""
        return self.folder / f"step-{step:08d}"

    def save(self, step: int, checkpoint: Checkpoint, keep: int) -> Path:
        """Write a checkpoint, then remove all but the newest ``keep``.

        Raises:
            RegardError: the disk is full or the folder cannot be written; earlier
                checkpoints are as they were.
        """
        from safetensors.torch import save_file

        path = self.path(step)
        try:
            with new_folder(path) as temporary:
                save_file(_contiguous(checkpoint.weights), temporary / "weights.safetensors")
                save_file(_contiguous(checkpoint.tensors), temporary / "state.safetensors")
                text = json.dumps({"format": FORMAT, **checkpoint.state}, indent=1)
                (temporary / "state.json").write_text(text, encoding="utf-8")
        except RegardError:
            raise
        except Exception as error:  # safetensors reports a full disk as its own error type
            if type(error).__name__ != "SafetensorError":
                raise
            raise explain_write_error(path, OSError(str(error))) from error
        for old in self.steps()[:-keep]:
            shutil.rmtree(self.path(old), ignore_errors=True)
        return path

    def load(self, step: int | None = None) -> Checkpoint | None:
        """The checkpoint of ``step``, by default the newest; None where there is none.

        Raises:
            RegardError: it was written by a newer version or is damaged.
        """
        from safetensors.torch import load_file

        steps = self.steps()
        if not steps:
            return None
        path = self.path(steps[-1] if step is None else step)
        try:
            state = json.loads((path / "state.json").read_text(encoding="utf-8"))
            if state.pop("format") != FORMAT:
                raise RegardError(f"{path} was written by another version of Regard; finish the run with that version.")
            weights = load_file(path / "weights.safetensors")
            return Checkpoint(weights, load_file(path / "state.safetensors"), state)
        except RegardError:
            raise
        except Exception as error:
            raise RegardError(f"{path} is damaged ({error}); remove it to go on from the one before.") from error

    def average(self, steps: list[int]) -> dict[str, Tensor]:
        """The mean of the weights of several checkpoints."""
        from safetensors.torch import load_file

        return average([load_file(self.path(step) / "weights.safetensors") for step in steps])

    def save_best(self, step: int, weights: dict[str, Tensor], scores: dict[int, float]) -> None:
        """Keep ``weights`` as one of the best; forget those that are not in ``scores`` any more."""
        from safetensors.torch import save_file

        with new_folder(self.folder / "best" / f"step-{step:08d}") as temporary:
            save_file(_contiguous(weights), temporary / "weights.safetensors")
        for path in (self.folder / "best").glob("step-*"):
            if int(path.name.removeprefix("step-")) not in scores:
                shutil.rmtree(path, ignore_errors=True)

    def average_best(self) -> dict[str, Tensor]:
        """The mean of the weights kept by :meth:`save_best`."""
        from safetensors.torch import load_file

        return average([load_file(path / "weights.safetensors") for path in sorted((self.folder / "best").glob("step-*"))])


def average(models: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of several sets of weights, summed in float64."""
    return {name: (sum(m[name].double() for m in models) / len(models)).float() for name in models[0]}  # type: ignore[union-attr]


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

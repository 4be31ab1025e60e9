"""A task small enough that a training of it takes milliseconds, with all that a real one has."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.train.config import ScheduleConfig, TrainConfig
from regard.train.task import Outcome, Task
from regard.train.trainer import Trainer

WORDS = 12


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The trainer sets these for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@dataclass(frozen=True)
class ToyBatch:
    inputs: Tensor
    targets: Tensor

    @property
    def num_tokens(self) -> int:
        return len(self.targets)

    def to(self, device: torch.device) -> "ToyBatch":
        return self


class ToyModel(nn.Module):
    """Says which word follows which, with dropout in between."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 8)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(8, WORDS)

    def forward(self, batch: ToyBatch) -> Tensor:
        return F.cross_entropy(self.out(self.dropout(self.embedding(batch.inputs))), batch.targets, reduction="sum")


class ToyTask(Task):
    """Sentences of different lengths, `width` of them a batch, shuffled anew each epoch."""

    def __init__(self, width: int = 2, sentences: int = 10) -> None:
        random = torch.Generator().manual_seed(3)
        lengths = torch.randint(1, 9, (sentences,), generator=random).tolist()
        self.sentences = [torch.randint(0, WORDS - 1, (n,), generator=random) for n in lengths]
        self.width, self.position, self.validations = width, 0, 0
        self.judgements: list[float] = []  # what validation says, in order; the last one again and again
        self.on_validate: Callable[[nn.Module], None] = lambda model: None

    def draw(self) -> list[int]:
        per_epoch = len(self.sentences) // self.width
        epoch, place = divmod(self.position, per_epoch)
        order = torch.randperm(len(self.sentences), generator=torch.Generator().manual_seed(epoch)).tolist()
        self.position += 1
        return order[place * self.width : (place + 1) * self.width]

    def batch(self, plan: list[int]) -> ToyBatch:
        words = torch.cat([self.sentences[i] for i in plan])
        return ToyBatch(words, (words * 5 + 1) % (WORDS - 1))

    def loss(self, model: nn.Module, batch: ToyBatch) -> Tensor:
        return model(batch)

    def examples(self, plan: list[int]) -> list[list[int]]:
        return [[i] for i in plan]

    def describe(self, plan: list[int]) -> str:
        return ", ".join(f"sentence {i}" for i in plan)

    def validate(self, model: nn.Module) -> dict[str, float]:
        assert not model.training
        torch.rand(3)  # a careless task: the training must not notice
        self.on_validate(model)
        self.validations += 1
        if self.judgements:
            return {"loss": self.judgements[min(self.validations, len(self.judgements)) - 1]}
        batch = self.batch(list(range(len(self.sentences))))
        return {"loss": float(model(batch)) / batch.num_tokens}

    def save(self, folder: Path, outcome: Outcome) -> None:
        torch.save(outcome.weights, folder / "model.pt")
        (folder / "README.md").write_text(f"{outcome.chosen} {outcome.metrics}", encoding="utf-8")
        (folder / "config.json").write_text(str(outcome.steps), encoding="utf-8")

    @property
    def epochs(self) -> float:
        return self.position / (len(self.sentences) // self.width)

    def state_dict(self) -> dict[str, Any]:
        return {"position": self.position, "validations": self.validations}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.position, self.validations = state["position"], state["validations"]


@dataclass
class Toy:
    """Makes trainers of the toy task below one folder."""

    folder: Path
    task: type[ToyTask] = ToyTask

    def config(self, **settings: Any) -> TrainConfig:
        schedule = settings.pop("schedule", ScheduleConfig(peak=0.05, warmup=3))
        usual = {"steps": 8, "threads": 1, "log_every": 3, "validate_every": 0, "checkpoint_every": 100}
        usual |= {"precision": "fp32", "tensorboard": False}
        return TrainConfig(**{**usual, "schedule": schedule, **settings})

    def trainer(
        self, output: str = "run", *, task: ToyTask | None = None, dropout: float = 0.2, **settings: Any
    ) -> Trainer:
        torch.manual_seed(0)
        return Trainer(ToyModel(dropout), task or ToyTask(), self.config(**settings), self.folder / output)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Toy:
    # what takes most of the time of so small a run
    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text(str(len(history))))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    return Toy(tmp_path)

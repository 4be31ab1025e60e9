"""Training an adapter: the task that it learns is another's, and what comes of it is a few weights."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard import __version__
from regard.base.errors import ConfigError
from regard.base.files import write_atomic
from regard.model import Transformer
from regard.tasks.card import Recipe
from regard.tasks.preset import Preset
from regard.train.task import Outcome, Task
from regard.tune.adalora import AdaLora, RankAllocator
from regard.tune.adapters import attach, parameters_of, short
from regard.tune.folder import describe, save_adapter
from regard.tune.method import Method

_NAME = "adapter"


class TuningTask(Task):
    """Another task, learned by an adapter beside the model's weights, which stay as they are."""

    def __init__(
        self,
        inner: Task,
        model: Transformer,
        method: Method,
        *,
        preset: Preset,
        base: str,
        examples: int,
        recipe: Recipe | None = None,
    ):
        """
        Args:
            inner: what is learned.
            model: what it is learned on; gets the adapter.
            method: what kind of adapter.
            preset: the run.
            base: hash of the model.
            examples: how many there are, for the card.
            recipe: how the run was started, for the card.

        Raises:
            ConfigError: the method does not fit the model, or cannot know when the run ends.
        """
        self.inner, self.method, self.preset, self.base = inner, method, preset, base
        self.count, self.recipe = examples, recipe
        self.leaves_out, self.sample_rate = inner.leaves_out, inner.sample_rate
        self.size = sum(parameter.numel() for parameter in model.parameters())
        attach(model, method, _NAME)
        parameters = parameters_of(model, _NAME)
        self._weights = {short(name): parameter for name, parameter in parameters.items()}
        self._allocator: RankAllocator | None = None
        if isinstance(method, AdaLora):
            if not preset.train.steps:
                raise ConfigError("adalora plans its ranks for the whole training: set train.steps.")
            ranks = {name: len(p) for name, p in self._weights.items() if name.endswith("lora_E")}
            self._allocator = RankAllocator(method, preset.train.steps, ranks)

    @property
    def trained(self) -> int:
        """Weights that learn."""
        return sum(weight.numel() for weight in self._weights.values())

    # ---- what the adapter adds to the loop

    def loss(self, model: nn.Module, batch: Any) -> Tensor:
        """The other task's loss, and the method's penalty once a token."""
        loss = self.inner.loss(model, batch)
        penalty = self.method.penalty(self._weights)
        return loss if penalty is None else loss + penalty.to(loss.dtype) * batch.num_tokens

    def adjust(self, step: int, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """Let AdaLoRA's allocator see the step."""
        if self._allocator is not None:
            own = [{short(name): value for name, value in values.items()} for values in (weights, gradients)]
            self._allocator.update(step, *own)

    def tensors(self) -> dict[str, Tensor]:
        """The allocator's state."""
        return {} if self._allocator is None else self._allocator.state_dict()

    def load_tensors(self, tensors: Mapping[str, Tensor], device: torch.device) -> None:
        """Restore the allocator's state."""
        if self._allocator is not None:
            self._allocator.load_state_dict(tensors, device)

    def save(self, folder: Path, outcome: Outcome) -> None:
        """Write the adapter's folder."""
        weights = {short(name): weight for name, weight in outcome.weights.items()}
        directions = [list(direction) for direction in self.preset.directions]
        about = {"base_name": self._base_name, "directions": directions, "regard": __version__}
        save_adapter(folder, self.method, weights, base=self.base, about=about)
        write_atomic(folder / "README.md", self._card(outcome))

    @property
    def _base_name(self) -> str:
        start = self.preset.start
        return start.model.resolve().name if start and start.model else ""

    def _card(self, outcome: Outcome) -> str:
        settings = "".join(f"- {name}: {value}\n" for name, value in describe(self.method).items())
        metrics = "".join(f"- {name}: {value:.3f}\n" for name, value in outcome.metrics.items())
        directions = ", ".join(f"{source}→{target}" for source, target in self.preset.directions)
        command = self.recipe.command if self.recipe else "not recorded"
        return (
            f"# Adapter for {self._base_name}: {directions}\n\n"
            f"{self.preset.description.strip() or 'No description was given.'}\n\n"
            f"Belongs to the model whose weights have the hash {self.base}.\n"
            f"Trained on {self.count:,} examples in {outcome.steps:,} steps and {outcome.minutes:.1f} minutes; "
            f"{self.trained:,} weights beside the model's {self.size:,}. Taken: {outcome.chosen}.\n\n"
            f"{f'Privacy: {outcome.promise}.' if outcome.promise else ''}\n\n"
            f"## Method\n\n{settings}\n## Validation\n\n{metrics or '- none'}\n\n"
            f"## How to make it\n\n```\n{command}\n```\n\nMade with regard {__version__}, PyTorch {torch.__version__}, "
            f"{outcome.device}.\n"
        )

    # ---- the other task's own affairs

    @property
    def epochs(self) -> float:
        """Passes over the data so far."""
        return self.inner.epochs

    def draw(self) -> Any:
        """See :meth:`Task.draw`."""
        return self.inner.draw()

    def batch(self, plan: Any) -> Any:
        """See :meth:`Task.batch`."""
        return self.inner.batch(plan)

    def split(self, plan: Any, count: int) -> list[Any]:
        """See :meth:`Task.split`."""
        return self.inner.split(plan, count)

    def examples(self, plan: Any) -> Sequence[Any]:
        """See :meth:`Task.examples`."""
        return self.inner.examples(plan)

    def describe(self, plan: Any) -> str:
        """See :meth:`Task.describe`."""
        return self.inner.describe(plan)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """See :meth:`Task.validate`; the adapter is on."""
        return self.inner.validate(model)

    def state_dict(self) -> dict[str, Any]:
        """See :meth:`Task.state_dict`."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :meth:`Task.load_state_dict`."""
        self.inner.load_state_dict(state)

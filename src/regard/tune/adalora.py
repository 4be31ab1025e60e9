"""AdaLoRA (Zhang et al. 2023): low-rank matrices that compete for rank.

::

    y = W x + b + s·B diag(e) A x          s = α / r₀

A and B are kept near orthogonal by a penalty, so that each e_i stands for one direction. While it trains, the
allocator sets the e_i that matter least to zero, until ``final_rank`` a layer is left on average.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import Dropout
from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.tune.lora import check_low_rank, linear_layers
from regard.tune.method import Delta, Method, adapt


@dataclass(frozen=True)
class AdaLora(Method):
    """Low-rank matrices whose ranks are found while they train."""

    name: ClassVar[str] = "adalora"

    rank: int = 6
    """r₀, rank of every added matrix at first."""
    final_rank: int = 4
    """Mean rank at the end."""
    alpha: float = 16.0
    """α: what is added is scaled by α / r₀."""
    dropout: float = 0.0
    """Rate on the input of the added matrices."""
    targets: tuple[str, ...] = ("*",)
    """Linear layers to adapt: names or patterns, such as query or encoder.*.down; by default all of them."""
    orthogonality: float = 0.1
    """Weight of the penalty in the loss (a token)."""
    warmup: float = 0.1
    """Share of the steps before the budget begins to fall."""
    cooldown: float = 0.3
    """Share of the steps after it has fallen, with fixed ranks."""
    every: int = 10
    """Steps between two allocations."""
    betas: tuple[float, float] = (0.85, 0.85)
    """Decay of the averages of sensitivity and of its uncertainty."""

    def __post_init__(self) -> None:
        check_low_rank(self.rank, self.alpha, self.dropout, self.targets)
        if not 1 <= self.final_rank <= self.rank:
            raise ConfigError(f"final_rank is {self.final_rank}; it must lie in 1 to rank ({self.rank}).")
        if not (0 <= self.orthogonality < math.inf and self.every >= 1):
            raise ConfigError("orthogonality cannot be negative, and every must be at least 1.")
        if not (self.warmup >= 0 and self.cooldown >= 0 and self.warmup + self.cooldown < 1):
            raise ConfigError("warmup and cooldown are shares of the training and leave a part for the allocation.")
        if not all(0 < beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas}; both lie in (0, 1).")

    @property
    def scale(self) -> float:
        """s of the equation; the small number is peft's, whose files hold the same weights."""
        return self.alpha / (self.rank + 1e-5)

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        for place, layer in linear_layers(model, self.targets, self.rank):
            adapt(model, place, adapter, AdaLoraDelta(layer, self))

    def penalty(self, weights: Mapping[str, Tensor]) -> Tensor | None:
        """How far the rows of the A's and the columns of the B's are from orthonormal: mean of ‖A Aᵀ - I‖."""
        distances = []
        for name, weight in weights.items():
            if name.endswith(("lora_A", "lora_B")):
                rows = weight.float() if name.endswith("lora_A") else weight.float().t()
                distances.append(torch.linalg.matrix_norm(rows @ rows.t() - torch.eye(len(rows), device=rows.device)))
        return self.orthogonality * torch.stack(distances).mean() if self.orthogonality else None

    def finished(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The directions that are left; those whose e is zero add nothing."""
        found = {}
        for name, weight in weights.items():
            kept = weights[name[:-1] + "E"][:, 0] != 0
            found[name] = weight[:, kept] if name.endswith("lora_B") else weight[kept]
        return found


class AdaLoraDelta(Delta):
    """What AdaLoRA adds to one linear layer."""

    can_merge = True

    def __init__(self, layer: nn.Linear, method: AdaLora):
        super().__init__()
        self.lora_A = nn.Parameter(0.02 * torch.randn(method.rank, layer.in_features))
        self.lora_E = nn.Parameter(torch.zeros(method.rank, 1))
        self.lora_B = nn.Parameter(0.02 * torch.randn(layer.out_features, method.rank))
        self.scale = method.scale
        self.dropout = Dropout(method.dropout)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """…×in to …×out."""
        return self.scale * F.linear(F.linear(self.dropout(x), self.lora_A * self.lora_E), self.lora_B)

    def change(self) -> dict[str, Tensor]:
        """See :meth:`Delta.change`."""
        return {"weight": self.scale * (self.lora_B @ (self.lora_A * self.lora_E))}


class RankAllocator:
    """Decides while an adapter trains which directions stay (section 3.2 and algorithm 1 of the paper).

    The importance of an element is the average of its sensitivity |w ∂L/∂w| times the average of how uncertain that
    is; of a direction, that of its e plus the means over its row of A and its column of B.
    """

    def __init__(self, method: AdaLora, steps: int, ranks: Mapping[str, int]):
        """
        Args:
            method: the settings.
            steps: of the whole training.
            ranks: rank of each adapted layer at first, by the name of its ``lora_E``.
        """
        self.method, self.steps = method, steps
        self.first = int(method.warmup * steps)
        self.last = steps - int(method.cooldown * steps)
        self.total, self.target = sum(ranks.values()), method.final_rank * len(ranks)
        self.layers = [name.removesuffix("lora_E") for name in ranks]
        self._sensitivity: dict[str, Tensor] = {}
        self._uncertainty: dict[str, Tensor] = {}
        #: True for the directions that stay, by the name of the ``lora_E``; empty before the first allocation.
        self.kept: dict[str, Tensor] = {}

    def budget(self, step: int) -> int:
        """Directions that may stay after ``step``: all, then a cubic descent, then the target."""
        if step <= self.first:
            return self.total
        if step >= self.last:
            return self.target
        left = 1 - (step - self.first) / (self.last - self.first)
        return int((self.total - self.target) * left**3 + self.target)

    @torch.no_grad()
    def update(self, step: int, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        """After optimiser step ``step`` (from 1): average, and set the e's that do not stay to zero, in place."""
        if step < self.last:
            for name, gradient in gradients.items():
                self._average(name, (weights[name] * gradient).abs())
        if step == self.last or (self.first < step < self.last and step % self.method.every == 0):
            self._allocate(self.budget(step))
            self._zero(weights)
        elif step > self.last:
            self._zero(weights)

    def _average(self, name: str, sensitivity: Tensor) -> None:
        first, second = self.method.betas
        if name not in self._sensitivity:
            self._sensitivity[name] = torch.zeros_like(sensitivity)
            self._uncertainty[name] = torch.zeros_like(sensitivity)
        mean = self._sensitivity[name].mul_(first).add_(sensitivity, alpha=1 - first)
        self._uncertainty[name].mul_(second).add_((sensitivity - mean).abs(), alpha=1 - second)

    def _importance(self, layer: str) -> Tensor:
        """Of each direction of a layer: r."""
        a, b, e = (self._sensitivity[layer + k] * self._uncertainty[layer + k] for k in ("lora_A", "lora_B", "lora_E"))
        return e[:, 0] + (a.mean(dim=1) + b.mean(dim=0))

    def _allocate(self, budget: int) -> None:
        importance = {layer: self._importance(layer) for layer in self.layers}
        dropped = self.total - budget
        threshold = torch.cat(list(importance.values())).kthvalue(dropped).values if dropped else -math.inf
        self.kept = {layer + "lora_E": values > threshold for layer, values in importance.items()}

    def _zero(self, weights: Mapping[str, Tensor]) -> None:
        for name, kept in self.kept.items():
            weights[name].mul_(kept[:, None])

    def state_dict(self) -> dict[str, Tensor]:
        """The averages and what stays."""
        state = {f"sensitivity.{name}": value for name, value in self._sensitivity.items()}
        state |= {f"uncertainty.{name}": value for name, value in self._uncertainty.items()}
        return state | {f"kept.{name}": value for name, value in self.kept.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Go on from another's state, on ``device``; tensors are copied, never shared."""
        for kind, own in (("sensitivity", self._sensitivity), ("uncertainty", self._uncertainty), ("kept", self.kept)):
            own.clear()
            for name, value in state.items():
                if name.startswith(f"{kind}."):
                    own[name.removeprefix(f"{kind}.")] = value.to(device, copy=True)

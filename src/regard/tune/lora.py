"""LoRA (Hu et al. 2022), rsLoRA (Kalajdzievski 2023) and DoRA (Liu et al. 2024).

::

    LoRA    y = W x + b + s·B A x          s = α / r, rsLoRA: α / √r
    DoRA    y = m ⊙ (W + s·B A) x / ‖W + s·B A‖ + b, norms by row, m trained

B is zero at first, and m the norm of W: an adapter that has not learned changes nothing.
"""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import Dropout
from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.tune.method import Delta, Method, adapt, choose, places


@dataclass(frozen=True)
class Lora(Method):
    """A low-rank matrix beside each chosen one."""

    name: ClassVar[str] = "lora"

    rank: int = 4
    """r, rank of the added matrices."""
    alpha: float = 16.0
    """α: what is added is scaled by α / r."""
    dropout: float = 0.0
    """Rate on the input of the added matrices."""
    targets: tuple[str, ...] = ("*",)
    """Linear layers to adapt: names or patterns, such as query or encoder.*.down; by default all of them."""
    rank_stabilised: bool = False
    """Scale by α / √r instead (rsLoRA)."""
    magnitude: bool = False
    """Train the length of each row of the matrix apart from its direction (DoRA)."""

    def __post_init__(self) -> None:
        check_low_rank(self.rank, self.alpha, self.dropout, self.targets)

    @property
    def scale(self) -> float:
        """s of the equation."""
        return self.alpha / (math.sqrt(self.rank) if self.rank_stabilised else self.rank)

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        for place, layer in linear_layers(model, self.targets, self.rank):
            adapt(model, place, adapter, LoraDelta(layer, self))


class LoraDelta(Delta):
    """What LoRA or DoRA adds to one linear layer."""

    can_merge = True

    def __init__(self, layer: nn.Linear, method: Lora):
        super().__init__()
        self.lora_A = nn.Parameter(torch.empty(method.rank, layer.in_features))
        self.lora_B = nn.Parameter(torch.zeros(layer.out_features, method.rank))
        nn.init.kaiming_uniform_(self.lora_A, a=math.sqrt(5))
        self.scale = method.scale
        self.dropout = Dropout(method.dropout)
        self.magnitude: nn.Parameter | None = None
        self._layer: tuple[nn.Linear, ...] = ()
        if method.magnitude:
            # Not asked of the model each time: an engine may have put a packed layer there, without weights to look
            # at. In a tuple: the layer is not a part of its own adapter.
            self._layer = (layer,)
            self.magnitude = nn.Parameter(torch.linalg.vector_norm(layer.weight.detach(), dim=1))

    def product(self) -> Tensor:
        """s·B A, out×in."""
        return self.scale * (self.lora_B @ self.lora_A)

    def stretch(self) -> Tensor:
        """m / ‖W + s·B A‖, one number an output; the norm counts as a constant (section 4.3 of the paper)."""
        assert self.magnitude is not None
        return self.magnitude / torch.linalg.vector_norm(self._layer[0].weight + self.product(), dim=1).detach()

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """…×in and …×out to …×out."""
        added = self.scale * F.linear(F.linear(self.dropout(x), self.lora_A), self.lora_B)
        if self.magnitude is None:
            return added
        stretch, bias = self.stretch(), self._layer[0].bias
        return (stretch - 1) * (y if bias is None else y - bias) + stretch * added

    def change(self) -> dict[str, Tensor]:
        """See :meth:`Delta.change`."""
        if self.magnitude is None:
            return {"weight": self.product()}
        weight = self._layer[0].weight
        return {"weight": self.stretch()[:, None] * (weight + self.product()) - weight}


def linear_layers(model: Transformer, targets: tuple[str, ...], rank: int) -> list[tuple[str, nn.Linear]]:
    """Names and layers that ``targets`` fit.

    Raises:
        ConfigError: a pattern that fits nothing, or a rank above the width of a layer.
    """
    layers = dict(places(model, nn.Linear))
    chosen = [(name, layers[name]) for name in choose(layers, targets)]
    for name, layer in chosen:
        assert isinstance(layer, nn.Linear)
        width = min(layer.in_features, layer.out_features)
        if rank > width:
            raise ConfigError(f"rank {rank} is above the width of {name}, which is {width}; take at most that.")
    return chosen  # type: ignore[return-value]


def check_low_rank(rank: int, alpha: float, dropout: float, targets: tuple[str, ...]) -> None:
    """Raise a ConfigError where the settings of a low-rank method make no sense."""
    if rank < 1:
        raise ConfigError(f"rank is {rank}; it must be at least 1.")
    if not 0 < alpha < math.inf:
        raise ConfigError(f"alpha is {alpha}; it must be positive.")
    if not 0 <= dropout < 1:
        raise ConfigError(f"dropout is {dropout}; it must lie in [0, 1).")
    if not targets:
        raise ConfigError("targets is empty; name the layers to adapt.")

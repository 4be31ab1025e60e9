"""Bottleneck adapters: a narrow network behind a sublayer.

::

    y + W_up f(W_down y + b_down) + b_up

Houlsby et al. (2019) put one behind each attention and each feed-forward sublayer, Pfeiffer et al. (2021) behind the
feed-forward ones only. W_up and b_up are zero at first: an adapter that has not learned changes nothing.
"""

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.tune.method import Delta, Method, adapt, places

_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


@dataclass(frozen=True)
class _Bottleneck(Method):
    width: int = 16
    """Inner width of each adapter."""
    activation: Literal["relu", "gelu", "silu"] = "relu"
    """f."""

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width is {self.width}; it must be at least 1.")

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        if self.width > model.config.d_model:
            raise ConfigError(f"width {self.width} is no bottleneck: the model's own is {model.config.d_model}.")
        for place, layer in list(self._sublayers(model)):
            adapt(model, place, adapter, BottleneckDelta(layer.out_features, self))

    @staticmethod
    @abstractmethod
    def _sublayers(model: Transformer) -> Iterator[tuple[str, nn.Linear]]:
        """Last linear layers of the sublayers to follow: what they give is added to the residual stream."""


@dataclass(frozen=True)
class Houlsby(_Bottleneck):
    """A narrow network behind each attention and each feed-forward sublayer."""

    name: ClassVar[str] = "houlsby"

    @staticmethod
    def _sublayers(model: Transformer) -> Iterator[tuple[str, nn.Linear]]:
        return _last_layers(model, ".out", ".down")


@dataclass(frozen=True)
class Pfeiffer(_Bottleneck):
    """A narrow network behind each feed-forward sublayer."""

    name: ClassVar[str] = "pfeiffer"

    @staticmethod
    def _sublayers(model: Transformer) -> Iterator[tuple[str, nn.Linear]]:
        return _last_layers(model, ".down")


def _last_layers(model: Transformer, *ends: str) -> Iterator[tuple[str, nn.Linear]]:
    return ((name, layer) for name, layer in places(model, nn.Linear) if name.endswith(ends))  # type: ignore[misc]


class BottleneckDelta(Delta):
    """What a bottleneck adapter adds to the output of one sublayer."""

    def __init__(self, d_model: int, method: _Bottleneck):
        super().__init__()
        self.down = nn.Linear(d_model, method.width)
        self.up = nn.Linear(method.width, d_model)
        self.activation = method.activation
        nn.init.normal_(self.down.weight, std=d_model**-0.5)
        for parameter in (self.down.bias, self.up.weight, self.up.bias):
            nn.init.zeros_(parameter)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """…×D to …×D."""
        return self.up(_ACTIVATIONS[self.activation](self.down(y)))

"""Prefix tuning (Li and Liang 2021): learned keys and values in front of those of an attention.

::

    attention(Q, [P_K; K], [P_V; V])          P_K, P_V = MLP(E) while training

The encoder's self-attention, the decoder's and the cross-attention each have their own. The network through which
the prefixes are trained steadies the training; what is saved are the prefixes themselves. A prefix takes part in the
softmax, so that, unlike the other methods, an adapter that has not learned does change the model a little.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import Mask, MultiHeadAttention
from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.model.adapted import Switch
from regard.tune.infront import InFront, present_adapters, side_by_side
from regard.tune.method import Method

_PLACES = {
    "encoder": ("encoder.", ".self_attention"),
    "decoder": ("decoder.", ".self_attention"),
    "cross": ("decoder.", ".cross_attention"),
}


@dataclass(frozen=True)
class PrefixTuning(Method):
    """Learned keys and values for every attention."""

    name: ClassVar[str] = "prefix"

    length: int = 10
    """Vectors in front of the keys, and of the values, of each attention."""
    hidden: int = 64
    """Width of the network through which they are trained; 0 trains them directly."""
    places: tuple[Literal["encoder", "decoder", "cross"], ...] = ("encoder", "decoder", "cross")
    """Which attentions: the encoder's, the decoder's self-attention, its attention to the encoder."""

    def __post_init__(self) -> None:
        if self.length < 1 or self.hidden < 0:
            raise ConfigError("length must be at least 1, and hidden cannot be negative.")
        if not self.places:
            raise ConfigError(f"places is empty; name some of {', '.join(_PLACES)}.")

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        fitting = tuple(_PLACES[place] for place in self.places)
        for name, attention in model.named_modules():
            if not isinstance(attention, MultiHeadAttention):
                continue
            if any(name.startswith(start) and name.endswith(end) for start, end in fitting):
                if attention.prefix is None:
                    attention.prefix = Prefixes(model.adapters)
                weight = next(attention.parameters())
                prefix = Prefix(attention, self.length, self.hidden).to(weight.device, weight.dtype)
                attention.prefix.adapters[adapter] = prefix  # type: ignore[union-attr]

    def finished(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The prefixes themselves."""
        if not self.hidden:
            return weights
        found = {}
        for name in weights:
            if name.endswith("embedding"):
                place = name.removesuffix("embedding")
                own = {n.removeprefix(place): w for n, w in weights.items() if n.startswith(place)}
                inner = torch.tanh(F.linear(own["embedding"], own["inner.weight"], own["inner.bias"]))
                found[place + "vectors"] = F.linear(inner, own["outer.weight"], own["outer.bias"])
        return found


class Prefix(nn.Module):
    """One adapter's prefix of one attention: P keys and values of all heads."""

    def __init__(self, attention: MultiHeadAttention, length: int, hidden: int):
        super().__init__()
        self.head_dim, self.value_dim = attention.head_dim, attention.value_dim
        self.heads = _width(attention.key) // self.head_dim
        width = self.heads * (self.head_dim + self.value_dim)
        if hidden:
            self.embedding = nn.Parameter(torch.randn(length, hidden))
            self.inner = nn.Linear(hidden, hidden)
            self.outer = nn.Linear(hidden, width)
        else:
            self.vectors = nn.Parameter(0.02 * torch.randn(length, width))

    def forward(self) -> tuple[Tensor, Tensor]:
        """Keys 1×H×P×K and values 1×H×P×V."""
        if hasattr(self, "vectors"):
            vectors = self.vectors
        else:
            vectors = self.outer(torch.tanh(self.inner(self.embedding)))
        key, value = vectors.split([self.heads * self.head_dim, self.heads * self.value_dim], dim=-1)
        return tuple(v.unflatten(-1, (self.heads, -1)).transpose(0, 1)[None] for v in (key, value))  # type: ignore[return-value]


def _width(layer: nn.Module) -> int:
    """Outputs of a linear layer, adapted or not."""
    return int((layer.base if hasattr(layer, "base") else layer).out_features)  # type: ignore[union-attr, arg-type]


class Prefixes(nn.Module):
    """The prefixes of all adapters for one attention."""

    def __init__(self, switch: Switch):
        super().__init__()
        self.switch = switch
        self.adapters = nn.ModuleDict()

    def forward(
        self, key: Tensor, value: Tensor, mask: Mask | None, first_key: int = 0
    ) -> tuple[Tensor, Tensor, Mask | None]:
        """Put the prefixes in front of keys B×H×S×K and values B×H×S×V, and let ``mask`` know.

        ``first_key`` is the position of the first key, where a cache has dropped those before.
        """
        rows = len(key)
        keys, values, present = [], [], []
        for prefix, has in present_adapters(self.adapters, self.switch, rows):
            own_key, own_value = prefix()
            keys.append(own_key.expand(rows, -1, -1, -1).to(key.dtype))
            values.append(own_value.expand(rows, -1, -1, -1).to(value.dtype))
            present.append(has[:, None].expand(-1, own_key.shape[2]))
        if not keys:
            return key, value, mask
        columns = side_by_side(present)
        if mask is not None or not columns.all():
            mask = InFront(columns, mask, first_key)
        return torch.cat([*keys, key], dim=2), torch.cat([*values, value], dim=2), mask

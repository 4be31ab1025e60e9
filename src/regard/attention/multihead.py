"""Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention.cache import KeyValueCache
from regard.attention.dropout import Dropout
from regard.attention.kernels import attend
from regard.attention.mask import Mask
from regard.attention.positions import RotaryPositions
from regard.attention.reference import reference_attention


def joint_linear(x: Tensor, layers: Sequence[nn.Module]) -> tuple[Tensor, ...]:
    """What each of ``layers`` makes of ``x``, in training as one matrix product.

    One product of three times the width runs closer to the machine's peak than three, and
    needs one product each for its two gradients. Layers that are not plain ``nn.Linear``s
    (adapted, packed) are called one by one.
    """
    if not x.requires_grad or any(type(layer) is not nn.Linear for layer in layers):
        return tuple(layer(x) for layer in layers)
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    bias = None if any(b is None for b in biases) else torch.cat(biases)
    return F.linear(x, torch.cat(weights), bias).split([len(w) for w in weights], dim=-1)


class MultiHeadAttention(nn.Module):
    """H attentions side by side, each on its own projection of the input.

    The projections are four plain ``nn.Linear``s, so that tuning methods find them.
    Self-attention when no memory is given, cross-attention otherwise.
    """

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        head_dim: int | None = None,
        value_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        rotary: RotaryPositions | None = None,
    ):
        """
        Args:
            d_model: D, width of the input and output.
            num_heads: H.
            head_dim: K, width of a head's queries and keys; default D / H.
            value_dim: V, width of a head's values; default K.
            bias: whether the four projections have biases.
            dropout: rate on the attention weights.
            rotary: rotates queries and keys by their positions (shared between layers).

        Raises:
            ValueError: D is not a multiple of H and no ``head_dim`` was given.
        """
        super().__init__()
        if head_dim is None:
            if d_model % num_heads:
                raise ValueError(f"d_model {d_model} is not a multiple of num_heads {num_heads}; give head_dim")
            head_dim = d_model // num_heads
        value_dim = head_dim if value_dim is None else value_dim
        self.num_heads, self.head_dim, self.value_dim = num_heads, head_dim, value_dim
        self.query = nn.Linear(d_model, num_heads * head_dim, bias=bias)
        self.key = nn.Linear(d_model, num_heads * head_dim, bias=bias)
        self.value = nn.Linear(d_model, num_heads * value_dim, bias=bias)
        self.out = nn.Linear(num_heads * value_dim, d_model, bias=bias)
        self.dropout = Dropout(dropout)
        self.rotary = rotary
        #: Query, key and value as one layer, set by an engine that has packed the weights.
        self.joint: nn.Module | None = None

    def _heads(self, x: Tensor) -> Tensor:
        """B×T×(H·K) to B×H×T×K."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys B×H×S×K and values B×H×S×V of a memory B×S×D, to be used at every decoding step."""
        key, value = joint_linear(memory, (self.key, self.value))
        return self._heads(key), self._heads(value)

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        *,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
        first: int = 0,
    ) -> Tensor:
        """Attend from ``x`` to itself, to what ``cache`` holds, or to a projected ``memory``.

        Args:
            x: B×T×D.
            memory: keys and values of :meth:`project_memory`. It may have fewer rows
                than ``x``: each of its rows then serves B / rows consecutive rows of
                ``x`` (the beams of one sentence).
            mask: which keys each query may attend to.
            positions: T or B×T absolute positions of ``x``; needed by rotary positions
                and by masks when queries do not stand at the end of the keys.
            cache: keys and values of earlier steps; those of ``x`` are appended.
            first: first cache column to read.

        Returns:
            B×T×D.
        """
        query, key, value = self._project(x, memory, positions, cache, first)
        dropout = self.dropout if self.training and self.dropout.rate else None
        output = attend(
            query, key, value, mask, dropout=dropout, dropout_rate=self.dropout.rate if dropout else 0.0
        )  # B×H×T×V
        return self.out(output.transpose(1, 2).reshape(*x.shape[:2], -1))

    def weights(self, x: Tensor, memory: tuple[Tensor, Tensor] | None = None, mask: Mask | None = None) -> Tensor:
        """The weights that :meth:`forward` uses on these inputs, B×H×T×S, from the reference kernel."""
        positions = torch.arange(x.shape[1], device=x.device)
        query, key, value = self._project(x, memory, positions, None, 0)
        view = None if mask is None else mask.view(query.shape[2], key.shape[2], query.device)
        return reference_attention(query, key, value, view, self.head_dim**-0.5)[1]

    def _project(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None,
        positions: Tensor | None,
        cache: KeyValueCache | None,
        first: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            query, (key, value) = self._heads(self.query(x)), memory
            if len(key) != len(query):  # beams of one sentence become queries of one row
                query = query.reshape(len(key), -1, self.num_heads, self.head_dim).transpose(1, 2)
            return query, key, value
        if self.joint is None:
            query, key, value = map(self._heads, joint_linear(x, (self.query, self.key, self.value)))
        else:
            width = self.num_heads * self.head_dim
            query, key, value = map(self._heads, self.joint(x).tensor_split((width, 2 * width), dim=-1))
        if self.rotary is not None:
            if positions is None:
                positions = torch.arange(x.shape[1], device=x.device)
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        if cache is not None:
            key, value = cache.append(key, value, first)
        return query, key, value

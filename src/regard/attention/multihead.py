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
    (adapted, packed), of which only some have biases, or that somebody watches, are called
    one by one.
    """
    if not x.requires_grad or any(type(layer) is not nn.Linear or layer._forward_hooks for layer in layers):
        return tuple(layer(x) for layer in layers)
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers if layer.bias is not None]
    if biases and len(biases) < len(layers):
        return tuple(layer(x) for layer in layers)
    bias = torch.cat(biases) if biases else None  # type: ignore[arg-type]
    return F.linear(x, torch.cat(weights), bias).split([len(w) for w in weights], dim=-1)  # type: ignore[arg-type]


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
            rotary: rotates queries and keys of self-attention by their positions (shared
                between layers).

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
            mask: which keys each query may attend to. It counts keys as they lie in the
                cache from ``first`` on, and the T queries as the last of them.
            positions: T or B×T positions of ``x`` for rotary positions, in self-attention;
                default 0 to T - 1.
            cache: keys and values of earlier steps; those of ``x`` are appended.
            first: first cache column to read.

        Returns:
            B×T×D.

        Raises:
            ValueError: a cache together with a memory, or a memory whose rows do not divide B.
        """
        query, key, value = self._project(x, memory, positions, cache, first)
        output = attend(
            query, key, value, mask, positions=self._mask_positions(x, query, key, mask), dropout=self.dropout
        )  # B×H×T×V
        return self.out(output.transpose(1, 2).reshape(*x.shape[:2], -1))

    def weights(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        *,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The weights that :meth:`forward` uses on these inputs, before dropout: B×H×T×S.

        They come from the reference kernel.
        """
        query, key, value = self._project(x, memory, positions, None, 0)
        view = None
        if mask is not None:
            mask_positions = self._mask_positions(x, query, key, mask)
            view = mask.view(query.shape[2], key.shape[2], query.device, mask_positions)
        weights = reference_attention(query, key, value, view, self.head_dim**-0.5)[1]
        if len(key) == len(x):
            return weights
        # rows×H×(beams·T)×S to (rows·beams)×H×T×S
        return weights.unflatten(2, (-1, x.shape[1])).transpose(1, 2).flatten(0, 1)

    @staticmethod
    def _mask_positions(x: Tensor, query: Tensor, key: Tensor, mask: Mask | None) -> Tensor | None:
        """Where the queries stand, if not at the end: those of rows that share a memory stand side by side."""
        if mask is None or not mask.looks_at_queries or len(query) == len(x):
            return None
        num_queries, num_keys = x.shape[1], key.shape[2]
        last = torch.arange(num_keys - num_queries, num_keys, device=x.device)
        return last.repeat(len(x) // len(query))

    def _project(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None,
        positions: Tensor | None,
        cache: KeyValueCache | None,
        first: int,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            if cache is not None:
                raise ValueError("a memory is attended to as a whole: give a memory or a cache, not both")
            query, (key, value) = self.query(x), memory
            if len(key) != len(x):  # the rows that share a memory become queries of one row
                if not len(key) or len(x) % len(key):
                    raise ValueError(f"{len(x)} rows cannot share a memory of {len(key)} rows evenly")
                query = query.reshape(len(key), -1, query.shape[-1])
            return self._heads(query), key, value
        if self.joint is None:
            query, key, value = map(self._heads, joint_linear(x, (self.query, self.key, self.value)))
        else:
            width = self.num_heads * self.head_dim
            query, key, value = map(self._heads, self.joint(x).tensor_split((width, 2 * width), dim=-1))
        if self.rotary is not None:
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        if cache is not None:
            key, value = cache.append(key, value, first)
        return query, key, value

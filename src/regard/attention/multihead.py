"""Multi-head attention (Vaswani et al. 2017, section 3.2.2)."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention.cache import KeyValueCache
from regard.attention.dispatch import attend
from regard.attention.dropout import Dropout
from regard.attention.look import Look
from regard.attention.mask import Mask, check_mask
from regard.attention.positions import RotaryPositions
from regard.attention.scoring import Scoring


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
        num_kv_heads: int | None = None,
        memory_dim: int | None = None,
        out_dim: int | None = None,
        bias: bool = True,
        dropout: float = 0.0,
        scoring: Scoring | None = None,
    ):
        """
        Args:
            d_model: D, width of the input.
            num_heads: H.
            head_dim: K, width of a head's queries and keys; default D / H.
            value_dim: V, width of a head's values; default K.
            num_kv_heads: G, heads of keys and values, each shared by H / G heads of queries (grouped-query
                attention, Ainslie et al. 2023; with G = 1 multi-query, Shazeer 2019); default H.
            memory_dim: width of the memory in cross-attention; default D.
            out_dim: width of the output; default D.
            bias: whether the four projections have biases.
            dropout: rate on the attention weights.
            scoring: similarity, normaliser and position; default the scaled dot product under a softmax.
                Positions turn or shift the scores of self-attention only.

        Raises:
            ValueError: D is not a multiple of H and no ``head_dim`` was given, G does not divide H, or ``scoring``
                was made for other heads.
        """
        super().__init__()
        if num_heads < 1:
            raise ValueError(f"num_heads must be at least 1, got {num_heads}")
        if head_dim is None:
            if d_model % num_heads:
                raise ValueError(f"d_model {d_model} is not a multiple of num_heads {num_heads}; give head_dim")
            head_dim = d_model // num_heads
        value_dim = head_dim if value_dim is None else value_dim
        num_kv_heads = num_heads if num_kv_heads is None else num_kv_heads
        if num_kv_heads < 1 or num_heads % num_kv_heads:
            raise ValueError(f"num_kv_heads {num_kv_heads} does not divide num_heads {num_heads}")
        memory_dim = d_model if memory_dim is None else memory_dim
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads
        self.head_dim, self.value_dim = head_dim, value_dim
        self.query = nn.Linear(d_model, num_heads * head_dim, bias=bias)
        self.key = nn.Linear(memory_dim, num_kv_heads * head_dim, bias=bias)
        self.value = nn.Linear(memory_dim, num_kv_heads * value_dim, bias=bias)
        self.out = nn.Linear(num_heads * value_dim, d_model if out_dim is None else out_dim, bias=bias)
        self.dropout = Dropout(dropout)
        self.scoring = Scoring() if scoring is None else scoring
        self.scoring.check_heads(num_heads, head_dim)
        #: Query, key and value as one layer, set by an engine that has packed the weights.
        self.joint: nn.Module | None = None
        #: Puts learned keys and values in front, set by prefix tuning.
        self.prefix: nn.Module | None = None
        #: Who is told what each pass compares; set by :class:`regard.attention.record`.
        self.watcher: Callable[[Look], None] | None = None

    def project_memory(self, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Keys B×G×S×K and values B×G×S×V of a memory B×S×D, to be used at every decoding step."""
        key, value = joint_linear(memory, (self.key, self.value))
        return _heads(key, self.head_dim), _heads(value, self.value_dim)

    def forward(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        *,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
        first: int = 0,
        past: Tensor | None = None,
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
                default 0 to T - 1, or those after ``past``.
            cache: keys and values of earlier steps; those of ``x`` are appended.
            first: first cache column to read.
            past: B×M×D inputs of an earlier segment, projected again but without gradient (Dai et al. 2019,
                section 3.2); they stand before ``x``.

        Returns:
            B×T×D, or as wide as ``out_dim`` says.

        Raises:
            ValueError: a cache or a past together with a memory, a past with a cache, a memory whose rows do not
                divide B, or one for an attention with positions at the scores.
        """
        output = self._attended(x, memory, mask, positions, cache, first, past)
        return self.out(output.transpose(1, 2).reshape(*x.shape[:2], -1))

    def head_outputs(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        *,
        positions: Tensor | None = None,
    ) -> Tensor:
        """What each head alone adds to the output, B×T×H×D; with the bias of ``out``, their sum is :meth:`forward`.

        ``out`` is called as it stands, with its adapters, rather than its matrix looked at. A bottleneck adapter
        behind it is no linear function of the heads: what they add together is then not quite the sum.
        """
        output = self._attended(x, memory, mask, positions, None, 0, None)
        output = output.transpose(1, 2).reshape(*x.shape[:2], self.num_heads, self.value_dim)
        nothing = self.out(torch.zeros_like(output).flatten(2))
        heads = torch.eye(self.num_heads, dtype=output.dtype, device=output.device)[..., None]
        return torch.stack([self.out((output * head).flatten(2)) - nothing for head in heads], dim=2)

    def weights(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None = None,
        mask: Mask | None = None,
        *,
        positions: Tensor | None = None,
    ) -> Tensor:
        """The weights that :meth:`forward` uses on these inputs, before dropout: B×H×T×S.

        They come from the reference kernel. Those on a learned prefix are left out.
        """
        check_mask(mask)
        query, key, value = self._project(x, memory, positions, None, 0, None)
        num_keys = key.shape[2]
        if self.prefix is not None:
            key, value, mask = self.prefix(key, value, mask)
        at = self._mask_positions(x, query, key, mask)
        return Look(self.scoring, query, key, mask, at, len(x)).weights()[..., -num_keys:]

    def _attended(
        self,
        x: Tensor,
        memory: tuple[Tensor, Tensor] | None,
        mask: Mask | None,
        positions: Tensor | None,
        cache: KeyValueCache | None,
        first: int,
        past: Tensor | None,
    ) -> Tensor:
        """What the heads found, B×H×T×V; where rows share a memory, theirs side by side in one."""
        check_mask(mask)
        scoring = self.scoring
        query, key, value = self._project(x, memory, positions, cache, first, past)
        first_key = 0 if cache is None else cache.used - key.shape[2] - first
        if self.prefix is not None:
            key, value, mask = self.prefix(key, value, mask, first_key)
        at = self._mask_positions(x, query, key, mask)
        if self.watcher is not None:
            kept = key if cache is None else key.clone()  # the cache will change
            self.watcher(Look(scoring, query, kept, mask, at, len(x), first_key))
        return attend(query, key, value, mask, scoring, positions=at, first_key=first_key, dropout=self.dropout)

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
        past: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        if memory is not None:
            if cache is not None or past is not None:
                other = "cache" if past is None else "past"
                raise ValueError(f"a memory is attended to as a whole: give a memory or a {other}, not both")
            return self._project_to(x, memory)
        if past is not None:
            query, key, value = self._project_after(past, x, cache)
        elif self.joint is None:
            query, key, value = joint_linear(x, (self.query, self.key, self.value))
        else:
            width, shared = self.num_heads * self.head_dim, self.num_kv_heads * self.head_dim
            query, key, value = self.joint(x).tensor_split((width, width + shared), dim=-1)
        query, key, value = _heads(query, self.head_dim), _heads(key, self.head_dim), _heads(value, self.value_dim)
        if self.scoring.turns:
            query, key = _turn(self.scoring.position, query, key, positions)  # type: ignore[arg-type]
        if cache is not None:
            key, value = cache.append(key, value, first)
        return query, key, value

    def _project_to(self, x: Tensor, memory: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Queries for a memory; the rows that share a row of it become queries of one row."""
        if self.scoring.terms or self.scoring.turns:
            raise ValueError(
                "positions at the scores compare places in one sequence, and a memory is another one: "
                "make the cross-attention without position and span"
            )
        query, (key, value) = self.query(x), memory
        if len(key) != len(x):
            if not len(key) or len(x) % len(key):
                raise ValueError(f"{len(x)} rows cannot share a memory of {len(key)} rows evenly")
            query = query.reshape(len(key), -1, query.shape[-1])
        return _heads(query, self.head_dim), key, value

    def _project_after(self, past: Tensor, x: Tensor, cache: KeyValueCache | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of x, keys and values of the past and x."""
        if cache is not None:
            raise ValueError("a cache holds the keys of what came before: give a past or a cache, not both")
        if past.shape[0] != x.shape[0] or past.shape[2] != x.shape[2]:
            raise ValueError(f"the past of x, {tuple(x.shape)}, is B×M×D, got {tuple(past.shape)}")
        key, value = joint_linear(torch.cat([past.detach(), x], dim=1), (self.key, self.value))
        return self.query(x), key, value


def _heads(x: Tensor, width: int) -> Tensor:
    """B×T×(H·K) to B×H×T×K."""
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


def _turn(rotary: RotaryPositions, query: Tensor, key: Tensor, positions: Tensor | None) -> tuple[Tensor, Tensor]:
    """Rotate queries and keys; keys of a past stand before position 0 of x, where positions are given."""
    before = key.shape[2] - query.shape[2]
    if not before:
        return rotary(query, positions), rotary(key, positions)
    if positions is None:
        positions = torch.arange(before, key.shape[2], device=query.device)
    earlier = positions[..., :1] - torch.arange(before, 0, -1, device=query.device)
    if int(earlier.min()) < 0:
        raise ValueError(f"positions of x begin at {int(positions.min())}, too low for a past of {before}")
    return rotary(query, positions), rotary(key, torch.cat([earlier, positions], dim=-1))

"""The blocks of a Transformer: feed-forward, normalisation, encoder and decoder layer."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import (
    AdaptiveSpan,
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    Dropout,
    KeyValueCache,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    ScaledDot,
    Scoring,
    ShawPositions,
    T5Bias,
    TopK,
    TransformerXLPositions,
    entmax15,
    softmax,
    sparsemax,
)
from regard.attention.dropout import chance
from regard.attention.relative import ScoreTerm
from regard.attention.similarity import Similarity
from regard.model.config import ModelConfig
from regard.model.norm import LayerNorm

T = TypeVar("T")
_ACTIVATIONS = {"relu": F.relu, "gelu": F.gelu, "silu": F.silu}


def initialise(model: nn.Module, d_model: int) -> None:
    """Glorot-uniform matrices (Glorot and Bengio 2010), embeddings of standard deviation D^-½ with 0 for padding."""
    for name, parameter in model.named_parameters():
        if ".scoring." in name:
            continue  # what scores are made of knows how to begin
        if parameter.dim() < 2:
            if name.endswith("bias"):
                nn.init.zeros_(parameter)
        elif "embedder" in name or name.startswith("head"):
            nn.init.normal_(parameter, std=d_model**-0.5)
        else:
            # query, key and value count as parts of one D×3D matrix
            joint = name.split(".")[-2] in ("query", "key", "value")
            nn.init.xavier_uniform_(parameter, gain=2**-0.5 if joint else 1.0)
    for module in model.modules():
        if isinstance(module, nn.Embedding) and module.padding_idx is not None:
            with torch.no_grad():
                module.weight[module.padding_idx].zero_()


def within_window(mask: Mask, config: ModelConfig) -> Mask:
    """``mask``, within the window that self-attention has, if it has one: to both sides, unless the mask is causal."""
    window = config.attention.window
    return mask if window is None else mask & Mask.window(window, 0 if mask.reach[1] == 0 else window)


def kept(layers: Iterable[T], model: "Layered") -> list[T]:
    """The layers that a pass goes through: in training some may be left out (LayerDrop, Fan et al. 2020)."""
    rate = model.config.layer_drop if model.training else 0.0
    return [layer for layer in layers if not (rate and chance(rate))]


class Layered(Protocol):
    """A model of layers."""

    config: ModelConfig
    training: bool


def mean_span(model: nn.Module) -> Tensor:
    """How many pieces a head of self-attention sees, on average over all that learn it (a section ``max_span``)."""
    return torch.stack([module.loss() for module in model.modules() if isinstance(module, AdaptiveSpan)]).mean()


def make_norm(config: ModelConfig) -> nn.Module:
    """The normalisation that ``config.norm`` names."""
    return LayerNorm(config.d_model) if config.norm == "layernorm" else nn.RMSNorm(config.d_model, eps=1e-6)


def make_position(config: ModelConfig, *, causal: bool) -> RotaryPositions | ScoreTerm | None:
    """What ``config.position`` does in self-attention; None where it acts at the input, or not at all."""
    position, heads, width = config.positions, config.num_heads, config.key_width
    if position.kind == "rotary":
        return RotaryPositions(width, position.detail("base"), fraction=position.detail("fraction"))
    if position.kind == "shaw":
        return ShawPositions(width, int(position.detail("max_distance")))
    if position.kind == "transformer_xl":
        return TransformerXLPositions(config.d_model, heads, width)
    if position.kind == "t5":
        details = {name: int(position.detail(name)) for name in ("num_buckets", "max_distance")}
        return T5Bias(heads, bidirectional=not causal, **details)
    return ALiBi(heads) if position.kind == "alibi" else None


def make_positions(config: ModelConfig, *, causal: bool) -> Iterator[RotaryPositions | ScoreTerm | None]:
    """The position of each layer of a stack, one after the other.

    Those with weights of a layer's own (as in the papers: Shaw's and Transformer-XL's) are new each time, the
    others are one for the stack.
    """
    shared = make_position(config, causal=causal)
    while True:
        yield shared
        if config.positions.kind in ("shaw", "transformer_xl"):
            shared = make_position(config, causal=causal)


def make_scoring(config: ModelConfig, position: RotaryPositions | ScoreTerm | None, *, span: bool) -> Scoring:
    """Similarity and normaliser of ``config.attention``, with a position, and a span of its own if there are spans."""
    chosen, heads, width = config.attention, config.num_heads, config.key_width
    similarities: dict[str, Callable[[], Similarity]] = {
        "scaled_dot": ScaledDot,
        "dot": Dot,
        "cosine": lambda: Cosine(heads),
        "additive": lambda: Additive(heads, width),
        "bilinear": lambda: Bilinear(heads, width),
    }
    normalisers = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15}
    normaliser = TopK(chosen.top_k) if chosen.top_k else normalisers[chosen.normaliser]
    spans = AdaptiveSpan(heads, chosen.max_span, ramp=chosen.span_ramp) if span and chosen.max_span else None
    return Scoring(similarities[chosen.similarity](), normaliser, position, spans)


def make_attention(
    config: ModelConfig, position: RotaryPositions | ScoreTerm | None = None, *, own: bool
) -> MultiHeadAttention:
    """Multi-head attention with the widths and dropout of ``config``.

    Args:
        config: of the model.
        position: enters the scores.
        own: whether it is self-attention, which has spans.
    """
    return MultiHeadAttention(
        config.d_model,
        config.num_heads,
        head_dim=config.head_dim,
        value_dim=config.value_dim,
        num_kv_heads=config.num_kv_heads,
        bias=config.bias,
        dropout=config.attention_dropout,
        scoring=make_scoring(config, position, span=own),
    )


def make_caches(config: ModelConfig, rows: int, capacity: int, *, like: Tensor) -> list[KeyValueCache]:
    """An empty cache for each decoder layer, of the type and on the device of ``like``."""
    return [
        KeyValueCache.empty(
            rows,
            config.num_kv_heads,
            capacity,
            config.key_width,
            config.value_width,
            dtype=like.dtype,
            device=like.device,
            window=config.attention.window,
        )
        for _ in range(config.decoder_layers)
    ]


class FeedForward(nn.Module):
    """Two linear layers around a non-linearity (Vaswani et al. 2017, section 3.3), or SwiGLU (Shazeer 2020)."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.activation = config.activation
        self.up = nn.Linear(config.d_model, config.d_ff, bias=config.bias)
        self.gate = nn.Linear(config.d_model, config.d_ff, bias=config.bias) if config.activation == "swiglu" else None
        self.down = nn.Linear(config.d_ff, config.d_model, bias=config.bias)
        self.dropout = Dropout(config.activation_dropout)

    def forward(self, x: Tensor) -> Tensor:
        """B×T×D to B×T×D."""
        hidden = self.up(x)  # B×T×F
        if self.gate is not None:
            hidden = F.silu(self.gate(x)) * hidden
        else:
            hidden = _ACTIVATIONS[self.activation](hidden)
        return self.down(self.dropout(hidden))


class Sublayer(nn.Module):
    """Residual connection, dropout and normalisation around a function of x.

    Pre-norm computes x + f(norm(x)) (Xiong et al. 2020), post-norm norm(x + f(x)) (the original).
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.norm = make_norm(config)
        self.dropout = Dropout(config.dropout)
        self.pre = config.norm_position == "pre"

    def enter(self, x: Tensor) -> Tensor:
        """What the function sees."""
        return self.norm(x) if self.pre else x

    def leave(self, x: Tensor, output: Tensor) -> Tensor:
        """What the next sublayer sees, given the residual ``x`` and the function's output."""
        x = self.dropout.add(x, output)
        return x if self.pre else self.norm(x)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward: a layer of an encoder, or, under a causal mask, of a decoder without one."""

    def __init__(self, config: ModelConfig, position: RotaryPositions | ScoreTerm | None):
        super().__init__()
        self.self_attention = make_attention(config, position, own=True)
        self.self_attention_sublayer = Sublayer(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sublayer = Sublayer(config)

    def forward(
        self, x: Tensor, mask: Mask | None, *, positions: Tensor | None = None, cache: KeyValueCache | None = None
    ) -> Tensor:
        """B×S×D to B×S×D; with positions and a cache where it is the layer of a causal model, step by step."""
        around = self.self_attention_sublayer
        x = around.leave(x, self.self_attention(around.enter(x), mask=mask, positions=positions, cache=cache))
        around = self.feed_forward_sublayer
        return around.leave(x, self.feed_forward(around.enter(x)))


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the encoder's output, and feed-forward."""

    def __init__(self, config: ModelConfig, position: RotaryPositions | ScoreTerm | None):
        super().__init__()
        self.self_attention = make_attention(config, position, own=True)
        self.self_attention_sublayer = Sublayer(config)
        self.cross_attention = make_attention(config, own=False)
        self.cross_attention_sublayer = Sublayer(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sublayer = Sublayer(config)

    def forward(
        self,
        x: Tensor,
        mask: Mask | None,
        memory: tuple[Tensor, Tensor],
        memory_mask: Mask | None,
        *,
        positions: Tensor | None = None,
        cache: KeyValueCache | None = None,
        first: int = 0,
    ) -> Tensor:
        """B×T×D to B×T×D; ``memory`` holds the projected keys and values of the encoder's output."""
        around = self.self_attention_sublayer
        attended = self.self_attention(around.enter(x), mask=mask, positions=positions, cache=cache, first=first)
        x = around.leave(x, attended)
        around = self.cross_attention_sublayer
        x = around.leave(x, self.cross_attention(around.enter(x), memory, memory_mask))
        around = self.feed_forward_sublayer
        return around.leave(x, self.feed_forward(around.enter(x)))

    def cross_weights(
        self, x: Tensor, mask: Mask | None, memory: tuple[Tensor, Tensor], memory_mask: Mask | None
    ) -> Tensor:
        """The cross-attention weights that :meth:`forward` uses, B×H×T×S."""
        around = self.self_attention_sublayer
        x = around.leave(x, self.self_attention(around.enter(x), mask=mask))
        return self.cross_attention.weights(self.cross_attention_sublayer.enter(x), memory, memory_mask)

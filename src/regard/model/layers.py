"""The blocks of a Transformer: feed-forward, normalisation, encoder and decoder layer."""

from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import Dropout, KeyValueCache, Mask, MultiHeadAttention, RotaryPositions
from regard.model.config import ModelConfig


def make_norm(config: ModelConfig) -> nn.Module:
    """The normalisation that ``config.norm`` names."""
    return nn.LayerNorm(config.d_model) if config.norm == "layernorm" else nn.RMSNorm(config.d_model, eps=1e-6)


def make_attention(config: ModelConfig, rotary: RotaryPositions | None = None) -> MultiHeadAttention:
    """Multi-head attention with the widths and dropout of ``config``."""
    return MultiHeadAttention(
        config.d_model,
        config.num_heads,
        head_dim=config.head_dim,
        value_dim=config.value_dim,
        bias=config.bias,
        dropout=config.attention_dropout,
        rotary=rotary,
    )


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
            hidden = F.relu(hidden) if self.activation == "relu" else F.gelu(hidden)
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
    """Self-attention and feed-forward."""

    def __init__(self, config: ModelConfig, rotary: RotaryPositions | None):
        super().__init__()
        self.self_attention = make_attention(config, rotary)
        self.self_attention_sublayer = Sublayer(config)
        self.feed_forward = FeedForward(config)
        self.feed_forward_sublayer = Sublayer(config)

    def forward(self, x: Tensor, mask: Mask | None) -> Tensor:
        """B×S×D to B×S×D."""
        around = self.self_attention_sublayer
        x = around.leave(x, self.self_attention(around.enter(x), mask=mask))
        around = self.feed_forward_sublayer
        return around.leave(x, self.feed_forward(around.enter(x)))


class DecoderLayer(nn.Module):
    """Causal self-attention, cross-attention to the encoder's output, and feed-forward."""

    def __init__(self, config: ModelConfig, rotary: RotaryPositions | None):
        super().__init__()
        self.self_attention = make_attention(config, rotary)
        self.self_attention_sublayer = Sublayer(config)
        self.cross_attention = make_attention(config)
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

"""What a Transformer is made of, as a frozen dataclass saved with its weights."""

import math
from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from regard.base.errors import ConfigError, did_you_mean
from regard.model.choices import USUAL_ATTENTION, AttentionConfig, PositionConfig, PositionKind


@dataclass(frozen=True)
class ModelConfig:
    """A Transformer (Vaswani et al. 2017) and the choices made since: encoder and decoder, or one of them alone."""

    source_vocab_size: int
    """Number of source pieces."""
    target_vocab_size: int
    """W, number of target pieces."""
    d_model: int = 256
    """D, width of the residual stream."""
    d_ff: int = 1024
    """F, inner width of the feed-forward layers."""
    num_heads: int = 4
    """H, attention heads."""
    head_dim: int | None = None
    """K, width of a head's queries and keys; default D / H."""
    value_dim: int | None = None
    """V, width of a head's values; default K."""
    encoder_layers: int = 6
    """N of the encoder; 0 where there is none, as in a causal language model."""
    decoder_layers: int = 6
    """N of the decoder; a shallow decoder behind a deep encoder translates faster (Kasai et al. 2021). 0 where there
    is none, as in a masked language model."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalise before each sublayer (trains without trouble) or after it (as in the paper)."""
    activation: Literal["relu", "gelu", "silu", "swiglu"] = "relu"
    """Feed-forward non-linearity; SiLU is also called swish, SwiGLU (Shazeer 2020) has a third matrix."""
    attention: AttentionConfig = USUAL_ATTENTION
    """Similarity, normaliser, shared keys, window and span."""
    position: PositionConfig | PositionKind = "sinusoidal"
    """Where positions enter, by name, or as a section where a kind has details. A section without any is the name."""
    max_positions: int = 512
    """Number of learned positions; the other kinds have no limit."""
    tie: Literal["all", "decoder", "none"] = "all"
    """Share one matrix between source, target and output (all), target and output (decoder), or nothing."""
    bias: bool = True
    """Whether linear layers have biases."""
    output_bias: bool = False
    """Whether the vocabulary head has a bias, one number a target piece, as in Marian."""
    scale_embeddings: bool = True
    """Multiply embeddings by √D (section 3.4 of the paper)."""
    embedding_norm: bool = False
    """Normalise the sum of embedding and position, as in BART (Lewis et al. 2020)."""
    dropout: float = 0.1
    """Rate on embeddings and on the output of each sublayer."""
    attention_dropout: float = 0.0
    """Rate on attention weights."""
    activation_dropout: float = 0.0
    """Rate inside the feed-forward layers."""
    embedding_noise: float = 0.0
    """α of the noise on embeddings in training (NEFTune, Jain et al. 2024), such as 5."""
    layer_drop: float = 0.0
    """Rate at which training leaves out whole layers (LayerDrop, Fan et al. 2020): some can be removed afterwards."""
    pad_id: int = 0
    """Padding; never attended to, never counted in a loss."""
    bos_id: int = 2
    """First input of the decoder."""
    eos_id: int = 3
    """End of sentence, on both sides."""

    def __post_init__(self) -> None:
        if isinstance(self.position, PositionConfig) and self.position.is_plain:
            object.__setattr__(self, "position", self.position.kind)
        if isinstance(self.position, str) and self.position not in get_args(PositionKind):
            hint = did_you_mean(self.position, get_args(PositionKind))
            raise ConfigError(f"position: {self.position!r} is not a choice.{hint}")
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise ConfigError(f"{name}: {value!r} is not a choice.{did_you_mean(str(value), get_args(hint))}")
        sizes = ("source_vocab_size", "target_vocab_size", "d_model", "d_ff", "num_heads", "head_dim", "value_dim")
        for name in (*sizes, "max_positions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        layers = self.encoder_layers, self.decoder_layers
        if min(layers) < 0 or not any(layers):
            raise ConfigError(f"encoder_layers and decoder_layers are {layers}; one of them may be 0, no less.")
        for name in ("dropout", "attention_dropout", "activation_dropout", "layer_drop"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} lies in [0, 1), got {getattr(self, name)}.")
        if not 0.0 <= self.embedding_noise < math.inf:
            raise ConfigError(f"embedding_noise cannot be negative, got {self.embedding_noise}.")
        smaller = min(self.source_vocab_size, self.target_vocab_size)
        for name, size in (("pad_id", smaller), ("bos_id", self.target_vocab_size), ("eos_id", smaller)):
            if not 0 <= getattr(self, name) < size:
                raise ConfigError(f"{name} is {getattr(self, name)}, outside a vocabulary of {size} pieces.")
        if self.head_dim is None and self.d_model % self.num_heads:
            raise ConfigError(f"d_model {self.d_model} is not a multiple of num_heads {self.num_heads}; set head_dim.")
        if self.tie == "all" and self.source_vocab_size != self.target_vocab_size:
            raise ConfigError(
                f"tie: all needs one joint vocabulary, but source has {self.source_vocab_size} pieces and target "
                f"{self.target_vocab_size}. Use tie: decoder, or tokenizer.joint: true."
            )
        self._check_attention()

    def _check_attention(self) -> None:
        position, groups = self.positions, self.attention.num_kv_heads
        self.attention.check_position(position.kind)
        if position.kind == "rotary" and position.detail("fraction") == 1 and self.key_width % 2:
            raise ConfigError(f"rotary positions need an even head width, got {self.key_width}.")
        if position.kind == "rotary" and self.key_width * position.detail("fraction") < 2:
            raise ConfigError(
                f"position.fraction {position.fraction} of {self.key_width} features is not even one pair."
            )
        if groups is not None and self.num_heads % groups:
            raise ConfigError(f"attention.num_kv_heads {groups} does not divide num_heads {self.num_heads}.")

    @property
    def positions(self) -> PositionConfig:
        """The section ``position``, resolved."""
        return PositionConfig(self.position) if isinstance(self.position, str) else self.position

    @property
    def num_kv_heads(self) -> int:
        """G, resolved."""
        return self.attention.num_kv_heads or self.num_heads

    @property
    def key_width(self) -> int:
        """K, resolved."""
        return self.d_model // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def value_width(self) -> int:
        """V, resolved."""
        return self.key_width if self.value_dim is None else self.value_dim

"""What a Transformer is made of, as a frozen dataclass saved with its weights."""

from dataclasses import dataclass
from typing import Literal, get_args, get_origin, get_type_hints

from regard.base.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class ModelConfig:
    """An encoder-decoder Transformer (Vaswani et al. 2017) and the choices made since."""

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
    """N of the encoder."""
    decoder_layers: int = 6
    """N of the decoder; a shallow decoder behind a deep encoder translates faster (Kasai et al. 2021)."""
    norm: Literal["layernorm", "rmsnorm"] = "layernorm"
    """LayerNorm (Ba et al. 2016) or RMSNorm (Zhang and Sennrich 2019)."""
    norm_position: Literal["pre", "post"] = "pre"
    """Normalise before each sublayer (trains without trouble) or after it (as in the paper)."""
    activation: Literal["relu", "gelu", "swiglu"] = "relu"
    """Feed-forward non-linearity; SwiGLU (Shazeer 2020) has a third matrix."""
    position: Literal["sinusoidal", "learned", "rotary", "none"] = "sinusoidal"
    """Sinusoidal and learned positions are added to the input, rotary ones turn queries and keys."""
    max_positions: int = 512
    """Number of learned positions; the other kinds have no limit."""
    tie: Literal["all", "decoder", "none"] = "all"
    """Share one matrix between source, target and output (all), target and output (decoder), or nothing."""
    bias: bool = True
    """Whether linear layers have biases."""
    dropout: float = 0.1
    """Rate on embeddings and on the output of each sublayer."""
    attention_dropout: float = 0.0
    """Rate on attention weights."""
    activation_dropout: float = 0.0
    """Rate inside the feed-forward layers."""
    pad_id: int = 0
    """Padding; never attended to, never counted in a loss."""
    bos_id: int = 2
    """First input of the decoder."""
    eos_id: int = 3
    """End of sentence, on both sides."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal and value not in get_args(hint):
                raise ConfigError(f"{name}: {value!r} is not a choice.{did_you_mean(str(value), get_args(hint))}")
        sizes = ("source_vocab_size", "target_vocab_size", "d_model", "d_ff", "num_heads", "head_dim", "value_dim")
        for name in (*sizes, "encoder_layers", "decoder_layers", "max_positions"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        for name in ("dropout", "attention_dropout", "activation_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ConfigError(f"{name} lies in [0, 1), got {getattr(self, name)}.")
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
        if self.position == "rotary" and self.key_width % 2:
            raise ConfigError(f"rotary positions need an even head width, got {self.key_width}.")

    @property
    def key_width(self) -> int:
        """K, resolved."""
        return self.d_model // self.num_heads if self.head_dim is None else self.head_dim

    @property
    def value_width(self) -> int:
        """V, resolved."""
        return self.key_width if self.value_dim is None else self.value_dim

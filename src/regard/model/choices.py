"""The sections ``attention`` and ``position`` of a model's settings: which attention it is made of."""

from dataclasses import dataclass, fields
from typing import Literal, get_args

from regard.base.errors import ConfigError, did_you_mean

PositionKind = Literal["none", "sinusoidal", "learned", "rotary", "shaw", "transformer_xl", "t5", "alibi"]

#: Which details each kind has, and their defaults.
_DETAILS: dict[str, dict[str, float]] = {
    "rotary": {"base": 10_000.0, "fraction": 1.0},
    "shaw": {"max_distance": 16},
    "t5": {"max_distance": 128, "num_buckets": 32},
}


@dataclass(frozen=True)
class PositionConfig:
    """How a model knows where a piece stands. In a preset, ``position: rotary`` is short for ``{kind: rotary}``."""

    kind: PositionKind = "sinusoidal"
    """Added to the input (sinusoidal, learned), or entering self-attention: rotary (Su et al. 2021), shaw (Shaw et
    al. 2018), transformer_xl (Dai et al. 2019), t5 (Raffel et al. 2020), alibi (Press et al. 2022)."""
    base: float | None = None
    """rotary: the slowest pair of features turns once in about 2π times as many positions; default 10,000."""
    fraction: float | None = None
    """rotary: part of the features that is turned; default 1."""
    max_distance: int | None = None
    """shaw, t5: all distances from it on count as one; default 16 and 128."""
    num_buckets: int | None = None
    """t5: how many numbers a head learns; default 32."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(PositionKind):
            raise ConfigError(
                f"kind: {self.kind!r} is not a choice.{did_you_mean(str(self.kind), get_args(PositionKind))}"
            )
        for field in fields(self):
            if field.name == "kind" or getattr(self, field.name) is None:
                continue
            if field.name not in _DETAILS.get(self.kind, {}):
                raise ConfigError(f"{field.name} has no effect on {self.kind} positions; leave it out.")
        if self.detail("base") <= 0 or not 0 < self.detail("fraction") <= 1:
            raise ConfigError("base must be positive, and fraction lie in (0, 1].")
        if self.kind == "shaw" and self.detail("max_distance") < 1:
            raise ConfigError(f"max_distance must be at least 1, got {self.max_distance}.")
        buckets = self.detail("num_buckets")
        if self.kind == "t5" and (buckets < 4 or buckets % 2 or self.detail("max_distance") <= buckets // 2):
            raise ConfigError("num_buckets must be even and at least 4, and max_distance more than half of it.")

    def detail(self, name: str) -> float:
        """The value of a setting, or its default; 1 where the kind has no such setting."""
        given = getattr(self, name)
        return _DETAILS.get(self.kind, {}).get(name, 1) if given is None else given

    @property
    def is_plain(self) -> bool:
        """Whether the kind says everything."""
        return self == PositionConfig(self.kind)


@dataclass(frozen=True)
class AttentionConfig:
    """How queries and keys become weights. Window and span are those of self-attention."""

    similarity: Literal["scaled_dot", "dot", "cosine", "additive", "bilinear"] = "scaled_dot"
    """scaled_dot (Vaswani et al. 2017), dot, bilinear (Luong et al. 2015), cosine (Liu et al. 2022), additive
    (Bahdanau et al. 2015)."""
    normaliser: Literal["softmax", "sparsemax", "entmax15", "top_k"] = "softmax"
    """softmax, sparsemax (Martins and Astudillo 2016), entmax15 (Peters et al. 2019), top_k (Zhao et al. 2019)."""
    top_k: int | None = None
    """top_k: how many keys keep a weight."""
    num_kv_heads: int | None = None
    """G, heads of keys and values, each for H / G heads of queries (Ainslie et al. 2023); default H."""
    window: int | None = None
    """How many pieces before (in the encoder also after) its own a piece sees; default all."""
    max_span: int | None = None
    """Each head learns how many pieces it sees, up to this (Sukhbaatar et al. 2019); default no such limit."""
    span_ramp: int = 32
    """Width of the soft edge of a span."""
    span_penalty: float = 0.0
    """Added to the loss of a piece, times the mean span of all heads: what makes spans short."""

    def __post_init__(self) -> None:
        if (self.normaliser == "top_k") != (self.top_k is not None):
            wanted = "normaliser: top_k needs top_k" if self.top_k is None else "top_k needs normaliser: top_k"
            raise ConfigError(f"{wanted}.")
        for name in ("top_k", "num_kv_heads", "max_span", "span_ramp"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ConfigError(f"{name} must be at least 1, got {value}.")
        if self.window is not None and self.window < 0:
            raise ConfigError(f"window cannot be negative, got {self.window}.")
        if self.max_span is None and (self.span_penalty or self.span_ramp != 32):
            raise ConfigError("span_penalty and span_ramp have no effect without max_span.")
        if self.span_penalty < 0:
            raise ConfigError(f"span_penalty cannot be negative, got {self.span_penalty}.")
        if self.max_span is not None and self.normaliser not in ("softmax", "top_k"):
            raise ConfigError(
                f"max_span goes with softmax and top_k, not with {self.normaliser}: it weighs exp(score)."
            )

    def check_position(self, kind: str) -> None:
        """Refuse what does not go together.

        Raises:
            ConfigError: the similarity does not go with these positions.
        """
        if kind in ("shaw", "transformer_xl") and self.similarity not in ("scaled_dot", "dot"):
            raise ConfigError(
                f"position {kind} adds a product of the query to q·k: it goes with attention.similarity "
                f"scaled_dot and dot, not with {self.similarity}."
            )
        if kind == "rotary" and self.similarity in ("additive", "bilinear"):
            raise ConfigError(
                f"position rotary goes with dot and cosine similarities, not with attention.similarity "
                f"{self.similarity}: its scores would not depend on distances alone."
            )


#: Scaled dot products under a softmax, as in Vaswani et al. 2017.
USUAL_ATTENTION = AttentionConfig()

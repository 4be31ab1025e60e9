"""A model's weights as the native engine wants them: projections joined, heads widened, norms in order.

The engine's vectors are 16 numbers wide. A head of another width gets rows of zeros in the
projections that make it, and columns of zeros in the one that reads it, so that the engine
itself need not know. int8 stays int8, with its scales.
"""

from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

import numpy as np

from regard.base.errors import ModelError, did_you_mean
from regard.model.config import ModelConfig
from regard.model.reading import Stored


def wide(width: int) -> int:
    """A head's width as the engine has it."""
    return -(-width // 16) * 16


def shape_of(config: ModelConfig, int8: bool) -> dict[str, Any]:
    """What the engine must know besides the weights."""
    names = ("d_model", "num_heads", "encoder_layers", "decoder_layers", "norm", "norm_position", "position")
    return {
        **{name: getattr(config, name) for name in (*names, "activation", "bos_id", "eos_id")},
        "head_width": config.key_width,
        "key_width": wide(config.key_width),
        "value_width": wide(config.value_width),
        "embedding_scale": config.d_model**0.5 if config.scale_embeddings else 1.0,
        "int8": int8,
    }


class Arrangement:
    """Takes weights by the names of :class:`regard.model.Transformer` and gives them by the engine's."""

    def __init__(self, config: ModelConfig, weights: Mapping[str, Stored], where: str):
        self.config, self.where = config, where
        self.left = dict(weights)
        self.found: dict[str, Stored] = {}

    def run(self) -> dict[str, Stored]:
        """Everything under its new name.

        Raises:
            ModelError: a weight is missing, has another shape, or has no place in the model.
        """
        config = self.config
        self._embeddings()
        for i in range(config.encoder_layers):
            self._self_attention(f"encoder.{i}")
            self._feed_forward(f"encoder.{i}")
        for i in range(config.decoder_layers):
            self._self_attention(f"decoder.{i}")
            self._cross_attention(f"decoder.{i}")
            self._feed_forward(f"decoder.{i}")
        self._norms("encoder", config.encoder_layers, ("self_attention", "feed_forward"))
        self._norms("decoder", config.decoder_layers, ("self_attention", "cross_attention", "feed_forward"))
        if self.left:
            name = next(iter(self.left))
            raise ModelError(f"{self.where}: the weight '{name}' has no place in this model.")
        return self.found

    # ---- parts

    def _embeddings(self) -> None:
        config, source, target = self.config, "source_embedder.", "target_embedder."
        width = config.d_model
        if config.tie == "all":
            self.found["output"] = self._take(source + "tokens.weight", (config.target_vocab_size, width))
        else:
            self.found["embedding.source"] = self._take(source + "tokens.weight", (config.source_vocab_size, width))
            table = self._take(target + "tokens.weight", (config.target_vocab_size, width))
            if config.tie == "decoder":
                self.found["output"] = table
            else:
                self.found["embedding.target"] = table
                self.found["output"] = self._take("head.weight", (config.target_vocab_size, width))
        if config.output_bias:
            self.found["output.bias"] = self._take("head.bias", (config.target_vocab_size,))
        if config.position == "learned":
            for side, prefix in (("source", source), ("target", target)):
                table = self._take(prefix + "positions.table", (config.max_positions, width))
                self.found[f"positions.{side}"] = as_float(table)

    def _self_attention(self, layer: str) -> None:
        self._join(f"{layer}.self", f"{layer}.self_attention", ("query", "key", "value"))
        self._out(f"{layer}.self.out", f"{layer}.self_attention.out")

    def _cross_attention(self, layer: str) -> None:
        self._join(f"{layer}.cross", f"{layer}.cross_attention", ("query",))
        self._join(f"{layer}.cross.memory", f"{layer}.cross_attention", ("key", "value"))
        self._out(f"{layer}.cross.out", f"{layer}.cross_attention.out")

    def _feed_forward(self, layer: str) -> None:
        config = self.config
        sizes = {"up": (config.d_ff, config.d_model), "down": (config.d_model, config.d_ff)}
        if config.activation == "swiglu":
            sizes["gate"] = sizes["up"]
        for name, size in sizes.items():
            self._put(f"{layer}.{name}", self._linear(f"{layer}.feed_forward.{name}", size))

    def _norms(self, stack: str, layers: int, sublayers: tuple[str, ...]) -> None:
        """Number the norms by where they are entered: post-norm models enter the first sublayer by none."""
        names = [f"{stack}.{i}.{sublayer}_sublayer.norm" for i in range(layers) for sublayer in sublayers]
        numbered: Iterable[tuple[int, str]]
        if self.config.norm_position == "pre":
            numbered = enumerate([*names, f"{stack}_norm"])
        else:
            numbered = enumerate(names, start=1)
        if self.config.embedding_norm:  # which is what enters the first sublayer
            side = "source" if stack == "encoder" else "target"
            numbered = chain([(0, f"{side}_embedder.norm")], numbered)
        for number, name in numbered:
            self.found[f"{stack}.norm.{number}.gain"] = self._take(name + ".weight", (self.config.d_model,))
            if self.config.norm == "layernorm":
                self.found[f"{stack}.norm.{number}.bias"] = self._take(name + ".bias", (self.config.d_model,))

    # ---- matrices

    def _take(self, name: str, shape: tuple[int, ...]) -> Stored:
        if name not in self.left:
            raise ModelError(f"{self.where}: the weight '{name}' is missing.{did_you_mean(name, self.left)}")
        value = self.left.pop(name)
        actual = value[0].shape if isinstance(value, tuple) else value.shape
        if actual != shape:
            raise ModelError(f"{self.where}: '{name}' is {actual}, expected {shape}.")
        return value

    def _linear(self, name: str, shape: tuple[int, int]) -> tuple[Stored, np.ndarray | None]:
        bias = as_float(self._take(name + ".bias", shape[:1])) if self.config.bias else None
        return self._take(name + ".weight", shape), bias

    def _put(self, name: str, linear: tuple[Stored, np.ndarray | None]) -> None:
        self.found[name] = linear[0]
        if linear[1] is not None:
            self.found[name + ".bias"] = linear[1]

    def _join(self, name: str, attention: str, projections: tuple[str, ...]) -> None:
        """Projections to heads as one matrix, each head's rows padded to the engine's width."""
        heads, weights, biases = self.config.num_heads, [], []
        for projection in projections:
            width = self.config.value_width if projection == "value" else self.config.key_width
            weight, bias = self._linear(f"{attention}.{projection}", (heads * width, self.config.d_model))
            parts = weight if isinstance(weight, tuple) else (weight,)
            padded = tuple(_widen_heads(part, heads, width) for part in parts)
            weights.append(padded if len(padded) == 2 else padded[0])
            biases.append(None if bias is None else _widen_heads(bias, heads, width))
        self._put(name, (_stack(weights), None if biases[0] is None else np.concatenate(biases)))

    def _out(self, name: str, part: str) -> None:
        """The projection that reads the heads: columns padded as the rows that make them."""
        heads, width = self.config.num_heads, self.config.value_width
        weight, bias = self._linear(part, (self.config.d_model, heads * width))
        values, scale = weight if isinstance(weight, tuple) else (weight, None)
        values = np.ascontiguousarray(_widen_heads(values.T, heads, width).T)
        self._put(name, (values if scale is None else (values, scale), bias))


def as_float(value: Stored) -> np.ndarray:
    """Stored weights as float32."""
    return value[0] * value[1][:, None] if isinstance(value, tuple) else value


def _widen_heads(rows: np.ndarray, heads: int, width: int) -> np.ndarray:
    """(H·width)×… to (H·wide)×…, with zeros behind each head."""
    if wide(width) == width:
        return rows
    by_head = rows.reshape(heads, width, *rows.shape[1:])
    padding = [(0, 0), (0, wide(width) - width), *((0, 0) for _ in rows.shape[1:])]
    return np.pad(by_head, padding).reshape(heads * wide(width), *rows.shape[1:])


def _stack(matrices: list[Stored]) -> Stored:
    """Matrices above each other: in int8 where all are."""
    pairs = [matrix for matrix in matrices if isinstance(matrix, tuple)]
    if len(pairs) == len(matrices):
        return np.concatenate([pair[0] for pair in pairs]), np.concatenate([pair[1] for pair in pairs])
    return np.concatenate([as_float(matrix) for matrix in matrices])

"""Export to ONNX: two graphs that any ONNX runtime can run, and a loop to write around them.

``encoder.onnx`` reads source pieces once and gives each decoder layer's keys and values of
them. ``decoder.onnx`` reads the next target pieces and the keys and values of those before
(none at first: zero columns), and gives logits and the keys and values to pass on.
``config.json`` has the ids that the loop needs; the tokenisers lie beside it.

The graphs are written here with plain tensor operations: the model's own forward looks at
the values of its input to choose a kernel, which a graph cannot.
"""

import json
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention import MultiHeadAttention, RotaryPositions
from regard.attention.positions import sinusoidal_table
from regard.base.extras import missing
from regard.base.files import write_atomic
from regard.compress.fields import check_fields
from regard.compress.loading import Loaded
from regard.model import ModelConfig, Transformer
from regard.model.layers import DecoderLayer, EncoderLayer
from regard.model.transformer import Embedder
from regard.tasks.vocabulary import save_tokenizers

#: Positions that the graphs know, where the model itself has no limit.
POSITIONS = 1024
OPSET = 18
# Protocol buffers end at 2 GiB; a larger graph has its weights in a file beside it.
_LARGEST = 1 << 30


def write(loaded: Loaded, folder: Path) -> None:
    """Write the model, in float32, into ``folder``.

    Raises:
        MissingExtra: the ``onnx`` packages are not installed.
        ModelError: a setting has no graph.
    """
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise missing("onnx", "this export") from error
    _check(loaded.model.config)
    for parameter in loaded.model.parameters():
        parameter.requires_grad_(False)
    _write_encoder(loaded.model, folder / "encoder.onnx")
    _write_decoder(loaded.model, folder / "decoder.onnx")
    save_tokenizers(folder, loaded.tokenizers)
    write_atomic(folder / "config.json", json.dumps(_description(loaded), indent=2, ensure_ascii=False) + "\n")


def _check(config: ModelConfig) -> None:
    free = ("norm", "norm_position", "activation", "tie", "head_dim", "value_dim", "output_bias", "scale_embeddings")
    positions = ("sinusoidal", "learned", "rotary", "none")
    check_fields(config, "This version's ONNX graph", {**dict.fromkeys(free), "position": positions})


def _description(loaded: Loaded) -> dict[str, Any]:
    """What a loop around the graphs needs to know."""
    config = loaded.model.config
    return {
        "pad_id": config.pad_id,
        "bos_id": config.bos_id,
        "eos_id": config.eos_id,
        "never": loaded.never,
        "decoder_layers": config.decoder_layers,
        "num_heads": config.num_heads,
        "key_width": config.key_width,
        "value_width": config.value_width,
        "max_positions": config.max_positions if config.position == "learned" else POSITIONS,
        "directions": [list(direction) for direction in loaded.directions],
        "tags": {tag: loaded.tokenizers[0].tag_id(tag) for tag in loaded.tokenizers[0].tags},
    }


# ---- the graphs


class Positions(nn.Module):
    """What positions do, as tables: added to embeddings, or turning queries and keys."""

    def __init__(self, config: ModelConfig, embedder: Embedder):
        super().__init__()
        added: Tensor | None = None
        if config.position == "learned":
            added = embedder.positions.table  # type: ignore[union-attr]
        elif config.position == "sinusoidal":
            added = sinusoidal_table(POSITIONS, config.d_model).float()
        cos: Tensor | None = None
        sin: Tensor | None = None
        if config.position == "rotary":
            cos, sin = RotaryPositions(config.key_width, num_positions=POSITIONS).reset()
        self.added, self.cos, self.sin = added, cos, sin

    def embed(self, embedder: Embedder, ids: Tensor, positions: Tensor) -> Tensor:
        """B×T ids at T positions to B×T×D."""
        x = embedder.tokens(ids) * embedder.scale
        return x if self.added is None else x + self.added[positions]

    def turn(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate B×H×T×K by T positions, where positions are rotary."""
        if self.cos is None or self.sin is None:
            return x
        first, second = x.chunk(2, dim=-1)
        return x * self.cos[positions] + torch.cat([-second, first], dim=-1) * self.sin[positions]


def heads(x: Tensor, num_heads: int) -> Tensor:
    """B×T×(H·K) to B×H×T×K."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def attend(layer: MultiHeadAttention, query: Tensor, key: Tensor, value: Tensor, allowed: Tensor) -> Tensor:
    """Softmax attention and the output projection; ``allowed`` broadcasts to B×H×T×S."""
    scores = (query * layer.head_dim**-0.5) @ key.transpose(-1, -2)
    weights = torch.where(allowed, scores, torch.finfo(scores.dtype).min).softmax(-1)
    return layer.out((weights @ value).transpose(1, 2).flatten(2))


class EncoderGraph(nn.Module):
    """Source pieces to the keys and values that the decoder's layers attend to."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model, self.positions = model, Positions(model.config, model.source_embedder)

    def forward(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
        """B×S ids and B×S booleans (True = a piece) to B×H×S×K and B×H×S×V of each decoder layer."""
        places = torch.arange(ids.shape[1])
        x = self.positions.embed(self.model.source_embedder, ids, places)
        allowed = mask[:, None, None]
        for layer in self.model.encoder:
            assert isinstance(layer, EncoderLayer)
            attention, around = layer.self_attention, layer.self_attention_sublayer
            query, key, value = _project(attention, around.enter(x))
            query, key = self.positions.turn(query, places), self.positions.turn(key, places)
            x = around.leave(x, attend(attention, query, key, value, allowed))
            around = layer.feed_forward_sublayer
            x = around.leave(x, layer.feed_forward(around.enter(x)))
        memory = self.model.encoder_norm(x)
        return tuple(
            heads(linear(memory), attention.num_heads)
            for attention in _cross_attentions(self.model)
            for linear in (attention.key, attention.value)
        )


class DecoderGraph(nn.Module):
    """The next target pieces, what went before and the source, to logits and what goes before next time."""

    def __init__(self, model: Transformer):
        super().__init__()
        self.model, self.positions = model, Positions(model.config, model.target_embedder)

    def forward(self, ids: Tensor, mask: Tensor, cross: list[Tensor], past: list[Tensor]) -> tuple[Tensor, ...]:
        """B×T ids, B×S mask, and keys and values of each layer in turn: of the source, and of P earlier pieces.

        Returns:
            Logits B×T×W, then keys and values B×H×(P+T)×K and V of each layer in turn.
        """
        before = past[0].shape[2]
        places = before + torch.arange(ids.shape[1])
        x = self.positions.embed(self.model.target_embedder, ids, places)
        causal = torch.arange(before + ids.shape[1]) <= places[:, None]
        present: list[Tensor] = []
        for number, layer in enumerate(self.model.decoder):
            assert isinstance(layer, DecoderLayer)
            attention, around = layer.self_attention, layer.self_attention_sublayer
            query, key, value = _project(attention, around.enter(x))
            query, key = self.positions.turn(query, places), self.positions.turn(key, places)
            present.append(torch.cat([past[2 * number], key], dim=2))
            present.append(torch.cat([past[2 * number + 1], value], dim=2))
            x = around.leave(x, attend(attention, query, present[-2], present[-1], causal))
            attention, around = layer.cross_attention, layer.cross_attention_sublayer
            query = heads(attention.query(around.enter(x)), attention.num_heads)
            attended = attend(attention, query, cross[2 * number], cross[2 * number + 1], mask[:, None, None])
            x = around.leave(x, attended)
            around = layer.feed_forward_sublayer
            x = around.leave(x, layer.feed_forward(around.enter(x)))
        return self.model.head(self.model.decoder_norm(x)), *present


def _project(attention: MultiHeadAttention, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    layers = (attention.query, attention.key, attention.value)
    query, key, value = (heads(layer(x), attention.num_heads) for layer in layers)
    return query, key, value


def _cross_attentions(model: Transformer) -> Iterator[MultiHeadAttention]:
    for layer in model.decoder:
        assert isinstance(layer, DecoderLayer)
        yield layer.cross_attention


# ---- writing them

# Sizes of the examples that the graphs are traced with. They differ from each other and from 1, which
# tracing would take for constants.
_BATCH, _SOURCE, _TARGET, _PAST = 2, 5, 3, 4


def _write_encoder(model: Transformer, path: Path) -> None:
    ids, mask = torch.zeros(_BATCH, _SOURCE, dtype=torch.long), torch.ones(_BATCH, _SOURCE, dtype=torch.bool)
    axes = {0: "batch", 1: "source"}
    _export(
        EncoderGraph(model), (ids, mask), path, ["ids", "mask"], _names(model, "cross"), {"ids": axes, "mask": axes}
    )


def _write_decoder(model: Transformer, path: Path) -> None:
    config = model.config
    ids, mask = torch.zeros(_BATCH, _TARGET, dtype=torch.long), torch.ones(_BATCH, _SOURCE, dtype=torch.bool)
    widths = (config.key_width, config.value_width)
    cross, past = (
        [torch.zeros(_BATCH, config.num_heads, length, width) for _ in model.decoder for width in widths]
        for length in (_SOURCE, _PAST)
    )
    shapes = {
        "ids": {0: "batch", 1: "target"},
        "mask": {0: "batch", 1: "source"},
        "cross": [{0: "batch", 2: "source"} for _ in cross],
        "past": [{0: "batch", 2: "past"} for _ in past],
    }
    inputs = ["ids", "mask", *_names(model, "cross"), *_names(model, "past")]
    _export(DecoderGraph(model), (ids, mask, cross, past), path, inputs, ["logits", *_names(model, "present")], shapes)


def _names(model: Transformer, what: str) -> list[str]:
    """``past_key_0``, ``past_value_0``, ``past_key_1`` and so on."""
    return [f"{what}_{kind}_{number}" for number in range(len(model.decoder)) for kind in ("key", "value")]


def _export(
    graph: nn.Module,
    example: tuple[Any, ...],
    path: Path,
    inputs: list[str],
    outputs: list[str],
    shapes: dict[str, Any],
) -> None:
    with warnings.catch_warnings(), _quiet("torch.onnx"):
        warnings.simplefilter("ignore")  # the exporter's own, about its dependencies
        program = torch.onnx.export(
            graph.eval(),
            example,
            input_names=inputs,
            output_names=outputs,
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # the paths of this machine, among others
    size = sum(parameter.numel() * parameter.element_size() for parameter in graph.parameters())
    program.save(path, external_data=size > _LARGEST)


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger's warnings from a person who can do nothing about them."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)

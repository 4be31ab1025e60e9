"""Models of Hugging Face: settings and weights, both ways.

They are Regard's Transformer under other names: Marian is the post-norm one (the
``opus-mt`` models are of this kind), Pegasus the pre-norm one; M2M-100 is a Pegasus and
BART a Marian with a table of positions each. One table of names serves import and export.
Where positions are sinusoidal, theirs hold the sines in the first half of the features and
the cosines in the second, ours in turn. The order of the D features of the residual stream
is a matter of convention, so each weight is reordered along the axis that runs over them,
and the model computes the same.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from regard.attention.positions import sinusoidal_table
from regard.base.config import from_dict
from regard.base.errors import ModelError
from regard.compress.families import MARIAN, PEGASUS, family_of
from regard.compress.fields import check_fields
from regard.model import ModelConfig

#: Their names of the activations → ours.
_ACTIVATIONS = {"relu": "relu", "gelu": "gelu", "silu": "silu", "swish": "silu"}
_SAME_NAMES = ("d_model", "encoder_layers", "decoder_layers", "dropout", "attention_dropout", "activation_dropout")
#: Length of the tables of sinusoidal positions that are written.
POSITIONS = 1024
_EMBEDDING = "source_embedder.tokens.weight"
#: Rows of BART's tables of positions that are none.
_NOT_POSITIONS = 2


@dataclass(frozen=True)
class Entry:
    """One weight in both worlds."""

    ours: str
    """Its name in Regard."""
    theirs: tuple[str, ...]
    """Its names there; one is written, any is read."""
    residual_axis: int | None
    """The axis over the D features of the residual stream."""


def weight_table(config: ModelConfig) -> Iterator[Entry]:
    """Every weight of a model, without tables of positions and the output bias."""
    yield from _embeddings(config.tie)
    for stack, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        for number in range(layers):
            for ours, theirs, axis in _layer(stack == "decoder"):
                for kind in ("weight", "bias"):
                    if kind == "bias" and not config.bias and not ours.endswith("norm"):
                        continue
                    # a bias has the axis of the output only
                    residual = None if kind == "bias" and axis == 1 else axis
                    name = f"model.{stack}.layers.{number}.{theirs}.{kind}"
                    yield Entry(f"{stack}.{number}.{ours}.{kind}", (name,), residual)
        if config.embedding_norm:
            side = "source" if stack == "encoder" else "target"
            for kind in ("weight", "bias"):
                yield Entry(f"{side}_embedder.norm.{kind}", (f"model.{stack}.layernorm_embedding.{kind}",), 0)
        if config.norm_position == "pre":
            for kind in ("weight", "bias"):
                yield Entry(f"{stack}_norm.{kind}", (f"model.{stack}.layer_norm.{kind}",), 0)


def _embeddings(tie: str) -> Iterator[Entry]:
    source, target = ("model.encoder.embed_tokens.weight",), ("model.decoder.embed_tokens.weight",)
    head = ("lm_head.weight",)
    if tie == "all":
        yield Entry("source_embedder.tokens.weight", ("model.shared.weight", *source, *target, *head), 1)
        return
    # where only the head is of its own, the shared table is read twice
    shared = ("model.shared.weight",) if tie == "none" else ()
    yield Entry("source_embedder.tokens.weight", source + shared, 1)
    yield Entry("target_embedder.tokens.weight", target + (shared or head), 1)
    if tie == "none":
        yield Entry("head.weight", head, 1)


def _layer(decoder: bool) -> Iterator[tuple[str, str, int]]:
    """Modules of a layer: our name, theirs, and the residual axis of the weight."""
    attentions = {"self_attention": "self_attn"} | ({"cross_attention": "encoder_attn"} if decoder else {})
    for ours, theirs in attentions.items():
        for name, short in (("query", "q"), ("key", "k"), ("value", "v")):
            yield f"{ours}.{name}", f"{theirs}.{short}_proj", 1
        yield f"{ours}.out", f"{theirs}.out_proj", 0
        yield f"{ours}_sublayer.norm", f"{theirs}_layer_norm", 0
    yield "feed_forward.up", "fc1", 1
    yield "feed_forward.down", "fc2", 0
    yield "feed_forward_sublayer.norm", "final_layer_norm", 0


def sines_first(d_model: int) -> Tensor:
    """Which of our features stands at each place of theirs: even ones, then odd ones."""
    return torch.cat([torch.arange(0, d_model, 2), torch.arange(1, d_model, 2)])


# ---- from Hugging Face


def read_config(values: Mapping[str, Any]) -> ModelConfig:
    """The settings of a ``config.json`` of Hugging Face.

    Raises:
        ModelError: another kind of model, or a setting that Regard has no counterpart for.
        ConfigError: a setting has a wrong type, or contradicts another.
    """
    family = family_of(values.get("model_type"))
    values = family.complete(values)
    for name in ("attention_heads", "ffn_dim"):
        sides = [values[f"{side}_{name}"] for side in ("encoder", "decoder")]
        if sides[0] != sides[1]:
            raise ModelError(f"encoder_{name} {sides[0]} and decoder_{name} {sides[1]} differ; Regard needs one.")
    if values["activation_function"] not in _ACTIVATIONS:
        known = ", ".join(_ACTIVATIONS)
        raise ModelError(f"activation_function is '{values['activation_function']}'; Regard reads {known}.")
    tied, shared = values["tie_word_embeddings"], values["share_encoder_decoder_embeddings"]
    ours = {
        "source_vocab_size": values["vocab_size"],
        "target_vocab_size": values.get("decoder_vocab_size") or values["vocab_size"],
        "d_ff": values["encoder_ffn_dim"],
        "num_heads": values["encoder_attention_heads"],
        "norm_position": family.norm_position,
        "position": family.position,
        "embedding_norm": family.embedding_norm,
        "activation": _ACTIVATIONS[values["activation_function"]],
        "tie": "all" if tied and shared else "decoder" if tied else "none",
        "scale_embeddings": values["scale_embedding"],
        "pad_id": values["pad_token_id"],
        "bos_id": values["decoder_start_token_id"],
        "eos_id": values["eos_token_id"],
    }
    if family.position == "learned":
        ours["max_positions"] = values["max_position_embeddings"]
    return from_dict(ModelConfig, ours | {name: values[name] for name in _SAME_NAMES}, "config.json")


def read_weights(state: Mapping[str, Tensor], config: ModelConfig) -> tuple[ModelConfig, dict[str, Tensor]]:
    """Their weights as ours, in the type they have; the configuration says whether the head has a bias.

    Raises:
        ModelError: a weight is missing, or one has no place.
    """
    # With a table of positions the order of the features may stay as it is.
    place = torch.argsort(sines_first(config.d_model)) if config.position == "sinusoidal" else None
    weights, used = {}, set()
    for entry in weight_table(config):
        used |= set(entry.theirs)
        found = next((state[name] for name in entry.theirs if name in state), None)
        if found is None:
            raise ModelError(f"the weight '{entry.theirs[0]}' is missing.")
        weights[entry.ours] = found if place is None else _reorder(found, entry.residual_axis, place)
    bias = state.get("final_logits_bias")
    if bias is not None and bool(bias.any()):
        weights["head.bias"] = bias.flatten()
        config = replace(config, output_bias=True)
    used |= {"final_logits_bias", "lm_head.weight", "model.shared.weight"}
    for stack, side in (("encoder", "source"), ("decoder", "target")):
        name = f"model.{stack}.embed_positions.weight"
        table = state.get(name)
        if config.position == "learned":
            weights[f"{side}_embedder.positions.table"] = _positions(table, config).to(weights[_EMBEDDING].dtype)
        elif table is not None and not _is_sinusoidal(table):
            raise ModelError(f"'{name}' is not the table of sines and cosines that these models have.")
        used |= {name, f"{name}s", f"model.{stack}.embed_tokens.weight"}  # old files name M2M-100's tables so
    if unknown := sorted(set(state) - used):
        raise ModelError(f"the weight '{unknown[0]}' has no place in a model of Regard.")
    return config, weights


def _positions(table: Tensor | None, config: ModelConfig) -> Tensor:
    """The table of positions of a model that has one, or else M2M-100's, which no file holds.

    BART's first two rows are never used, as fairseq counts positions from padding on.
    """
    if table is not None:
        return table[_NOT_POSITIONS:]
    return m2m100_positions(config.max_positions, config.d_model, config.pad_id + 1)


def m2m100_positions(num_positions: int, d_model: int, first: int) -> Tensor:
    """M2M-100's sines and cosines, ``num_positions``×D in float64, from position ``first`` on.

    They are those of tensor2tensor: all sines before all cosines, and the slowest turns at 10,000⁻¹ exactly.
    """
    half = d_model // 2
    rates = torch.exp(torch.arange(half, dtype=torch.float64) * (-math.log(10_000.0) / (half - 1)))
    angles = torch.arange(first, first + num_positions, dtype=torch.float64)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos(), angles.new_zeros(num_positions, d_model % 2)], dim=1)


def _is_sinusoidal(table: Tensor) -> bool:
    return torch.allclose(table.double(), positions_table(*table.shape), rtol=0, atol=1e-3)  # it may be float16


# ---- to Hugging Face


def write_config(config: ModelConfig) -> dict[str, Any]:
    """Settings for a ``config.json`` of Hugging Face.

    Raises:
        ModelError: no architecture there fits; the message names the setting.
    """
    family = PEGASUS if config.norm_position == "pre" else MARIAN
    name = f"Hugging Face's {family.name}"
    choices: dict[str, Any] = {
        "norm_position": None,
        "activation": ("relu", "gelu", "silu"),
        "tie": None if family is MARIAN else ("all",),
        "output_bias": None,
        "scale_embeddings": None,
        "head_dim": (None, config.d_model // config.num_heads),
        "value_dim": (None, config.d_model // config.num_heads),
    }
    check_fields(config, name, choices)
    if config.d_model % config.num_heads:
        raise ModelError(f"{name} needs d_model {config.d_model} to be a multiple of num_heads {config.num_heads}.")
    sizes = {}
    for side, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        sizes |= {f"{side}_layers": layers, f"{side}_attention_heads": config.num_heads}
        sizes[f"{side}_ffn_dim"] = config.d_ff
    values = {
        "architectures": [family.architecture],
        "model_type": family.kind,
        "is_encoder_decoder": True,
        "vocab_size": config.source_vocab_size,
        "d_model": config.d_model,
        **sizes,
        "max_position_embeddings": POSITIONS,
        "activation_function": config.activation,
        "scale_embedding": config.scale_embeddings,
        "tie_word_embeddings": config.tie != "none",
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "forced_eos_token_id": config.eos_id,
        "decoder_start_token_id": config.bos_id,
        "dtype": "float32",
    }
    if family is MARIAN:
        values |= {
            "decoder_vocab_size": config.target_vocab_size,
            "share_encoder_decoder_embeddings": config.tie == "all",
        }
    return values


def write_weights(weights: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Our weights as theirs, in the type they have; linear layers without biases get zeros."""
    order = sines_first(config.d_model)
    state = {}
    for entry in weight_table(replace(config, bias=True)):
        ours = weights.get(entry.ours)
        if ours is None:  # only biases may be absent
            ours = torch.zeros_like(weights[entry.ours.removesuffix("bias") + "weight"][:, 0])
        state[entry.theirs[0]] = _reorder(ours, entry.residual_axis, order)
    if config.output_bias:
        state["final_logits_bias"] = weights["head.bias"][None]
    else:
        state["final_logits_bias"] = torch.zeros(1, config.target_vocab_size)
    if config.norm_position == "pre":  # Pegasus keeps its positions with the weights
        table = positions_table(POSITIONS, config.d_model).float()
        state |= {f"model.{stack}.embed_positions.weight": table.clone() for stack in ("encoder", "decoder")}
    return {name: tensor.contiguous() for name, tensor in state.items()}


# ---- both


def positions_table(num_positions: int, d_model: int) -> Tensor:
    """Their sinusoidal positions, ``num_positions``×D in float64."""
    return sinusoidal_table(num_positions, d_model)[:, sines_first(d_model)]


def _reorder(weight: Tensor, axis: int | None, order: Tensor) -> Tensor:
    return weight if axis is None else weight.index_select(axis, order)

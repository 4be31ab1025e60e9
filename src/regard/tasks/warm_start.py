"""A translation model whose encoder, decoder or both begin as those of a pretrained model.

Stacks go from anywhere to anywhere (Rothe et al. 2020): a masked language model may become a decoder, whose
cross-attention is then new. Where the vocabularies differ, the pieces in common keep their embeddings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from regard.base.config import to_dict
from regard.base.errors import ConfigError, ModelError
from regard.data.tokenizer import Tokenizer
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_config, load_weights
from regard.tasks.vocabulary import load_tokenizers

Side = Literal["encoder", "decoder"]

# With other values of these, a stack's weights would mean nothing.
_SETTINGS = (
    "d_model",
    "d_ff",
    "num_heads",
    "head_dim",
    "value_dim",
    "norm",
    "norm_position",
    "activation",
    "attention",
    "position",
    "bias",
    "scale_embeddings",
    "embedding_norm",
)
_PARTS: dict[Side, tuple[str, str, str]] = {
    "encoder": ("source_embedder", "encoder", "encoder_norm"),
    "decoder": ("target_embedder", "decoder", "decoder_norm"),
}


def stack_settings(folder: Path, side: Side) -> dict[str, Any]:
    """The settings of a model that is to begin as a pretrained one: those that the weights of its stack go with.

    Args:
        folder: the pretrained model.
        side: what it becomes.

    Raises:
        ModelError: there is no model.
    """
    config, _ = load_config(folder)
    values = to_dict(config)
    names = _SETTINGS + (("max_positions",) if config.positions.kind == "learned" else ())
    settings = {name: values[name] for name in names}
    return settings | {f"{side}_layers": values[f"{_stack_for(config, side)}_layers"]}


def check_settings(config: ModelConfig, folder: Path, side: Side) -> None:
    """See that a model can begin as a pretrained one.

    Raises:
        ConfigError: settings differ; the message names them.
    """
    ours, theirs = to_dict(config), stack_settings(folder, side)
    differing = [f"model.{n} is {ours[n]!r} and must be {theirs[n]!r}" for n in theirs if ours[n] != theirs[n]]
    if differing:
        raise ConfigError(f"start.{side}: to begin as {folder}, {'; '.join(differing)}. Leave these settings out.")


def _stack_for(config: ModelConfig, side: Side) -> Side:
    """Which stack of a pretrained model becomes ``side``: the same one, or the only one there is."""
    if config.encoder_layers and config.decoder_layers:
        return side
    return "encoder" if config.encoder_layers else "decoder"


def start_stack(model: Transformer, side: Side, folder: Path, tokenizer: Tokenizer, *, embedding: bool = True) -> str:
    """Copy a stack, its embedding and, for a decoder with a head of its own, the head of a pretrained model.

    Args:
        model: new; changed in place.
        side: the stack that begins anew.
        folder: the pretrained model.
        tokenizer: of this side of the model.
        embedding: whether the embedding is copied as well; not where it is one with the other side's, which has been.

    Returns:
        What was done, for people.

    Raises:
        ModelError: the pretrained model is damaged, or does not fit (:func:`check_settings` says so in other words).
    """
    config, _ = load_config(folder)
    stack, found = _stack_for(config, side), load_weights(folder / "model.safetensors")
    names = dict(zip(_PARTS[side], _PARTS[stack], strict=True))
    copied, new = 0, []
    for name, parameter in model.named_parameters():
        part, _, rest = name.partition(".")
        if part not in names or rest == "tokens.weight":
            continue
        theirs = f"{names[part]}.{rest}"
        if theirs in found:
            _copy(parameter, found[theirs], f"{folder}: '{theirs}'")
            copied += 1
        elif ".cross_attention" in name:
            new.append(name)
        else:
            raise ModelError(f"{folder} cannot become the {side}: it has no weight '{theirs}'.")
    said = f"start.{side}: {copied} weights of {folder}"
    if new:
        said += f", {len(new)} of the cross-attention are new"
    old, new_pieces = _all_pieces(load_tokenizers(folder)[0 if stack == "encoder" else 1]), _all_pieces(tokenizer)
    shared = _start_vocabulary(model, side, found, names, old, new_pieces, embedding=embedding)
    if not embedding:
        return f"{said}; the embedding is that of the encoder"
    begun = len(new_pieces) - shared
    return (
        f"{said}; {shared:,} of {len(new_pieces):,} pieces were in its vocabulary, {begun:,} new ones begin at the mean"
    )


def _start_vocabulary(
    model: Transformer,
    side: Side,
    found: Mapping[str, Tensor],
    names: Mapping[str, str],
    old: Sequence[str],
    new: Sequence[str],
    *,
    embedding: bool,
) -> int:
    """Carry embedding and head over from the vocabulary ``old`` to ``new``; returns how many pieces are in both."""
    part = _PARTS[side][0]
    tokens: nn.Embedding = model.get_submodule(part).tokens  # type: ignore[assignment]
    tied = next(name for name in (f"{names[part]}.tokens.weight", "source_embedder.tokens.weight") if name in found)
    rows, shared = carry_over(found[tied], old, new)
    if embedding:
        _copy(tokens.weight, rows, tied)
    if side == "decoder":
        if model.head.weight is not tokens.weight:
            _copy(model.head.weight, carry_over(found.get("head.weight", found[tied]), old, new)[0], "head.weight")
        if model.head.bias is not None and "head.bias" in found:
            _copy(model.head.bias, carry_over(found["head.bias"], old, new)[0], "head.bias")
    return shared


def carry_over(rows: Tensor, old: Sequence[str], new: Sequence[str]) -> tuple[Tensor, int]:
    """One row for each piece of a new vocabulary.

    Args:
        rows: one for each old piece; vectors or numbers.
        old: their pieces.
        new: other pieces, in another order; those that are not among the old ones begin at the mean of their rows.

    Returns:
        The rows, and how many pieces are in both.
    """
    places = {piece: place for place, piece in enumerate(old)}
    index = torch.tensor([places.get(piece, -1) for piece in new])
    found = rows.mean(dim=0, keepdim=True).expand(len(new), *rows.shape[1:]).clone()
    found[index >= 0] = rows[index[index >= 0]]
    return found, int((index >= 0).sum())


@torch.no_grad()
def _copy(parameter: Tensor, values: Tensor, where: str) -> None:
    if parameter.shape != values.shape:
        raise ModelError(f"{where} is {tuple(values.shape)}, and {tuple(parameter.shape)} is needed.")
    parameter.copy_(values)


def _all_pieces(tokenizer: Tokenizer) -> list[str]:
    return tokenizer.pieces(range(tokenizer.vocab_size))

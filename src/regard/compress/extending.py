"""Words added to the vocabulary of a trained model: rows more in its tables, and everything else as it was.

A new row is the mean of the rows of the pieces that the word was cut into: the model goes on as if it saw an average of
them, and its logit for the new piece is never above all of theirs, so that greedy search gives what it gave. What
the piece means it learns by tuning.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from regard.base.config import to_dict
from regard.base.errors import ConfigError
from regard.base.files import write_atomic
from regard.compress.output import copy_rest, fresh_folder
from regard.data.extension import Extension, extend
from regard.decode.shortlist import FILE as SHORTLIST
from regard.model.config import ModelConfig
from regard.model.folder import load_config, load_weights, save_model, storage_of
from regard.tasks.vocabulary import load_tokenizers, save_tokenizers

Side = Literal["both", "source", "target"]


def extend_model(folder: str | Path, output: str | Path, words: Sequence[str], side: Side = "both") -> list[Extension]:
    """Write a copy of a model whose vocabulary has a piece for each of ``words``.

    Args:
        folder: a translation model.
        output: the folder to write; it must be new, or empty.
        words: in any order; one that is a piece already is an error.
        side: where to add them, if source and target have vocabularies of their own.

    Returns:
        What was added to the source's and the target's vocabulary: the same twice where they have one.

    Raises:
        ConfigError: a word cannot be added, there are none, or ``output`` is not empty.
        ModelError: the model is damaged.
    """
    folder, output = Path(folder), Path(output)
    words = list(dict.fromkeys(words))
    if not words:
        raise ConfigError("there are no words to add.")
    config, task = load_config(folder)
    tokenizers = load_tokenizers(folder)
    if side != "both" and (tokenizers[0] is tokenizers[1] or config.tie == "all"):
        raise ConfigError(f"this model has one vocabulary for source and target; words cannot go to the {side} alone.")
    source = extend(tokenizers[0], words if side != "target" else [])
    if tokenizers[0] is tokenizers[1]:
        target = source
    else:
        target = extend(tokenizers[1], words if side != "source" else [])
    weights = load_weights(folder / "model.safetensors")
    storage = storage_of(folder / "model.safetensors")
    with fresh_folder(output) as copy:
        copy_rest(folder, copy)
        (copy / SHORTLIST).unlink(missing_ok=True)  # which knows the old vocabulary alone
        save_tokenizers(copy, (source.tokenizer, target.tokenizer))
        _note(copy / "README.md", words)
        sizes = {"source_vocab_size": source.tokenizer.vocab_size, "target_vocab_size": target.tokenizer.vocab_size}
        wider = ModelConfig(**{**_fields(config), **sizes})
        save_model(copy, wider, with_rows(weights, source, target, config.tie), storage=storage, task=task)
    return [source, target]


def with_rows(weights: dict[str, Tensor], source: Extension, target: Extension, tie: str) -> dict[str, Tensor]:
    """The weights with a row more for each new piece, in every table that has one for each piece."""
    of = {"source_embedder.tokens.weight": target if tie == "all" else source}
    of |= dict.fromkeys(("target_embedder.tokens.weight", "head.weight", "head.bias"), target)
    found = dict(weights)
    for name, extension in of.items():
        if name in found:
            for replaced in extension.replaced:  # one after the other: a word may hold an earlier one
                found[name] = torch.cat([found[name], found[name][list(replaced)].mean(0, keepdim=True)])
    return found


def _fields(config: ModelConfig) -> dict[str, object]:
    return {name: getattr(config, name) for name in to_dict(config)}


def _note(card: Path, words: Sequence[str]) -> None:
    """Say in the model's card what was added."""
    known = card.read_text(encoding="utf-8") if card.exists() else "# Translation model\n"
    shown = ", ".join(words[:50]) + (f", and {len(words) - 50} more" if len(words) > 50 else "")
    write_atomic(card, f"{known.rstrip()}\n\n## Words added\n\nTo the vocabulary, by `regard extend`: {shown}.\n")

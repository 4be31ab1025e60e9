"""The tokeniser files of Marian models at Hugging Face, both ways.

``source.spm`` and ``target.spm`` are SentencePiece models; ``vocab.json`` gives each piece its
id (``target_vocab.json`` where the sides differ); a multilingual model has a piece such as
``>>fra<<`` for each language that it translates into.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError
from regard.base.files import write_atomic
from regard.data.mapped import MappedTokenizer
from regard.data.tokenizer import Tokenizer
from regard.model import ModelConfig
from regard.tasks.vocabulary import tag_of

_SPECIALS = {"unk_token": "<unk>", "eos_token": "</s>", "pad_token": "<pad>"}
_TAG = re.compile(r">>([\w-]+)<<")
# A field 3 (normalizer_spec) whose field 4 (remove_extra_whitespaces) is true. Protocol buffers
# merge a message that comes twice, so appending this to a model changes that setting alone.
_REMOVE_EXTRA_WHITESPACES = bytes((0x1A, 2, 0x20, 1))


# ---- reading


def read_tokenizers(folder: Path, config: ModelConfig, tags: Mapping[str, str]) -> tuple[Tokenizer, Tokenizer]:
    """Tokenisers of source and target.

    Args:
        folder: with the files.
        config: what the model needs: sizes, padding and end of sentence.
        tags: language → its piece.

    Raises:
        ModelError: a file is missing or damaged, or does not fit the model.
    """
    settings = read_settings(folder)
    unk, eos, pad = (_content(settings.get(name), default) for name, default in _SPECIALS.items())
    vocabularies = [read_vocabulary(folder / "vocab.json")]
    separate = bool(settings.get("separate_vocabs"))
    vocabularies.append(read_vocabulary(folder / "target_vocab.json") if separate else vocabularies[0])
    sizes = (config.source_vocab_size, config.target_vocab_size)
    tokenizers = []
    for side, vocabulary, size in zip(("source", "target"), vocabularies, sizes, strict=True):
        if len(vocabulary) != size:
            raise ModelError(f"{folder}: the {side} vocabulary has {len(vocabulary)} pieces, the model {size}.")
        tokenizer = MappedTokenizer(
            _read_model(folder / f"{side}.spm"),
            vocabulary,
            # where the target has a vocabulary of its own, that has no tags
            tags={tag_of(code): piece for code, piece in tags.items() if piece in vocabulary},
            unk=unk,
            eos=eos,
            special=[pad, *language_tags(vocabulary).values()],  # also those that were not chosen
        )
        if tokenizer.eos_id != config.eos_id:
            raise ModelError(f"{folder}: '{eos}' is piece {tokenizer.eos_id}, but the model ends with {config.eos_id}.")
        tokenizers.append(tokenizer)
    return tokenizers[0], tokenizers[1]


def read_settings(folder: Path) -> dict[str, Any]:
    """``tokenizer_config.json``, or nothing."""
    path = folder / "tokenizer_config.json"
    return read_json(path) if path.exists() else {}


def read_vocabulary(path: Path) -> list[str]:
    """The piece of each id.

    Raises:
        ModelError: the file is missing or damaged, or the ids are not 0, 1, 2 and so on.
    """
    try:
        values = read_json(path)
    except ConfigError as error:
        raise ModelError(str(error)) from error
    pieces = sorted(values, key=lambda piece: values[piece] if isinstance(values[piece], int) else -1)
    if [values[piece] for piece in pieces] != list(range(len(pieces))):
        raise ModelError(f"{path} does not number its pieces 0, 1, 2 and so on, each once.")
    return pieces


def language_tags(vocabulary: Sequence[str]) -> dict[str, str]:
    """Language code, in lower case → tag, of all tags in a vocabulary."""
    return {match.group(1).lower(): piece for piece in vocabulary if (match := _TAG.fullmatch(piece))}


def _content(token: Any, default: str) -> str:
    """A special token is a string, or an object that has it as ``content``."""
    value = token.get("content") if isinstance(token, dict) else token
    return value if isinstance(value, str) else default


def _read_model(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"{path} cannot be read: {error.strerror}. A Marian folder has source.spm, target.spm and vocab.json."
        ) from error


# ---- writing


def write_tokenizers(folder: Path, tokenizers: tuple[Tokenizer, Tokenizer], config: ModelConfig) -> None:
    """Write files that ``transformers.MarianTokenizer`` reads, for the same ids.

    Tags take Marian's form: ``<2de>`` becomes ``>>de<<``, in front of a text with or without a space.

    Raises:
        ModelError: text is changed before SentencePiece sees it, in a way that has no counterpart there.
    """
    joint = tokenizers[0] is tokenizers[1] or _vocabulary(tokenizers[0]) == _vocabulary(tokenizers[1])
    for side, tokenizer in zip(("source", "target"), tokenizers, strict=True):
        for name, ordinary in (("segment", "none"), ("lowercase", False)):
            if (value := getattr(tokenizer.config, name)) != ordinary:
                raise ModelError(f"Hugging Face's Marian tokeniser has no counterpart for tokenizer.{name}: {value}.")
        model = tokenizer.sentencepiece_model()
        write_atomic(folder / f"{side}.spm", model + _REMOVE_EXTRA_WHITESPACES)
    names = ("vocab.json",) if joint else ("vocab.json", "target_vocab.json")
    for name, tokenizer in zip(names, tokenizers, strict=False):
        ids = {piece: i for i, piece in enumerate(_vocabulary(tokenizer))}
        write_atomic(folder / name, json.dumps(ids, indent=1, ensure_ascii=False) + "\n")
    specials = tokenizers[0].pieces((tokenizers[0].unk_id, config.eos_id, config.pad_id))
    settings = {"tokenizer_class": "MarianTokenizer", "model_max_length": 512, "separate_vocabs": not joint}
    settings |= zip(_SPECIALS, specials, strict=True)
    write_atomic(folder / "tokenizer_config.json", json.dumps(settings, indent=2) + "\n")


def _vocabulary(tokenizer: Tokenizer) -> list[str]:
    """The piece of each id, tags in Marian's form."""
    pieces = tokenizer.pieces(range(tokenizer.vocab_size))
    for tag in tokenizer.tags:
        place = tokenizer.tag_id(tag)
        if not _TAG.fullmatch(pieces[place]):
            pieces[place] = f">>{tag.removeprefix('<2').removesuffix('>')}<<"
    return pieces

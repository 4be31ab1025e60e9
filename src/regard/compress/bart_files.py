"""The tokeniser files of BART at Hugging Face: ``tokenizer.json``, or ``vocab.json`` and ``merges.txt``.

BART does not name languages. Both sides begin with ``<s>``, which is therefore the tag of each.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError
from regard.compress.marian_files import read_vocabulary
from regard.data.byte_level import serialise
from regard.data.mapped import MappedTokenizer
from regard.model import ModelConfig
from regard.tasks.vocabulary import tag_of

_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")


def read_tokenizer(folder: Path, config: ModelConfig, languages: Sequence[str]) -> MappedTokenizer:
    """The tokeniser of both sides.

    Args:
        folder: with the files.
        config: what the model needs: size, padding and end of sentence.
        languages: of either side.

    Raises:
        ModelError: a file is missing or damaged, or does not fit the model.
    """
    vocabulary, merges = _read(folder)
    pieces = sorted(vocabulary, key=vocabulary.__getitem__)
    if [vocabulary[piece] for piece in pieces] != list(range(len(pieces))) or tuple(pieces[:4]) != _SPECIALS:
        raise ModelError(f"{folder}: the vocabulary does not number its pieces 0, 1, 2 and so on from <s> on.")
    if len(pieces) > config.source_vocab_size or (config.pad_id, config.eos_id) != (1, 2):
        raise ModelError(f"{folder}: the vocabulary of {len(pieces)} pieces is not that of this model.")
    unused = [f"<unused {i}>" for i in range(len(pieces), config.source_vocab_size)]
    special = ["<s>", "<pad>", *(piece for piece in pieces if piece == "<mask>"), *unused]
    tags = {tag_of(language): "<s>" for language in languages}
    return MappedTokenizer(serialise(vocabulary, merges), [*pieces, *unused], tags=tags, special=special)


def _read(folder: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    path = folder / "tokenizer.json"
    try:
        if path.exists():
            values: dict[str, Any] = read_json(path)
            vocabulary = {**values["model"]["vocab"], **{t["content"]: t["id"] for t in values["added_tokens"]}}
            merges = [m.split(" ") if isinstance(m, str) else m for m in values["model"]["merges"]]
        else:
            vocabulary = {piece: i for i, piece in enumerate(read_vocabulary(folder / "vocab.json"))}
            path = folder / "merges.txt"
            lines = path.read_text(encoding="utf-8").split("\n")
            merges = [line.split(" ") for line in lines if line and not line.startswith("#version")]
        return vocabulary, [(first, second) for first, second in merges]
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}. BART has vocab.json and merges.txt.") from error
    except (ConfigError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelError(f"{path} is not a vocabulary of byte-level pieces: {error}") from error

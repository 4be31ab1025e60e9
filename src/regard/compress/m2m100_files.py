"""The tokeniser files of M2M-100 and NLLB at Hugging Face.

``sentencepiece.bpe.model`` cuts text into pieces. M2M-100 numbers them by ``vocab.json``; NLLB as SentencePiece does,
behind the special pieces of fairseq. After them come the languages, a tag each (``__de__``, ``deu_Latn``), and ids that
nothing uses. M2M-100's languages are always the same and stand in no file. Source and translation both begin with the
tag of their own language.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.base.config import read_json
from regard.base.errors import ModelError
from regard.compress.marian_files import read_settings
from regard.compress.marian_files import read_vocabulary as read_ids
from regard.data.mapped import MappedTokenizer
from regard.data.tokenizer import load_processor
from regard.model import ModelConfig
from regard.tasks.vocabulary import tag_of

_MODEL = "sentencepiece.bpe.model"
_SPECIALS = ("<s>", "<pad>", "</s>", "<unk>")
#: The languages of M2M-100 (Fan et al. 2021) and of its kin for WMT 2021 (Tran et al. 2021), in the order of their ids.
_M2M100 = """
af am ar ast az ba be bg bn br bs ca ceb cs cy da de el en es et fa ff fi fr fy ga gd gl gu ha he hi hr ht hu
hy id ig ilo is it ja jv ka kk km kn ko lb lg ln lo lt lv mg mk ml mn mr ms my ne nl no ns oc or pa pl ps pt
ro ru sd si sk sl so sq sr ss su sv sw ta th tl tn tr uk ur uz vi wo xh yi yo zh zu
""".split()
_WMT21 = "en ha is ja cs ru zh de".split()
_TAG = re.compile(r"__([\w-]+)__|([a-z]{2,3}_[A-Z][A-Za-z]{1,3})")


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a model stand for."""

    pieces: list[str]
    """The piece of each id."""
    text: int
    """So many of them are text or fairseq's specials; behind these are the languages, and what nothing uses."""

    @property
    def languages(self) -> dict[str, str]:
        """Language code, in lower case → its tag."""
        matches = (_TAG.fullmatch(piece) for piece in self.pieces[self.text :])
        return {(match[1] or match[2]).lower(): match[0] for match in matches if match}


def read_vocabulary(folder: Path, size: int) -> Vocabulary:
    """The vocabulary of a model that has ``size`` ids.

    Raises:
        ModelError: a file is missing or damaged, there are more pieces than ids, or no languages.
    """
    if (folder / "vocab.json").exists():
        pieces = read_ids(folder / "vocab.json")
        codes = _WMT21 if read_settings(folder).get("language_codes") == "wmt21" else _M2M100
        behind = [f"__{code}__" for code in codes]
    else:
        processor = load_processor(_read_model(folder))
        pieces = [processor.id_to_piece(i) for i in range(processor.vocab_size())]
        if pieces[:3] != ["<unk>", "<s>", "</s>"]:
            raise ModelError(f"{folder / _MODEL} begins with {', '.join(pieces[:3])}; fairseq's begin otherwise.")
        pieces[:3] = _SPECIALS
        behind = _added(folder, len(pieces))
    if tuple(pieces[:4]) != _SPECIALS:
        raise ModelError(f"{folder}: the vocabulary begins with {', '.join(pieces[:4])}, not {', '.join(_SPECIALS)}.")
    text, known = len(pieces), set(pieces)
    pieces += [piece for piece in behind if piece not in known]
    if len(pieces) > size:
        raise ModelError(f"{folder}: the vocabulary has {len(pieces)} pieces, the model {size}.")
    vocabulary = Vocabulary(pieces + [f"<unused {i}>" for i in range(len(pieces), size)], text)
    if not vocabulary.languages:
        raise ModelError(
            f"{folder}: no file says which languages there are; they stand in tokenizer.json, tokenizer_config.json, "
            "added_tokens.json or special_tokens_map.json."
        )
    return vocabulary


def read_tokenizer(
    folder: Path, config: ModelConfig, vocabulary: Vocabulary, tags: Mapping[str, str]
) -> MappedTokenizer:
    """The tokeniser of both sides.

    Args:
        folder: with the files.
        config: what the model needs: padding and end of sentence.
        vocabulary: its ids.
        tags: language → its tag, of those to translate between.

    Raises:
        ModelError: a file is missing or damaged, or does not fit the model.
    """
    if (config.pad_id, config.eos_id) != (_SPECIALS.index("<pad>"), _SPECIALS.index("</s>")):
        raise ModelError(f"{folder}: the model pads with {config.pad_id} and ends with {config.eos_id}, not 1 and 2.")
    return MappedTokenizer(
        _read_model(folder),
        vocabulary.pieces,
        tags={tag_of(code): piece for code, piece in tags.items()},
        special=["<s>", "<pad>", *vocabulary.pieces[vocabulary.text :]],
    )


def _added(folder: Path, start: int) -> list[str]:
    """NLLB's pieces from id ``start`` on, in order: the languages and a mask."""
    settings = read_settings(folder)
    numbered = {int(number): _content(token) for number, token in settings.get("added_tokens_decoder", {}).items()}
    for name in ("added_tokens.json", "tokenizer.json"):
        values = _read(folder / name)
        if name == "tokenizer.json":
            values = {_content(token): token["id"] for token in values.get("added_tokens", ())}
        numbered |= {number: piece for piece, number in values.items()}
    behind = sorted(i for i in numbered if i >= start)
    if behind != list(range(start, start + len(behind))):
        raise ModelError(f"{folder}: the pieces behind the first {start} are not numbered one after the other.")
    if behind:
        return [numbered[i] for i in behind]
    for values in (_read(folder / "special_tokens_map.json"), settings):
        for name in ("additional_special_tokens", "extra_special_tokens"):
            if listed := values.get(name):
                return [_content(token) for token in listed]
    return []


def _read(path: Path) -> dict[str, Any]:
    return read_json(path) if path.exists() else {}


def _content(token: Any) -> str:
    return token["content"] if isinstance(token, dict) else str(token)


def _read_model(folder: Path) -> bytes:
    try:
        return (folder / _MODEL).read_bytes()
    except OSError as error:
        raise ModelError(f"{folder / _MODEL} cannot be read: {error.strerror}.") from error

"""Foreign vocabularies: pieces of SentencePiece, or of BPE over bytes, numbered by a list of their own.

Marian, M2M-100 and others cut text with SentencePiece and look the pieces up in a
vocabulary (``vocab.json``), so that ids are not SentencePiece's; BART cuts bytes. A piece that the list
lacks is the unknown one; so is a tag, a special piece or anything else that a person types
in the form of one.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regard.base.config import read_json
from regard.base.device import cpu_count
from regard.base.errors import ConfigError, ModelError
from regard.base.files import write_atomic
from regard.data.byte_level import ByteLevelPieces, is_byte_level, readable
from regard.data.normalization import one_line
from regard.data.tokenizer import PARALLEL_TEXTS, Tokenizer, load_processor
from regard.data.tokenizer_config import TokenizerConfig

FORMAT = "regard-mapped-tokenizer-1"


class MappedTokenizer(Tokenizer):
    """A model that cuts text, with a vocabulary of its own. Immutable; picklable."""

    def __init__(
        self,
        model: bytes,
        vocabulary: Sequence[str],
        *,
        tags: Mapping[str, str],
        unk: str = "<unk>",
        eos: str = "</s>",
        special: Iterable[str] = (),
    ) -> None:
        """
        Args:
            model: a serialised SentencePiece model, with its own normalisation, or byte-level pieces.
            vocabulary: the piece of each id.
            tags: name of each tag, such as ``"<2fr>"`` → its piece, such as ``">>fra<<"``.
            unk: the unknown piece.
            eos: the end of the sentence.
            special: further pieces that have no text and that no text gives, such as ``<pad>``.

        Raises:
            ModelError: the model cannot be read, a piece occurs twice, or a tag or special
                piece is not in the vocabulary.
        """
        self.config = replace(_FOREIGN, vocab_size=max(8, len(vocabulary)))
        self.tags = tuple(tags)
        self._byte_level = is_byte_level(model)
        self._processor: Any = ByteLevelPieces(model) if self._byte_level else load_processor(model)
        self._vocabulary = list(vocabulary)
        ids = {piece: i for i, piece in enumerate(self._vocabulary)}
        if len(ids) != len(self._vocabulary):
            raise ModelError("a piece occurs twice in this vocabulary.")
        self._tags, self._special = dict(tags), sorted({unk, eos, *special})
        for piece in (*self._special, *tags.values()):
            if piece not in ids:
                raise ModelError(f"'{piece}' is not in the vocabulary of {len(ids)} pieces.")
        self._unk, self._eos = unk, eos
        self.unk_id, self.eos_id = ids[unk], ids[eos]
        self._tag_ids = {tag: ids[piece] for tag, piece in tags.items()}
        self._silent = {*self._tag_ids.values(), *(ids[piece] for piece in self._special if piece != unk)}
        self._ids = {piece: i for piece, i in ids.items() if i not in self._silent}

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials and tags included."""
        return len(self._vocabulary)

    @property
    def never(self) -> list[int]:
        """Ids that no translation holds: the unknown piece, tags and special pieces but the end of the sentence."""
        return sorted({self.unk_id, *self._silent} - {self.eos_id})

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` without end of sentence; never a tag, whatever was typed."""
        return self._numbers(self._processor.encode(self._prepare(text), out_type=str))

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of every text; on all cores where there are many."""
        prepared = [self._prepare(text) for text in texts]
        threads = cpu_count() if len(prepared) >= PARALLEL_TEXTS else 1
        return [self._numbers(p) for p in self._processor.encode(prepared, out_type=str, num_threads=threads)]

    def _numbers(self, pieces: Iterable[str]) -> list[int]:
        return [self._ids.get(piece, self.unk_id) for piece in pieces]

    def sample(self, texts: Iterable[str], alpha: float, nbest: int = -1, seed: int = 0) -> list[list[int]]:
        """Not for a foreign vocabulary: always raises ConfigError."""
        raise ConfigError("a tokenizer that was imported has one segmentation of each text; it cannot be sampled from.")

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids`` on one line; specials and tags are left out, unknown shows as ⁇.

        Raises:
            IndexError: an id is negative or not below ``vocab_size``.
        """
        text, run = "", []
        for piece in self._pieces(i for i in map(int, ids) if i not in self._silent):
            if piece == self._unk:
                text, run = f"{text}{self._processor.decode_pieces(run)} ⁇ ", []
            else:
                run.append(piece)
        # pieces that this SentencePiece model does not know keep their mark for a space
        return one_line((text + self._processor.decode_pieces(run)).replace("\u2581", " "))

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the piece of every id; ``▁`` marks the start of a word.

        Raises:
            IndexError: an id is negative or not below ``vocab_size``.
        """
        pieces = self._pieces(ids)
        return list(map(readable, pieces)) if self._byte_level else pieces

    def _pieces(self, ids: Iterable[int]) -> list[str]:
        """Each as the vocabulary has it."""
        found = []
        for i in ids:
            if not 0 <= i < len(self._vocabulary):
                raise IndexError(f"there is no piece {i}: the vocabulary has {len(self._vocabulary)}.")
            found.append(self._vocabulary[i])
        return found

    def piece_id(self, piece: str) -> int:
        """Return the id of ``piece``; that of the unknown piece where there is none, or one without text."""
        return self._ids.get(piece, self.unk_id)

    def with_pieces(self, model: bytes, pieces: Sequence[str]) -> "MappedTokenizer":
        """Return the tokenizer with ``pieces`` behind its own, which the SentencePiece ``model`` has been given."""
        return MappedTokenizer(
            model, [*self._vocabulary, *pieces], tags=self._tags, unk=self._unk, eos=self._eos, special=self._special
        )

    def save(self, folder: str | Path, name: str = "tokenizer") -> None:
        """Write ``NAME.model`` and ``NAME.json`` into ``folder``.

        Raises:
            RegardError: the folder cannot be written.
        """
        model = self.sentencepiece_model()
        description = {
            "format": FORMAT,
            "sha256": hashlib.sha256(model).hexdigest(),
            "unk": self._unk,
            "eos": self._eos,
            "special": self._special,
            "tags": self._tags,
            "vocabulary": self._vocabulary,
        }
        write_atomic(Path(folder) / f"{name}.model", model)
        write_atomic(Path(folder) / f"{name}.json", json.dumps(description, indent=1, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path, name: str = "tokenizer") -> "MappedTokenizer":
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, damaged or of another kind.
        """
        path = Path(folder) / f"{name}.json"
        try:
            values = read_json(path)
            model = path.with_suffix(".model").read_bytes()
        except (ConfigError, OSError) as error:
            raise ModelError(f"the tokenizer in {folder} cannot be read: {error}") from error
        if values.get("format") != FORMAT or not _is_description(values):
            raise ModelError(f"{path} is not a mapped tokenizer of this version of Regard.")
        if hashlib.sha256(model).hexdigest() != values["sha256"]:
            raise ModelError(
                f"{path.with_suffix('.model')} is damaged or does not belong to {path.name}: its checksum differs."
            )
        return cls(
            model,
            values["vocabulary"],
            tags=values["tags"],
            unk=values["unk"],
            eos=values["eos"],
            special=values["special"],
        )


# The model normalises by itself. By its kind a text has one segmentation: sampling would draw SentencePiece's ids.
_FOREIGN = TokenizerConfig(kind="word", byte_fallback=False, joint=False, normalization="identity", split_digits=False)


def _is_description(values: dict[str, Any]) -> bool:
    kinds = {"sha256": str, "unk": str, "eos": str, "special": list, "tags": dict, "vocabulary": list}
    return all(isinstance(values.get(name), kind) for name, kind in kinds.items())

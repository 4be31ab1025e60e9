"""Text to subword ids and back: SentencePiece with fixed special ids and safe tags.

Three promises, each a test:

- ``decode(encode(text)) == normalize(text)`` for every text, because a character that
  is not in the vocabulary falls back to its UTF-8 bytes;
- what a person types never becomes a tag or a special token, because those are
  SentencePiece *control* symbols, which encoding cannot produce;
- the same texts, configuration and seed give the same model.

Sources: Kudo and Richardson 2018 (SentencePiece); Kudo 2018 (unigram language model,
subword regularisation); Provilkov et al. 2020 (BPE-dropout).
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import sentencepiece

from regard.base.config import from_dict, read_json, to_dict
from regard.base.device import cpu_count
from regard.base.errors import ConfigError, ModelError
from regard.base.files import write_atomic
from regard.data.chinese import unsegment
from regard.data.normalization import normalize, one_line, segment
from regard.data.subwords import learn
from regard.data.tokenizer_config import BOS, EOS, PAD, UNK, TokenizerConfig

PARALLEL_TEXTS = 512
"""A thread pool costs about 40 microseconds a call: it pays from so many texts on."""

_FORMAT = "regard-tokenizer-1"


class Tokenizer:
    """A trained subword model. Made by :meth:`train` or :meth:`load`; immutable; picklable."""

    unk_id: int = UNK
    """Id of what the vocabulary has no piece for."""
    eos_id: int = EOS
    """Id that ends a sentence."""

    def __init__(self, model: bytes, config: TokenizerConfig, tags: Sequence[str] = ()) -> None:
        """Wrap a serialised SentencePiece ``model`` whose control symbols are ``tags``.

        Raises:
            ModelError: the model cannot be read, or has other special ids or tags.
        """
        self.config = config
        self.tags = tuple(tags)
        processor = self._processor = load_processor(model)
        ids = (processor.pad_id(), processor.unk_id(), processor.bos_id(), processor.eos_id())
        if ids != (PAD, UNK, BOS, EOS):
            raise ModelError(
                f"this SentencePiece model has pad, unk, bos, eos = {ids}, and Regard needs {(PAD, UNK, BOS, EOS)}."
            )
        self._tag_ids = {tag: processor.piece_to_id(tag) for tag in self.tags}
        for tag, index in self._tag_ids.items():
            if not processor.is_control(index):
                raise ModelError(f"the tag {tag} is not in this SentencePiece model.")

    @classmethod
    def train(cls, texts: Iterable[str], config: TokenizerConfig, tags: Sequence[str] = ()) -> "Tokenizer":
        """Learn a vocabulary from ``texts``; ``tags`` such as ``"<2de>"`` get ids 4, 5, ...

        Raises:
            ConfigError: a tag is malformed or doubled, or ``vocab_size`` does not fit the
                texts; the message says which size does.
            DataError: there is no text.
        """
        return cls(learn(texts, config, tags), config, tags)

    @property
    def vocab_size(self) -> int:
        """Number of ids, specials and tags included."""
        return self._processor.vocab_size()

    @property
    def never(self) -> list[int]:
        """Ids that no translation holds: the unknown piece and the tags."""
        return [self.unk_id, *self._tag_ids.values()]

    def normalize(self, text: str) -> str:
        """Return ``text`` as the model sees it: one line, single spaces, ``config.normalization``."""
        text = normalize(text, self.config)
        return text if self.config.segment == "none" else unsegment(text)

    def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` without BOS and EOS; never a tag, whatever was typed."""
        return self._processor.encode(self._prepare(text))

    def encode_batch(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of every text; on all cores where there are many."""
        prepared = [self._prepare(text) for text in texts]
        if len(prepared) < PARALLEL_TEXTS:
            return [self._processor.encode(text) for text in prepared]
        return self._processor.encode(prepared, num_threads=cpu_count())

    def sample(self, texts: Iterable[str], alpha: float, nbest: int = -1, seed: int = 0) -> list[list[int]]:
        """Return a random segmentation of every text: the same one for the same seed within one process.

        SentencePiece mixes the seed with a number that each process draws anew; where draws
        must repeat themselves in another process, use :class:`regard.data.sampling.SubwordSampler`.

        Args:
            texts: what to encode.
            alpha: for ``unigram`` the exponent of the probabilities (Kudo 2018, section 3.1:
                0.1 to 0.5, smaller is more random); for ``bpe`` the share of merges that are
                dropped (Provilkov et al. 2020: 0.1).
            nbest: for ``unigram`` sample from that many best segmentations, -1 from all.
            seed: of this call, 0 to 2³² - 1.

        Raises:
            ConfigError: ``char`` and ``word`` have nothing to sample; a value out of range.
        """
        if self.config.kind not in ("unigram", "bpe"):
            raise ConfigError(
                f"a '{self.config.kind}' tokenizer has one segmentation only; sampling needs unigram or bpe."
            )
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}; it must lie in 0 to 1.")
        if nbest != -1 and nbest < 2:
            raise ConfigError(f"nbest is {nbest}; it must be -1 (all) or at least 2.")
        if not 0 <= seed < 2**32:
            raise ConfigError(f"seed is {seed}; it must lie in 0 to 2**32 - 1.")
        prepared = [self._prepare(text) for text in texts]
        # The seed is the calling thread's own, and setting it starts anew, only from SentencePiece
        # 0.2.3 on. A batch call would share the texts among threads, and chance decide which
        # text meets which random numbers.
        sentencepiece.set_random_generator_seed(seed)
        return [self._processor.encode(text, enable_sampling=True, alpha=alpha, nbest_size=nbest) for text in prepared]

    def decode(self, ids: Iterable[int]) -> str:
        """Return the text of ``ids`` on one line; PAD, BOS, EOS and tags are left out, UNK shows as ⁇.

        Bytes that form no character (a model may write any) show as U+FFFD.

        Raises:
            IndexError: an id is negative or not below ``vocab_size``.
        """
        # Control symbols have no text: SentencePiece leaves them out.
        text = self._processor.decode([int(i) for i in ids])
        # Where a whole unknown word is spelt in bytes (kind "word"), so is its mark for a space.
        text = one_line(text.replace("\u2581", " "))
        return text if self.config.segment == "none" else unsegment(text)

    def pieces(self, ids: Iterable[int]) -> list[str]:
        """Return the piece of every id; ``▁`` marks the start of a word.

        Raises:
            IndexError: an id is negative or not below ``vocab_size``.
        """
        return [self._processor.id_to_piece(int(i)) for i in ids]

    def piece_id(self, piece: str) -> int:
        """Return the id of ``piece``; that of the unknown piece where there is none."""
        return self._processor.piece_to_id(piece)

    def with_pieces(self, model: bytes, pieces: Sequence[str]) -> "Tokenizer":
        """Return the tokenizer with ``pieces`` behind its own, which the SentencePiece ``model`` has been given."""
        return Tokenizer(model, replace(self.config, vocab_size=self.vocab_size + len(pieces)), self.tags)

    def tag_id(self, tag: str) -> int:
        """Return the id of ``tag``, such as ``"<2de>"``.

        Raises:
            ConfigError: this tokenizer has no such tag; the message names those it has.
        """
        if tag not in self._tag_ids:
            known = f" Known: {', '.join(self.tags)}." if self.tags else " It has none."
            raise ConfigError(f"this tokenizer has no tag '{tag}'.{known}")
        return self._tag_ids[tag]

    def sentencepiece_model(self) -> bytes:
        """Return the SentencePiece model, as its library writes it to a file."""
        return self._processor.serialized_model_proto()

    def save(self, folder: str | Path, name: str = "tokenizer") -> None:
        """Write ``NAME.model`` and ``NAME.json`` into ``folder``.

        Raises:
            RegardError: the folder cannot be written.
        """
        folder = Path(folder)
        model = self.sentencepiece_model()
        description = {
            "format": _FORMAT,
            "sha256": hashlib.sha256(model).hexdigest(),
            "tags": list(self.tags),
            "config": to_dict(self.config),
        }
        write_atomic(folder / f"{name}.model", model)
        # Last, since its checksum vouches for the model.
        write_atomic(folder / f"{name}.json", json.dumps(description, indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, folder: str | Path, name: str = "tokenizer") -> "Tokenizer":
        """Read what :meth:`save` wrote.

        Raises:
            ModelError: a file is missing, damaged or of another kind.
        """
        folder = Path(folder)
        paths = folder / f"{name}.model", folder / f"{name}.json"
        for path in paths:
            if not path.is_file():
                raise ModelError(
                    f"{path} is missing: a model folder holds {name}.model and {name}.json. "
                    "Copy the whole folder, or train the tokenizer again."
                )
        try:
            description = read_json(paths[1])
            if description.get("format") != _FORMAT:
                raise ModelError(
                    f"{paths[1]} is not a tokenizer of this version of Regard "
                    f"(format {description.get('format')!r}, expected {_FORMAT!r})."
                )
            config = from_dict(TokenizerConfig, description.get("config", {}))
            model = paths[0].read_bytes()
        except (ConfigError, OSError, UnicodeDecodeError) as error:
            raise ModelError(f"the tokenizer in {folder} cannot be read: {error}") from error
        tags = description.get("tags", [])
        if not isinstance(tags, list) or hashlib.sha256(model).hexdigest() != description.get("sha256"):
            raise ModelError(
                f"{paths[0]} is damaged or does not belong to {paths[1].name}: its checksum differs. "
                "Copy both files again from where they came."
            )
        return cls(model, config, tags)

    def _prepare(self, text: str) -> str:
        return segment(self.normalize(text), self.config)


def load_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """Read a serialised SentencePiece model.

    Raises:
        ModelError: it is none.
    """
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"this is not a SentencePiece model: {error}") from error

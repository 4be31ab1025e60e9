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
import io
import json
import random
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import sentencepiece

from regard.base.config import from_dict, read_json, to_dict
from regard.base.device import cpu_count
from regard.base.errors import ConfigError, DataError, ModelError
from regard.base.files import write_atomic
from regard.data.chinese import segment_characters, segment_words, unsegment

PAD = 0
"""Id that fills a batch up to its longest row."""
UNK = 1
"""Id of an unknown character; with ``byte_fallback`` encoding never produces it."""
BOS = 2
"""Id that starts the decoder."""
EOS = 3
"""Id that ends a sentence."""

_SPECIAL_PIECES = ("<pad>", "<unk>", "<s>", "</s>")
_TAG = re.compile(r"<[\w.:=+/-]+>")
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")

# The result of training depends on the number of threads (sums of floats are taken in
# another order), so it is fixed, whatever machine trains.
_TRAINING_THREADS = 4
# SentencePiece drops what is longer than its limit in bytes; longer texts are cut instead.
_TRAINING_CHARACTERS = 2000
PARALLEL_TEXTS = 512
"""A thread pool costs about 40 microseconds a call: it pays from so many texts on."""

_FORMAT = "regard-tokenizer-1"


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes pieces."""

    kind: Literal["unigram", "bpe", "char", "word"] = "unigram"
    """Model: ``unigram`` samples segmentations best; ``char`` and ``word`` are baselines."""
    vocab_size: int = 16000
    """Number of pieces, with specials, tags and the 256 bytes; for ``char`` an upper limit."""
    byte_fallback: bool = True
    """Spell characters outside the vocabulary as UTF-8 bytes. Off, they become UNK and are lost."""
    character_coverage: float = 0.9998
    """Share of the running text whose characters get a piece of their own. Half of the text of
    an English-Chinese corpus is Latin letters, so this keeps 99.9% of its Chinese characters
    (2,100 of 3,100 kinds, measured); the rest, each seen a few times, is spelt in bytes rather
    than given an embedding that is hardly trained."""
    joint: bool = True
    """One tokenizer for both languages; False: the task trains one for each side."""
    segment: Literal["none", "char", "word"] = "none"
    """Split Chinese before learning pieces: every character, words (jieba), or not at all."""
    lowercase: bool = False
    """Lower-case everything; what was upper-case is not restored."""
    normalization: Literal["light", "nfkc", "identity"] = "light"
    """``light``: NFC, full-width letters and digits made ASCII, invisible characters removed;
    Chinese punctuation stays. ``nfkc``: also folds ，？！ to ASCII, so not for Chinese output.
    ``identity``: only white space, control characters and U+2581."""
    split_digits: bool = True
    """Every digit is a piece, so that numbers can be copied digit by digit."""
    max_sentences: int = 1_000_000
    """Texts to learn from; a random sample is drawn where there are more."""
    seed: int = 0
    """Seed of that sample."""

    def __post_init__(self) -> None:
        if self.vocab_size < 8:
            raise ConfigError(f"vocab_size is {self.vocab_size}; it must be at least 8.")
        if not 0.9 <= self.character_coverage <= 1:
            raise ConfigError(f"character_coverage is {self.character_coverage}; it must lie in 0.9 to 1.")
        if self.max_sentences < 1:
            raise ConfigError(f"max_sentences is {self.max_sentences}; it must be positive.")


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
        _check_tags(tags)
        model = io.BytesIO()
        lines = list(_training_lines(texts, config))
        if not lines:
            raise DataError("there is no text to learn a vocabulary from.")
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(lines),
                model_writer=model,
                model_type=config.kind,
                vocab_size=config.vocab_size,
                character_coverage=config.character_coverage,
                byte_fallback=config.byte_fallback,
                split_digits=config.split_digits,
                control_symbols=list(tags),
                pad_id=PAD,
                unk_id=UNK,
                bos_id=BOS,
                eos_id=EOS,
                pad_piece=_SPECIAL_PIECES[PAD],
                unk_surface="⁇",
                # Normalisation is done here, in Python, where it can keep Chinese punctuation.
                normalization_rule_name="identity",
                remove_extra_whitespaces=False,
                max_sentence_length=4 * _TRAINING_CHARACTERS + 1024,
                num_threads=_TRAINING_THREADS,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _explain_training_error(str(error), config) from error
        return cls(model.getvalue(), config, tags)

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
        text = _normalize(text, self.config)
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
        return _segment(self.normalize(text), self.config)


def _segment(text: str, config: TokenizerConfig) -> str:
    if config.segment == "char":
        return segment_characters(text)
    if config.segment == "word":
        return segment_words(text)
    return text


def _training_lines(texts: Iterable[str], config: TokenizerConfig) -> Iterator[str]:
    for text in _reservoir(texts, config.max_sentences, config.seed):
        text = _normalize(text, config)
        if config.segment != "none":
            text = _segment(unsegment(text), config)
        for start in range(0, len(text), _TRAINING_CHARACTERS):
            yield text[start : start + _TRAINING_CHARACTERS]


def _reservoir(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """Return at most ``size`` texts, each equally likely (Vitter 1985, algorithm R)."""
    generator = random.Random(seed)
    kept: list[str] = []
    for count, text in enumerate(texts):
        if count < size:
            kept.append(text)
        elif (place := generator.randrange(count + 1)) < size:
            kept[place] = text
    return kept


# Control characters that are not white space; white space is what str.split() splits at.
_CONTROL = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_SURROGATE = r"\ud800-\udfff"
# U+2581 is SentencePiece's own sign for a space.
_UNSAFE = re.compile(f"[{_CONTROL}{_SURROGATE}\u2581]")
# Soft hyphen, zero-width space, word joiner, byte-order mark. Joiners (U+200C, U+200D) and
# direction marks stay: emoji and several scripts are written with them.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_FULL_WIDTH = re.compile("[０-９Ａ-Ｚａ-ｚ]")


def load_processor(model: bytes) -> sentencepiece.SentencePieceProcessor:
    """Read a serialised SentencePiece model.

    Raises:
        ModelError: it is none.
    """
    try:
        return sentencepiece.SentencePieceProcessor(model_proto=model)
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"this is not a SentencePiece model: {error}") from error


def one_line(text: str) -> str:
    """Return ``text`` without what no piece can stand for: line ends, control characters, U+2581."""
    if _UNSAFE.search(text):
        text = _UNSAFE.sub(_replace_unsafe, text)
    return " ".join(text.split())


def _replace_unsafe(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\u2581":
        return "_"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else ""


def _normalize(text: str, config: TokenizerConfig) -> str:
    if config.normalization != "identity":
        text = _INVISIBLE.sub("", text)
    text = one_line(text)
    if config.lowercase:
        text = text.lower()
    if config.normalization == "light":
        text = _FULL_WIDTH.sub(lambda match: chr(ord(match.group()) - 0xFEE0), text)
        return unicodedata.normalize("NFC", text)
    if config.normalization == "nfkc":
        # Some compatibility characters decompose into a space and a mark.
        return " ".join(unicodedata.normalize("NFKC", text).split())
    return text


def _check_tags(tags: Sequence[str]) -> None:
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise ConfigError(f"'{tag}' is not a tag; write it like <2de>: no spaces between < and >.")
        if tag in _SPECIAL_PIECES or _BYTE_PIECE.fullmatch(tag):
            raise ConfigError(f"the tag {tag} is reserved; choose another name.")
    if len(set(tags)) != len(tags):
        raise ConfigError(f"a tag is listed twice: {', '.join(tags)}.")


def _explain_training_error(message: str, config: TokenizerConfig) -> ConfigError:
    """Turn SentencePiece's message into one that says which size fits."""
    if match := re.search(r"Vocabulary size too high .*<= (\d+)", message):
        largest = match.group(1)
        return ConfigError(
            f"vocab_size {config.vocab_size} is more than these texts can fill: they give {largest} pieces. "
            f"Set vocab_size to {largest} or less, or give more text."
        )
    if match := re.search(r"smaller than required_chars\. \d+ vs (\d+)", message):
        smallest = int(match.group(1))
        return ConfigError(
            f"vocab_size {config.vocab_size} is too small: the bytes, tags and single characters of these texts "
            f"already take {smallest}. Set vocab_size to {smallest + 1} or more, or lower character_coverage."
        )
    if "(vocab_size) >= (0)" in message:
        return ConfigError(
            f"vocab_size {config.vocab_size} is too small: specials, tags and bytes already take more. Raise it."
        )
    return ConfigError(f"SentencePiece cannot learn a vocabulary of {config.vocab_size} pieces: {message}")

"""Subword pieces learnt from text with SentencePiece: the same texts and settings give the same pieces."""

import io
import random
import re
from collections.abc import Iterable, Iterator, Sequence

import sentencepiece

from regard.base.errors import ConfigError, DataError
from regard.data.chinese import unsegment
from regard.data.normalization import normalize, segment
from regard.data.tokenizer_config import BOS, EOS, PAD, UNK, TokenizerConfig

_SPECIAL_PIECES = ("<pad>", "<unk>", "<s>", "</s>")
_TAG = re.compile(r"<[\w.:=+/-]+>")
_BYTE_PIECE = re.compile(r"<0x[0-9A-Fa-f]{2}>")

# The result of training depends on the number of threads (sums of floats are taken in
# another order), so it is fixed, whatever machine trains.
_TRAINING_THREADS = 4
# SentencePiece drops what is longer than its limit in bytes; longer texts are cut instead.
_TRAINING_CHARACTERS = 2000


def learn(texts: Iterable[str], config: TokenizerConfig, tags: Sequence[str] = ()) -> bytes:
    """Learn pieces from ``texts``: a serialised SentencePiece model, ``tags`` its control symbols.

    Raises:
        ConfigError: a tag is malformed or doubled, or ``vocab_size`` does not fit the texts; the
            message says which size does.
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
    return model.getvalue()


def _training_lines(texts: Iterable[str], config: TokenizerConfig) -> Iterator[str]:
    for text in _reservoir(texts, config.max_sentences, config.seed):
        text = normalize(text, config)
        if config.segment != "none":
            text = segment(unsegment(text), config)
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

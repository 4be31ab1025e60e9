"""BPE over bytes (Radford et al. 2019), the pieces of GPT-2 and BART, cut by the library ``tokenizers``.

Every byte has a character of its own, so that any text can be written in pieces: most of Latin 1 stands for itself,
``Ġ`` for a space.
"""

import json
from collections.abc import Iterable
from typing import Any

from regard.base.errors import ModelError
from regard.base.extras import missing


class ByteLevelPieces:
    """Such pieces, with the part of a SentencePiece processor's interface that a tokeniser needs."""

    def __init__(self, model: bytes) -> None:
        """Read what :func:`serialise` wrote.

        Raises:
            MissingExtra: the library is not installed.
            ModelError: this is something else.
        """
        try:
            from tokenizers import Tokenizer, decoders, models, pre_tokenizers
        except ImportError as error:
            raise missing("tokenizers", "this vocabulary") from error
        self._model = model
        try:
            values = json.loads(model)
            bpe = models.BPE(values["vocab"], [(first, second) for first, second in values["merges"]])
        except Exception as error:  # the library has no class of errors of its own
            raise ModelError(f"this is not a model of byte-level pieces: {error}") from error
        self._tokenizer: Any = Tokenizer(bpe)
        self._tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self._decoder = decoders.ByteLevel()

    def encode(self, text: str | list[str], out_type: type = str, num_threads: int = 1) -> Any:
        """The pieces of a text, or of each of several; nobody needs them as anything but strings."""
        assert out_type is str
        if isinstance(text, str):
            return self._tokenizer.encode(text, add_special_tokens=False).tokens
        return [encoding.tokens for encoding in self._tokenizer.encode_batch(text, add_special_tokens=False)]

    def decode_pieces(self, pieces: Iterable[str]) -> str:
        """The text of pieces; bytes that form no character show as U+FFFD."""
        return self._decoder.decode(list(pieces))

    def serialized_model_proto(self) -> bytes:
        """What it was made from."""
        return self._model


def serialise(vocabulary: dict[str, int], merges: list[tuple[str, str]]) -> bytes:
    """Ids and merges in the form that :class:`ByteLevelPieces` reads."""
    return json.dumps({"vocab": vocabulary, "merges": merges}, ensure_ascii=False).encode()


def is_byte_level(model: bytes) -> bool:
    """Whether a serialised model is of this kind and not SentencePiece's."""
    return model[:1] == b"{"


def readable(piece: str) -> str:
    """A piece as people write it, with ``▁`` for a space in front; a part of a character shows as U+FFFD."""
    if any(character not in _BYTES for character in piece):
        return piece  # a special piece
    text = bytes(_BYTES[character] for character in piece).decode("utf-8", errors="replace")
    return f"▁{text[1:]}" if text.startswith(" ") else text


def _byte_characters() -> dict[str, int]:
    """The character of each byte: the byte's own where it can be seen, else the next one from U+0100 on."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(0x100 + i): byte for i, byte in enumerate(hidden)}


_BYTES = _byte_characters()

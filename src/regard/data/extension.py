"""Words added to a trained vocabulary, each as one piece, without touching how other text is cut.

A new piece is made as probable as the pieces that it replaces, and a trace more: the unigram model then takes it
wherever it would have taken those, and nowhere else.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from regard.base.errors import ConfigError
from regard.data.chinese import is_han
from regard.data.tokenizer import Tokenizer

# What a new piece is ahead of the pieces that it replaces, in nats: above the rounding of float32, below any choice.
_MARGIN = 1e-2
# SentencePiece's: an unknown character is this much less probable than the rarest piece.
_UNKNOWN = 10.0
_SPACE = "\u2581"
_OTHER_KIND = ConfigError("words can be added to a unigram vocabulary only; this one is of another kind.")


@dataclass(frozen=True)
class Extension:
    """A tokenizer with more pieces, behind those that it had."""

    tokenizer: Tokenizer
    """The new one."""
    pieces: tuple[str, ...]
    """What was added, in order of the new ids."""
    replaced: tuple[tuple[int, ...], ...]
    """Of each new piece the ids that stood for it, those of new pieces before it included."""


def extend(tokenizer: Tokenizer, words: Sequence[str]) -> Extension:
    """Add a piece for each word; a piece stands at the beginning of a word, in Chinese anywhere.

    Args:
        tokenizer: unigram, trained here or imported.
        words: one word each, as it is written in a text.

    Raises:
        ConfigError: something is not one word, is one piece already, or the vocabulary is not a unigram model.
    """
    lattice = _Lattice(tokenizer)
    texts = [tokenizer.normalize(word) for word in words]
    for word, text in zip(words, texts, strict=True):
        if not text or " " in tokenizer._prepare(text):
            raise ConfigError(f"'{word}' is not one word; pieces do not reach over spaces. Add its words one by one.")
        expected, found = tokenizer.encode(text), lattice.ids(lattice.cut(_SPACE + text)[0])
        if [i for i, _ in groupby(found)] != [i for i, _ in groupby(expected)]:  # unknown characters in a row are one
            raise _OTHER_KIND
    pieces, replaced = [], []
    for word, text in zip(words, texts, strict=True):
        piece = text if is_han(text[0]) else _SPACE + text
        if piece in lattice.scores:
            raise ConfigError(f"'{word}' is one piece already; leave it out.")
        old, score = lattice.cut(piece)
        replaced.append(tuple(lattice.ids(old)))
        lattice.add(piece, score + _MARGIN)
        pieces.append(piece)
    extended = lattice.extended()
    if any(extended.piece_id(piece) not in extended.encode(text) for piece, text in zip(pieces, texts, strict=True)):
        raise _OTHER_KIND
    return Extension(extended, tuple(pieces), tuple(replaced))


class _Lattice:
    """The pieces of a unigram model, and the best way to cut a text into them (Kudo 2018, section 3.1)."""

    def __init__(self, tokenizer: Tokenizer):
        self._tokenizer, processor = tokenizer, tokenizer._processor
        special = (processor.is_control, processor.is_unknown, processor.is_unused, processor.is_byte)
        ids = range(processor.get_piece_size())
        normal = [i for i in ids if not any(is_so(i) for is_so in special)]
        self.scores: dict[str, float] = {processor.id_to_piece(i): processor.get_score(i) for i in normal}
        self._unknown = min(self.scores.values()) - _UNKNOWN
        self._longest = max(map(len, self.scores))
        self._spells = any(processor.is_byte(i) for i in ids)
        self._new: dict[str, int] = {}

    def cut(self, text: str) -> tuple[list[str], float]:
        """The best pieces of ``text``, unknown characters by themselves, and their summed scores."""
        best: list[tuple[float, int]] = [(0.0, 0)]
        for end in range(1, len(text) + 1):
            choices = []
            for start in range(max(0, end - self._longest), end):
                score = self.scores.get(text[start:end], self._unknown if end - start == 1 else None)
                if score is not None:
                    choices.append((best[start][0] + score, start))
            best.append(max(choices))
        pieces, end = [], len(text)
        while end:
            start = best[end][1]
            pieces.append(text[start:end])
            end = start
        return pieces[::-1], best[-1][0]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """Ids of what :meth:`cut` gives; unknown characters as bytes, or as the unknown piece."""
        found: list[int] = []
        for piece in pieces:
            if piece in self._new:
                found.append(self._new[piece])
            elif piece in self.scores or not self._spells:
                found.append(self._tokenizer.piece_id(piece))
            else:
                found += [self._tokenizer.piece_id(f"<0x{byte:02X}>") for byte in piece.encode()]
        return found

    def add(self, piece: str, score: float) -> None:
        """Take up a new piece."""
        self.scores[piece] = score
        self._longest = max(self._longest, len(piece))
        self._new[piece] = self._tokenizer.vocab_size + len(self._new)

    def extended(self) -> Tokenizer:
        """The tokenizer with what was added."""
        model = self._tokenizer.sentencepiece_model()
        # messages of a repeated field may be put behind each other
        model += b"".join(_message(piece, self.scores[piece]) for piece in self._new)
        return self._tokenizer.with_pieces(model, list(self._new))


def _message(piece: str, score: float) -> bytes:
    """A piece as it stands in a SentencePiece model."""
    text = piece.encode()
    body = b"\x0a" + _varint(len(text)) + text + b"\x15" + struct.pack("<f", score)
    return b"\x0a" + _varint(len(body)) + body


def _varint(number: int) -> bytes:
    """A length as protobuf writes it: seven bits a byte, the lowest first."""
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])

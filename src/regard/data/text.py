"""Text of one language on disk, tokenised and memory-mapped: text larger than memory trains.

A file has a sentence or a paragraph a line. Lines are split into sentences, and examples are made of consecutive
ones; where each sentence ends stays known, for what permutes them.
"""

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from regard.base.errors import ConfigError, DataError
from regard.base.files import new_folder
from regard.data.corpus import read_lines
from regard.data.ragged import FlatWriter, RaggedArray, RaggedWriter
from regard.data.sentences import split_sentences
from regard.data.tokenizer import Tokenizer

_CHUNK = 10_000
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class TextConfig:
    """Where text lies, and how much of it is used."""

    path: str
    """Plain text in UTF-8, gzipped or not; a blank line ends a document."""
    language: str
    """Language code such as ``en``; it decides how lines are split into sentences."""
    weight: float = 1.0
    """Share seen in an epoch: 2 is twice, 0.25 a random quarter that changes each epoch."""

    def __post_init__(self) -> None:
        if not self.path or self.path == "-":
            raise ConfigError("text is read more than once, so it cannot come from standard input; set path to a file.")
        if not _LANGUAGE.fullmatch(self.language):
            raise ConfigError(f"language is '{self.language}'; it must be a language code such as en, de or zh.")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(f"weight is {self.weight}; it must be positive. Remove the text to leave it out.")


def check_text(config: TextConfig) -> int:
    """Read a text once and return its number of lines that are not blank.

    Raises:
        DataError: it cannot be read, is not UTF-8, or has no such line.
    """
    count = sum(1 for line in read_lines(config.path) if line.strip())
    if not count:
        raise DataError(f"{config.path} holds no text: it has nothing but blank lines.")
    return count


class TextStore:
    """One tokenised text on disk, divided into examples."""

    def __init__(self, folder: str | Path):
        """Open what :meth:`build` wrote.

        Raises:
            DataError: it is incomplete or damaged.
        """
        folder = Path(folder)
        try:
            self.sentences = RaggedArray(folder, "sentences")
            self._firsts = np.load(folder / "firsts.npy", mmap_mode="r")
            self._lines = np.load(folder / "lines.npy", mmap_mode="r")
            if self._firsts[-1] != len(self.sentences) or len(self._lines) != len(self):
                raise ValueError(f"it has {len(self.sentences)} sentences, not {self._firsts[-1]}")
        except (OSError, ValueError, EOFError, IndexError) as error:
            raise DataError(f"the tokenised text {folder} is damaged ({error}). Remove {folder.parent}.") from error

    def __len__(self) -> int:
        return len(self._firsts) - 1

    def __getitem__(self, index: int) -> list[np.ndarray]:
        """The pieces of each sentence of an example."""
        return [self.sentences[i] for i in range(self._firsts[index], self._firsts[index + 1])]

    def lengths(self) -> np.ndarray:
        """Pieces of each example, as int32."""
        return np.diff(self.sentences.offsets[self._firsts]).astype(np.int32)

    def line(self, index: int) -> int:
        """The number of the line, from 1, in which an example begins."""
        return int(self._lines[index])

    @classmethod
    def build(
        cls,
        folder: str | Path,
        lines: Iterable[tuple[int, str]],
        tokenizer: Tokenizer,
        language: str,
        *,
        max_tokens: int,
        join_lines: bool,
    ) -> "TextStore":
        """Tokenise ``lines`` into ``folder``, whole or not at all; a chunk of them is in memory at a time.

        Args:
            folder: replaced where it exists.
            lines: each with its number; a blank one ends a document.
            tokenizer: cuts sentences into pieces.
            language: of the text.
            max_tokens: most pieces of an example; a longer sentence is cut.
            join_lines: fill examples with consecutive sentences of a document; otherwise a line is an example.

        Raises:
            DataError: nothing was left.
            RegardError: the disk is full or the folder cannot be written; what was there is as it was.
        """
        dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        with new_folder(folder) as temporary, ExitStack() as files:
            sentences = files.enter_context(RaggedWriter(temporary, "sentences", dtype))
            firsts = files.enter_context(FlatWriter(temporary / "firsts.npy", np.int64))
            numbers = files.enter_context(FlatWriter(temporary / "lines.npy", np.int64))
            written, room = 0, -1
            for chunk in _chunks(_sentences(lines, language, join_lines), _CHUNK):
                rows, begins = [], []
                pieces = tokenizer.encode_batch([text for _, _, text in chunk])
                for (number, is_first, _), whole in zip(chunk, pieces, strict=True):
                    for start in range(0, len(whole), max_tokens):
                        row = np.asarray(whole[start : start + max_tokens])
                        if len(row) > room or (is_first and not start):
                            begins.append((written + len(rows), number))
                            room = max_tokens
                        rows.append(row)
                        room -= len(row)
                sentences.write(rows)
                firsts.write(np.array([first for first, _ in begins]))
                numbers.write(np.array([number for _, number in begins]))
                written += len(rows)
            if not written:
                raise DataError("no text is left to train on.")
            firsts.write(np.array([written]))
        return cls(folder)


@dataclass(frozen=True)
class TextPart:
    """A text, as an epoch uses it."""

    store: TextStore
    """The tokenised text."""
    weight: float = 1.0
    """Times each example is seen in an epoch; a fraction takes a random part, another one each epoch."""

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Lengths with the end of the text counted, twice: what a model sees is about as long as what it learns."""
        lengths = self.store.lengths() + 1
        return lengths, lengths


def _sentences(lines: Iterable[tuple[int, str]], language: str, join_lines: bool) -> Iterator[tuple[int, bool, str]]:
    """The sentences of a text: number of the line, whether an example must begin here, and the sentence."""
    is_first = True
    for number, line in lines:
        is_first = is_first or not join_lines or not line.strip()
        for span in split_sentences(line, language):
            if span.text:
                yield number, is_first, span.text
                is_first = False


def _chunks(items: Iterator[tuple[int, bool, str]], size: int) -> Iterator[list[tuple[int, bool, str]]]:
    while chunk := list(islice(items, size)):
        yield chunk

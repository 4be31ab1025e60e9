"""Tokenised parallel text on disk, memory-mapped: a corpus larger than memory trains.

One store holds one corpus as flat arrays and offsets, in the order of the corpus.
Both directions of a corpus, its language tags and its share of an epoch are views
(:class:`Part`) on the same store.
"""

from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from regard.base.errors import DataError
from regard.base.files import new_folder
from regard.data.corpus import Pair
from regard.data.ragged import FlatWriter, RaggedArray, RaggedWriter
from regard.data.tokenizer import Tokenizer

_CHUNK = 10_000


class PairStore:
    """One tokenised corpus on disk."""

    def __init__(self, folder: str | Path):
        """Open what :meth:`build` wrote.

        Raises:
            DataError: it is incomplete or damaged.
        """
        folder = Path(folder)
        try:
            self.source = RaggedArray(folder, "source")
            self.target = RaggedArray(folder, "target")
            has_text = (folder / "source_text.values.npy").exists()
            self.texts = (RaggedArray(folder, "source_text"), RaggedArray(folder, "target_text")) if has_text else None
            # stores of earlier versions have no numbers
            numbers = folder / "numbers.npy"
            self._numbers = np.load(numbers, mmap_mode="r") if numbers.exists() else None
        except (OSError, ValueError, EOFError) as error:
            raise DataError(f"the tokenised corpus {folder} is damaged ({error}). Remove {folder.parent}.") from error

    def __len__(self) -> int:
        return len(self.source)

    def text(self, index: int, side: int) -> str:
        """The text of one side (0 source, 1 target); kept only where subwords are sampled anew each time."""
        if self.texts is None:
            raise DataError("this store was built without its text; build it with keep_text=True")
        return self.texts[side][index].tobytes().decode("utf-8")

    def number(self, index: int) -> int | None:
        """The number that the pair was given to :meth:`build` with; None where it was not kept."""
        return None if self._numbers is None else int(self._numbers[index])

    @classmethod
    def build(
        cls,
        folder: str | Path,
        pairs: Iterable[tuple[int, Pair]],
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        *,
        max_tokens: int = 0,
        keep_text: bool = False,
    ) -> tuple["PairStore", int]:
        """Tokenise ``pairs`` into ``folder``, whole or not at all; a chunk of them is in memory at a time.

        Args:
            folder: replaced where it exists.
            pairs: each with its number in the corpus, by which messages name it.
            source_tokenizer: of the first side.
            target_tokenizer: of the second side.
            max_tokens: drop pairs with a longer side; 0 keeps all.
            keep_text: also keep the text, for subword regularisation.

        Returns:
            The store and how many pairs were too long.

        Raises:
            DataError: nothing was left.
            RegardError: the disk is full or the folder cannot be written; what was there is as it was.
        """
        too_long = kept = 0
        largest = max(source_tokenizer.vocab_size, target_tokenizer.vocab_size)
        dtype = np.uint16 if largest <= 1 << 16 else np.uint32
        with new_folder(folder) as temporary:
            with ExitStack() as files:
                numbers = files.enter_context(FlatWriter(temporary / "numbers.npy", np.int64))
                sides = [files.enter_context(RaggedWriter(temporary, name, dtype)) for name in ("source", "target")]
                texts = [
                    files.enter_context(RaggedWriter(temporary, name, np.uint8))
                    for name in ("source_text", "target_text")
                    if keep_text
                ]
                for chunk in _chunks(pairs, _CHUNK):
                    rows = (
                        source_tokenizer.encode_batch([pair.source for _, pair in chunk]),
                        target_tokenizer.encode_batch([pair.target for _, pair in chunk]),
                    )
                    lengths = [(len(s), len(t)) for s, t in zip(*rows, strict=True)]
                    whole = [i for i, n in enumerate(lengths) if min(n) and (not max_tokens or max(n) <= max_tokens)]
                    too_long += len(chunk) - len(whole)
                    kept += len(whole)
                    numbers.write(np.array([chunk[i][0] for i in whole]))
                    for side, writer in enumerate(sides):
                        writer.write([np.asarray(rows[side][i]) for i in whole])
                    for side, writer in enumerate(texts):
                        writer.write([np.frombuffer(chunk[i][1][side].encode(), np.uint8) for i in whole])
            if not kept:
                limit = f" or longer than {max_tokens} pieces" if max_tokens else ""
                raise DataError(f"no pair is left to train on ({too_long} were empty{limit}).")
        return cls(folder), too_long


@dataclass(frozen=True)
class Part:
    """One direction of one corpus, as an epoch uses it."""

    store: PairStore
    """The tokenised corpus."""
    reverse: bool = False
    """Whether the corpus's target side is the source here."""
    prefix: tuple[int, ...] = ()
    """Pieces put before the source, such as a language tag."""
    weight: float = 1.0
    """Times each pair is seen in an epoch; a fraction takes a random part, another one each epoch."""

    def lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """Source and target lengths, with the end-of-sentence piece and the prefix counted."""
        source, target = self.store.source.lengths(), self.store.target.lengths()
        if self.reverse:
            source, target = target, source
        return source + len(self.prefix) + 1, target + 1

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Source and target pieces of one pair."""
        source, target = self.store.source[index], self.store.target[index]
        if self.reverse:
            source, target = target, source
        return self.with_prefix(source), target

    def with_prefix(self, source: np.ndarray) -> np.ndarray:
        """The source pieces behind the prefix."""
        return np.concatenate([np.asarray(self.prefix, dtype=np.int64), source]) if self.prefix else source


def _chunks(items: Iterable[tuple[int, Pair]], size: int) -> Iterator[list[tuple[int, Pair]]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk

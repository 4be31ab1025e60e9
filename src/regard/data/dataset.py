"""Tokenised parallel text on disk, memory-mapped: a corpus larger than memory trains.

One store holds one corpus as flat arrays and offsets, in the order of the corpus.
Both directions of a corpus, its language tags and its share of an epoch are views
(:class:`Part`) on the same store.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from regard.base.errors import DataError
from regard.base.files import new_folder
from regard.data.corpus import Pair
from regard.data.tokenizer import Tokenizer

_CHUNK = 10_000


class _RaggedArray:
    """Sequences of different lengths in one flat, memory-mapped file."""

    def __init__(self, folder: Path, name: str):
        self.offsets = np.load(folder / f"{name}.offsets.npy", mmap_mode="r")
        self.values = np.load(folder / f"{name}.values.npy", mmap_mode="r")

    def __getitem__(self, index: int) -> np.ndarray:
        return self.values[self.offsets[index] : self.offsets[index + 1]]

    def lengths(self) -> np.ndarray:
        return np.diff(self.offsets)


class _RaggedWriter:
    """Appends sequences to a flat file; the header is written when the length is known."""

    def __init__(self, folder: Path, name: str, dtype: type):
        self.folder, self.name, self.dtype = folder, name, np.dtype(dtype)
        self.raw = open(folder / f"{name}.raw", "wb")  # noqa: SIM115 - closed in finish()
        self.lengths: list[np.ndarray] = []

    def write(self, rows: list[np.ndarray]) -> None:
        self.lengths.append(np.fromiter(map(len, rows), dtype=np.int64, count=len(rows)))
        for row in rows:
            self.raw.write(np.asarray(row, dtype=self.dtype).tobytes())

    def finish(self) -> None:
        self.raw.close()
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(self.lengths or [np.empty(0, np.int64)]))])
        np.save(self.folder / f"{self.name}.offsets.npy", offsets.astype(np.int64))
        path = self.folder / f"{self.name}.raw"
        values = np.lib.format.open_memmap(
            self.folder / f"{self.name}.values.npy", mode="w+", dtype=self.dtype, shape=(int(offsets[-1]),)
        )
        if len(values):
            source = np.memmap(path, dtype=self.dtype, mode="r")
            for start in range(0, len(values), 1 << 24):
                values[start : start + (1 << 24)] = source[start : start + (1 << 24)]
        values.flush()
        path.unlink()


class PairStore:
    """One tokenised corpus on disk."""

    def __init__(self, folder: str | Path):
        folder = Path(folder)
        self.source = _RaggedArray(folder, "source")
        self.target = _RaggedArray(folder, "target")
        has_text = (folder / "source_text.values.npy").exists()
        self.texts = (_RaggedArray(folder, "source_text"), _RaggedArray(folder, "target_text")) if has_text else None

    def __len__(self) -> int:
        return len(self.source.offsets) - 1

    def text(self, index: int, side: int) -> str:
        """The text of one side (0 source, 1 target); kept only where subwords are sampled anew each time."""
        if self.texts is None:
            raise DataError("this store was built without its text; build it with keep_text=True")
        return self.texts[side][index].tobytes().decode("utf-8")

    @classmethod
    def build(
        cls,
        folder: str | Path,
        pairs: Iterable[Pair],
        source_tokenizer: Tokenizer,
        target_tokenizer: Tokenizer,
        *,
        max_tokens: int = 0,
        keep_text: bool = False,
    ) -> tuple["PairStore", int]:
        """Tokenise ``pairs`` into ``folder``, whole or not at all.

        Args:
            max_tokens: drop pairs with a longer side; 0 keeps all.
            keep_text: also keep the text, for subword regularisation.

        Returns:
            The store and how many pairs were too long.

        Raises:
            DataError: nothing was left.
        """
        too_long = kept = 0
        largest = max(source_tokenizer.vocab_size, target_tokenizer.vocab_size)
        dtype = np.uint16 if largest <= 1 << 16 else np.uint32
        with new_folder(folder) as temporary:
            names = ["source", "target"] + (["source_text", "target_text"] if keep_text else [])
            writers = [_RaggedWriter(temporary, n, np.uint8 if n.endswith("text") else dtype) for n in names]
            for chunk in _chunks(pairs, _CHUNK):
                sources = source_tokenizer.encode_batch([pair.source for pair in chunk])
                targets = target_tokenizer.encode_batch([pair.target for pair in chunk])
                fits = [
                    i
                    for i, (s, t) in enumerate(zip(sources, targets, strict=True))
                    if s and t and (not max_tokens or max(len(s), len(t)) <= max_tokens)
                ]
                too_long += len(chunk) - len(fits)
                kept += len(fits)
                writers[0].write([np.asarray(sources[i]) for i in fits])
                writers[1].write([np.asarray(targets[i]) for i in fits])
                if keep_text:
                    writers[2].write([np.frombuffer(chunk[i].source.encode(), np.uint8) for i in fits])
                    writers[3].write([np.frombuffer(chunk[i].target.encode(), np.uint8) for i in fits])
            for writer in writers:
                writer.finish()
            if not kept:
                raise DataError(f"no pair is left to train on ({too_long} were empty or longer than {max_tokens} pieces).")
        return cls(folder), too_long


def _chunks(items: Iterable[Pair], size: int) -> Iterator[list[Pair]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk


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

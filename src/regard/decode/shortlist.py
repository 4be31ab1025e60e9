"""A shortlist: which target pieces a translation may be made of, by what its source is made of.

The projection to the vocabulary is the largest matrix of a decoding step. Most of its rows are of no use for the
sentence at hand, and alignment tells which ones are (Devlin 2017; L'Hostis et al. 2016): for each source piece the
pieces that translate it, and a few that occur everywhere. :mod:`regard.tasks.shortlist` learns them.

On disk it is ``shortlist.safetensors`` in the model's folder, with three arrays:

========== =============== ==========================================================================================
``tables`` int32, T        the language tag that a source of this table begins with; -1: any source
``counts`` uint16, T×(S+1) length of each row: one for each of S source pieces, and last the pieces that always come
``pieces`` uint16 or int32 the rows one after the other, target pieces in ascending order
========== =============== ==========================================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from regard.base.errors import ModelError, RegardError
from regard.base.files import write_atomic
from regard.decode.request import Request

FILE = "shortlist.safetensors"
#: The table of sources that begin with no tag.
ANY = -1
_FORMAT = "regard-shortlist-1"
_LONGEST = (1 << 16) - 1


@dataclass(frozen=True)
class Shortlist:
    """Rows of target pieces, by table and source piece."""

    tables: np.ndarray
    """int32, T: tag that chooses each table, or -1."""
    counts: np.ndarray
    """int64, T×(S+1): length of each row."""
    pieces: np.ndarray
    """int32: the rows one after the other."""
    targets: int
    """Size of the target vocabulary."""

    @classmethod
    def of_rows(cls, rows: Mapping[int, Sequence[np.ndarray]], targets: int) -> "Shortlist":
        """From the S+1 rows of each table, which need not be in order."""
        sorted_rows = [[np.unique(row)[:_LONGEST] for row in rows[table]] for table in sorted(rows)]
        counts = np.array([[len(row) for row in table] for table in sorted_rows], np.int64)
        pieces = np.concatenate([row for table in sorted_rows for row in table]).astype(np.int32)
        return cls(np.array(sorted(rows), np.int32), counts, pieces, targets)

    @classmethod
    def load(cls, path: Path, sources: int, targets: int) -> "Shortlist":
        """Read a file.

        Args:
            path: the file.
            sources: size of the source vocabulary.
            targets: size of the target vocabulary.

        Raises:
            ModelError: it cannot be read, is damaged, or is for another vocabulary.
        """
        try:
            stored = load(path.read_bytes())
            tables, counts, pieces = (stored[name] for name in ("tables", "counts", "pieces"))
        except (SafetensorError, OSError, KeyError) as error:
            raise ModelError(f"{path} cannot be read: {error}. Remove it to translate without it.") from error
        fits = counts.shape == (len(tables), sources + 1) and counts.sum() == len(pieces) and len(tables)
        if not fits or (len(pieces) and int(pieces.max()) >= targets) or (pieces < 0).any():
            raise ModelError(
                f"{path} does not fit this model's vocabulary of {sources} and {targets} pieces. Remove it."
            )
        return cls(tables.astype(np.int32), counts.astype(np.int64), pieces.astype(np.int32), targets)

    def save(self, folder: Path) -> Path:
        """Write the file into a model's folder.

        Raises:
            RegardError: the disk is full or the folder cannot be written.
        """
        small = np.uint16 if self.targets <= 1 << 16 else np.int32
        arrays = {
            "tables": self.tables,
            "counts": self.counts.astype(np.uint16),
            "pieces": self.pieces.astype(small),
        }
        write_atomic(folder / FILE, save(arrays, {"format": _FORMAT}))
        return folder / FILE

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64, T·(S+1) + 1: where each row begins, and the last one ends."""
        return np.concatenate([np.zeros(1, np.int64), np.cumsum(self.counts.ravel())])

    @property
    def sources(self) -> int:
        """Size of the source vocabulary."""
        return self.counts.shape[1] - 1

    def row(self, table: int, source: int) -> np.ndarray:
        """One row of the table at place ``table``; that of ``sources`` has the pieces that always come along."""
        place = table * (self.sources + 1) + source
        return self.pieces[self.offsets[place] : self.offsets[place + 1]]

    def rows(self) -> dict[int, list[np.ndarray]]:
        """The inverse of :meth:`of_rows`."""
        return {int(tag): [self.row(t, s) for s in range(self.sources + 1)] for t, tag in enumerate(self.tables)}

    def of(self, source: Sequence[int]) -> list[int]:
        """The pieces for a source, ascending; none where there is no table for it."""
        places = [t for t, tag in enumerate(self.tables) if tag in (ANY, source[0])]
        if not places:
            return []
        return np.unique(np.concatenate([self.row(places[0], s) for s in (*source, self.sources)])).tolist()

    def merged(self, other: "Shortlist") -> "Shortlist":
        """What either of two shortlists for the same vocabularies has.

        Raises:
            RegardError: they are for different vocabularies.
        """
        if (self.sources, self.targets) != (other.sources, other.targets):
            raise RegardError("two shortlists for different vocabularies cannot be merged.")
        mine, theirs = self.rows(), other.rows()
        rows = {**theirs, **mine}
        for tag in mine.keys() & theirs.keys():
            rows[tag] = [np.concatenate(pair) for pair in zip(mine[tag], theirs[tag], strict=True)]
        return Shortlist.of_rows(rows, self.targets)


def with_vocabulary(request: Request, shortlist: Shortlist | None, eos_id: int) -> Request:
    """``request`` with all pieces of its own vocabulary, where it or the shortlist restricts it."""
    chosen = request.vocabulary
    if chosen is None and shortlist is not None:
        chosen = shortlist.of(request.source) or None
    if chosen is None:
        return request
    required = (piece for sequence in request.options.required for piece in sequence)
    return replace(request, vocabulary=tuple(sorted({*chosen, eos_id, *request.prefix, *required})))

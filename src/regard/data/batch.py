"""Padded training batches: of pairs, and of texts of one language."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Batch:
    """Source and target of B sentences, padded on the right."""

    source: Tensor
    """B×S piece ids, each row ending in the end-of-sentence piece."""
    source_lengths: Tensor
    """B lengths."""
    target_inputs: Tensor
    """B×T: begin-of-sentence, then the target without its last piece."""
    targets: Tensor
    """The target pieces in row order without padding: ``num_tokens`` of them."""
    target_index: Tensor | None
    """Where they stand in the flattened B×T, or None when nothing is padded."""

    @property
    def num_tokens(self) -> int:
        """Target pieces, padding not counted; what losses are normalised by."""
        return len(self.targets)

    def to(self, device: torch.device) -> "Batch":
        """Move to ``device``. The lengths stay: masks are built on the host."""
        if device.type == "cpu":
            return self
        index = None if self.target_index is None else self.target_index.to(device, non_blocking=True)
        return Batch(
            self.source.to(device, non_blocking=True),
            self.source_lengths,
            self.target_inputs.to(device, non_blocking=True),
            self.targets.to(device, non_blocking=True),
            index,
        )


@dataclass(frozen=True)
class TextBatch:
    """B texts of one language, padded on the right, and the pieces that a model is to find in them."""

    inputs: Tensor
    """B×T piece ids, as the model sees them."""
    lengths: Tensor
    """B lengths."""
    targets: Tensor
    """The pieces to predict, in row order: ``num_tokens`` of them."""
    index: Tensor | None
    """Where in the flattened B×T each is predicted, or None when it is everywhere."""

    @property
    def num_tokens(self) -> int:
        """Pieces to predict; what losses are normalised by."""
        return len(self.targets)

    def to(self, device: torch.device) -> "TextBatch":
        """Move to ``device``. The lengths stay: masks are built on the host."""
        if device.type == "cpu":
            return self
        index = None if self.index is None else self.index.to(device, non_blocking=True)
        inputs, targets = self.inputs.to(device, non_blocking=True), self.targets.to(device, non_blocking=True)
        return TextBatch(inputs, self.lengths, targets, index)


def pad(rows: Sequence[Sequence[int] | np.ndarray], pad_id: int) -> Tensor:
    """Stack sequences of different lengths into B×longest, filled up with ``pad_id``."""
    table = np.full((len(rows), max(map(len, rows), default=0)), pad_id, dtype=np.int64)
    for i, row in enumerate(rows):
        table[i, : len(row)] = row
    return torch.from_numpy(table)


def collate(
    sources: Sequence[Sequence[int] | np.ndarray],
    targets: Sequence[Sequence[int] | np.ndarray],
    *,
    pad_id: int,
    bos_id: int,
    eos_id: int,
) -> Batch:
    """Make a batch of piece ids that carry no special pieces yet."""
    source_lengths = torch.tensor([len(row) + 1 for row in sources])
    target_lengths = torch.tensor([len(row) + 1 for row in targets])
    source = pad([np.append(row, eos_id) for row in sources], pad_id)
    target = pad([np.append(row, eos_id) for row in targets], pad_id)
    inputs = torch.full_like(target, bos_id)
    inputs[:, 1:] = target[:, :-1]
    real = torch.arange(target.shape[1])[None] < target_lengths[:, None]
    inputs[~real] = pad_id
    flat = target.flatten()
    if bool(real.all()):
        return Batch(source, source_lengths, inputs, flat, None)
    index = real.flatten().nonzero()[:, 0]
    return Batch(source, source_lengths, inputs, flat[index], index)


def collate_text(
    rows: Sequence[np.ndarray], positions: Sequence[np.ndarray], targets: Sequence[np.ndarray], *, pad_id: int
) -> TextBatch:
    """Make a batch of rows of pieces.

    Args:
        rows: what the model sees, special pieces included.
        positions: of each row, where something is predicted.
        targets: what, as many.
        pad_id: fills the rows up.
    """
    inputs, lengths = pad(rows, pad_id), torch.tensor([len(row) for row in rows])
    width = inputs.shape[1]
    index = np.concatenate([row * width + np.asarray(where) for row, where in enumerate(positions)])
    everywhere = len(index) == inputs.numel()
    flat = torch.from_numpy(np.concatenate(targets).astype(np.int64))
    return TextBatch(inputs, lengths, flat, None if everywhere else torch.from_numpy(index.astype(np.int64)))

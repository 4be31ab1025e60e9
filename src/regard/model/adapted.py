"""The seam for adapters: modules with something added, and the switch that says how much of it each row gets.

A model carries any number of adapters, by name. Each has a *share*: 1 adds it whole, 0 leaves it out, and several
shares at once are a weighted sum. All rows of a batch have the same shares, or each sentence its own.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor, nn

# Not a part of the switch: engines in other threads may decode other sentences with the same model.
_sentences: ContextVar[tuple[Mapping[str, float] | None, ...]] = ContextVar("_sentences", default=(None,))


@contextmanager
def sentences(shares: Sequence[Mapping[str, float] | None]) -> Iterator[None]:
    """Within the block, give each sentence of the batch its own shares (None: those that its model gives to all).

    A batch may have several rows a sentence, one after the other, such as the rows of a beam.
    """
    token = _sentences.set(tuple(shares))
    try:
        yield
    finally:
        _sentences.reset(token)


class Switch:
    """Says which adapters of a model are on; all its adapted modules look at the same one."""

    def __init__(self) -> None:
        #: The share of each adapter where a sentence says nothing else.
        self.shares: dict[str, float] = {}

    def share(self, name: str, rows: int) -> float | Tensor:
        """The share of an adapter: one number where all of the ``rows`` have the same, else a vector of them.

        Raises:
            ValueError: the rows are not a multiple of the sentences that have shares of their own.
        """
        chosen = [(self.shares if own is None else own).get(name, 0.0) for own in _sentences.get()]
        if len(set(chosen)) == 1:
            return chosen[0]
        if rows % len(chosen):
            raise ValueError(f"{rows} rows cannot be divided among {len(chosen)} sentences evenly")
        return torch.tensor(chosen).repeat_interleave(rows // len(chosen))


class Adapted(nn.Module):
    """A module, and what each adapter adds to its output: functions of its input x and its output y."""

    def __init__(self, base: nn.Module, switch: Switch):
        super().__init__()
        self.base = base
        self.adapters = nn.ModuleDict()
        self.switch = switch

    def forward(self, x: Tensor) -> Tensor:
        """…×in to …×out, rows first."""
        y = self.base(x)
        total = y
        for name, delta in self.adapters.items():
            share = self.switch.share(name, len(x))
            if isinstance(share, Tensor):  # only the rows that have any of it
                index = share.nonzero()[:, 0].to(x.device)
                own = share.to(y)[index].view(-1, *[1] * (y.dim() - 1))
                total = total.index_add(0, index, own * delta(x[index], y[index]))
            elif share:
                added = delta(x, y)
                total = total + (added if share == 1 else share * added)
        return total

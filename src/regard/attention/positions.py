"""Where a token stands: sinusoidal and learned tables at the input, rotations at the scores."""

import math
from collections.abc import Callable
from typing import Self

import torch
from torch import Tensor, nn

from regard.base.errors import ModelError


def sinusoidal_table(num_positions: int, d_model: int) -> Tensor:
    """Sines at even and cosines at odd columns (Vaswani et al. 2017, section 3.5).

    Returns:
        ``num_positions``×D in float64.
    """
    position = torch.arange(num_positions, dtype=torch.float64)[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position * torch.exp(even * (-math.log(10_000.0) / d_model))
    table = torch.zeros(num_positions, d_model, dtype=torch.float64)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle[:, : d_model // 2])
    return table


def _stop(positions: Tensor) -> int:
    """How many rows of a table are needed for ``positions``."""
    if not positions.numel():
        return 0
    lowest, highest = positions.aminmax()
    if int(lowest) < 0:  # as an index it would count from the end
        raise ValueError(f"positions count from 0, got {int(lowest)}")
    return int(highest) + 1


class SinusoidalPositions(nn.Module):
    """A fixed table that grows on demand, so that no input is too long for it.

    It is not stored with the weights, and computed anew when the module moves or changes
    its type: float64 gets all digits, and a detour over bf16 loses none.
    """

    def __init__(self, d_model: int, num_positions: int = 512):
        super().__init__()
        self.d_model = d_model
        self.register_buffer("table", torch.empty(num_positions, d_model), persistent=False)
        self.reset()

    def reset(self, num_positions: int | None = None) -> Tensor:
        """Compute the table anew, by default with as many positions as before, and return it."""
        with torch.inference_mode(False):  # it may serve in training later
            table = sinusoidal_table(num_positions or len(self.table), self.d_model).to(self.table)
        self.table = table
        return table

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.reset()
        return self

    def forward(self, positions: Tensor) -> Tensor:
        """Return the rows for ``positions`` (any shape of integers), …×D.

        Raises:
            ValueError: a position is negative.
        """
        return self.slice(_stop(positions))[positions]

    def slice(self, stop: int, start: int = 0) -> Tensor:
        """Return rows ``start`` to ``stop``, (stop-start)×D."""
        table: Tensor = self.table  # not read twice: another thread may be growing it, too
        if stop > len(table):
            table = self.reset(max(stop, 2 * len(table)))
        return table[start:stop]


class LearnedPositions(nn.Module):
    """A trained vector for each position (Gehring et al. 2017; Devlin et al. 2019)."""

    def __init__(self, d_model: int, num_positions: int):
        super().__init__()
        self.num_positions = num_positions
        self.table = nn.Parameter(torch.empty(num_positions, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the rows for ``positions``, …×D.

        Raises:
            ModelError: a position is too high.
            ValueError: one is negative.
        """
        self._check(_stop(positions))
        return self.table[positions]

    def slice(self, stop: int, start: int = 0) -> Tensor:
        """Return rows ``start`` to ``stop``, (stop-start)×D; errors as in :meth:`forward`."""
        self._check(stop)
        return self.table[start:stop]

    def _check(self, stop: int) -> None:
        if stop > self.num_positions:
            raise ModelError(
                f"position {stop - 1} asked for, but this model has {self.num_positions} learned positions. "
                "Split the text, or train with a larger model.max_positions."
            )


class RotaryPositions(nn.Module):
    """Rotate pairs of query and key features by their position (Su et al. 2021, RoFormer, eq. 34).

    Feature i is paired with feature i + R/2 of the R that are rotated (the layout of LLaMA and GPT-NeoX). The
    tables grow and are computed anew as those of :class:`SinusoidalPositions`.
    """

    def __init__(self, head_dim: int, base: float = 10_000.0, num_positions: int = 512, *, fraction: float = 1.0):
        """
        Args:
            head_dim: K.
            base: the slowest pair turns once in about 2π · base positions.
            num_positions: length of the tables to begin with.
            fraction: part of the features that is rotated, the first R of them (GPT-NeoX: a quarter); rounded
                down to pairs.

        Raises:
            ValueError: an odd number of features, a base that is not positive, or nothing to rotate.
        """
        super().__init__()
        if fraction == 1.0 and head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, got {head_dim}")
        rotated = int(head_dim * fraction) // 2 * 2
        if base <= 0 or not 0 < fraction <= 1 or not rotated:
            raise ValueError(
                "rotary positions want a positive base and a fraction of the features that has at least one pair, "
                f"got base={base}, fraction={fraction} of {head_dim}"
            )
        self.head_dim, self.base, self.rotated = head_dim, base, rotated
        self.register_buffer("cos", torch.empty(num_positions, rotated), persistent=False)
        self.register_buffer("sin", torch.empty(num_positions, rotated), persistent=False)
        self.reset()

    def reset(self, num_positions: int | None = None) -> tuple[Tensor, Tensor]:
        """Compute the tables anew, by default with as many positions as before, and return them."""
        old: Tensor = self.cos
        with torch.inference_mode(False):  # they may serve in training later
            frequency = self.base ** (-torch.arange(0, self.rotated, 2, dtype=torch.float64) / self.rotated)
            angle = torch.arange(num_positions or len(old), dtype=torch.float64)[:, None] * frequency
            angle = torch.cat([angle, angle], dim=-1)
            cos, sin = angle.cos().to(old), angle.sin().to(old)
        self.cos, self.sin = cos, sin
        return cos, sin

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.reset()
        return self

    def forward(self, x: Tensor, positions: Tensor | None = None) -> Tensor:
        """Rotate ``x``, B×H×T×K, by ``positions``, T or B×T; by default 0 to T - 1.

        Raises:
            ValueError: a position is negative.
        """
        if self.rotated < x.shape[-1]:
            turned, still = x.split([self.rotated, x.shape[-1] - self.rotated], dim=-1)
            return torch.cat([self._rotate(turned, positions), still], dim=-1)
        return self._rotate(x, positions)

    def _rotate(self, x: Tensor, positions: Tensor | None) -> Tensor:
        stop = x.shape[2] if positions is None else _stop(positions)
        cos, sin = self.cos, self.sin  # not read twice: another thread may be growing them, too
        if stop > min(len(cos), len(sin)):
            cos, sin = self.reset(max(stop, 2 * len(cos)))
        if positions is None:
            cos, sin = cos[:stop], sin[:stop]  # T×R
        else:
            cos, sin = cos[positions], sin[positions]  # (B×)T×R
            if positions.dim() == 2:
                cos, sin = cos[:, None], sin[:, None]  # over the heads
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

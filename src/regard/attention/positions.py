"""Where a token stands: sinusoidal and learned tables at the input, rotations at the scores."""

import math

import torch
from torch import Tensor, nn


def sinusoidal_table(num_positions: int, d_model: int) -> Tensor:
    """Sines at even and cosines at odd columns (Vaswani et al. 2017, section 3.5).

    Returns:
        ``num_positions``×D in float32, computed in float64.
    """
    position = torch.arange(num_positions, dtype=torch.float64)[:, None]
    even = torch.arange(0, d_model, 2, dtype=torch.float64)
    angle = position * torch.exp(even * (-math.log(10_000.0) / d_model))
    table = torch.zeros(num_positions, d_model, dtype=torch.float64)
    table[:, 0::2] = torch.sin(angle)
    table[:, 1::2] = torch.cos(angle[:, : d_model // 2])
    return table.float()


class SinusoidalPositions(nn.Module):
    """A fixed table that grows on demand, so that no input is too long for it."""

    def __init__(self, d_model: int, num_positions: int = 512):
        super().__init__()
        self.d_model = d_model
        self.num_positions = num_positions
        self.register_buffer("table", sinusoidal_table(num_positions, d_model), persistent=False)

    def reset(self) -> None:
        """Compute the table anew, after the module was made without memory."""
        self.table = sinusoidal_table(self.num_positions, self.d_model).to(self.table)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the rows for ``positions`` (any shape of integers), …×D."""
        return self.slice(int(positions.max()) + 1)[positions]

    def slice(self, stop: int, start: int = 0) -> Tensor:
        """Return rows ``start`` to ``stop``, (stop-start)×D."""
        table: Tensor = self.table
        if stop > len(table):
            size = max(stop, 2 * len(table))
            self.table = sinusoidal_table(size, self.d_model).to(table)
        return self.table[start:stop]


class LearnedPositions(nn.Module):
    """A trained vector for each position (Gehring et al. 2017; Devlin et al. 2019)."""

    def __init__(self, d_model: int, num_positions: int):
        super().__init__()
        self.num_positions = num_positions
        self.table = nn.Parameter(torch.empty(num_positions, d_model))
        nn.init.normal_(self.table, std=d_model**-0.5)

    def forward(self, positions: Tensor) -> Tensor:
        """Return the rows for ``positions``, …×D."""
        self._check(int(positions.max()) + 1)
        return self.table[positions]

    def slice(self, stop: int, start: int = 0) -> Tensor:
        """Return rows ``start`` to ``stop``, (stop-start)×D."""
        self._check(stop)
        return self.table[start:stop]

    def _check(self, stop: int) -> None:
        if stop > self.num_positions:
            raise ValueError(
                f"position {stop - 1} asked for, but this model has {self.num_positions} learned positions. "
                "Split the text, or train with a larger model.max_positions."
            )


class RotaryPositions(nn.Module):
    """Rotate pairs of query and key features by their position (Su et al. 2021, RoFormer, eq. 34).

    Feature i is paired with feature i + K/2 (the layout of LLaMA and GPT-NeoX).
    """

    def __init__(self, head_dim: int, base: float = 10_000.0, num_positions: int = 512):
        super().__init__()
        if head_dim % 2:
            raise ValueError(f"rotary positions need an even head width, got {head_dim}")
        self.head_dim, self.base = head_dim, base
        self.num_positions = num_positions
        cos, sin = self._tables(num_positions)
        self.register_buffer("cos", cos.to(torch.get_default_dtype()), persistent=False)
        self.register_buffer("sin", sin.to(torch.get_default_dtype()), persistent=False)

    def _tables(self, num_positions: int) -> tuple[Tensor, Tensor]:
        frequency = self.base ** (-torch.arange(0, self.head_dim, 2, dtype=torch.float64) / self.head_dim)
        angle = torch.arange(num_positions, dtype=torch.float64)[:, None] * frequency
        angle = torch.cat([angle, angle], dim=-1)
        return angle.cos(), angle.sin()

    def reset(self, num_positions: int = 0) -> None:
        """Compute the tables anew, after the module was made without memory or became too short."""
        cos, sin = self._tables(num_positions or self.num_positions)
        self.cos, self.sin = cos.to(self.cos), sin.to(self.sin)

    def forward(self, x: Tensor, positions: Tensor) -> Tensor:
        """Rotate ``x``, B×H×T×K, by ``positions``, T or B×T."""
        last = int(positions.max()) + 1
        if last > len(self.cos):
            self.reset(max(last, 2 * len(self.cos)))
        cos, sin = self.cos[positions], self.sin[positions]  # (B×)T×K
        if positions.dim() == 2:
            cos, sin = cos[:, None], sin[:, None]  # over the heads
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat([-second, first], dim=-1) * sin

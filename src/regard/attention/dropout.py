"""Dropout (Srivastava et al. 2014) whose masks cost next to nothing on a CPU.

PyTorch draws CPU dropout masks one number at a time on one thread: 19% of a
training step of a small Transformer. Here a pool of ready-made masks is drawn
once, and each call takes a slice of it at a random offset, so that the same
stretch of the pool meets other activations, and other neighbours, every time.
The pool depends on the rate and dtype only and the offsets come from PyTorch's
generator (or, in threads, from :func:`offsets_from`): saving that generator's state is
enough to resume bit for bit.
"""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

POOL_SIZE = 1 << 24
_POOL_SEED = 20170612
_pools: dict[tuple[float, torch.dtype], Tensor] = {}
_local = threading.local()


@contextmanager
def offsets_from(seed: int) -> Iterator[None]:
    """Draw this thread's offsets from a generator of its own, so that threads do not race for numbers."""
    _local.generator = torch.Generator().manual_seed(seed)
    try:
        yield
    finally:
        _local.generator = None


def _pool(rate: float, dtype: torch.dtype) -> Tensor:
    """A flat vector of 0 (dropped) and 1/(1-rate) (kept)."""
    if (rate, dtype) not in _pools:
        # a tensor made in inference mode could not take part in training later
        with torch.inference_mode(False):
            generator = torch.Generator().manual_seed(_POOL_SEED)
            kept = torch.rand(POOL_SIZE, generator=generator) >= rate
            _pools[rate, dtype] = kept.to(dtype) / (1 - rate)
    return _pools[rate, dtype]


def dropout_mask(like: Tensor, rate: float) -> Tensor | None:
    """A mask in the shape of ``like`` on a CPU; None elsewhere, where PyTorch's own dropout is fast."""
    if like.device.type != "cpu":
        return None
    generator = getattr(_local, "generator", None)
    if like.numel() > POOL_SIZE // 2:  # too few offsets: draw a mask of its own
        kept = torch.rand(like.shape, generator=generator) >= rate
        return kept.to(like.dtype) / (1 - rate)
    offset = int(torch.randint(POOL_SIZE - like.numel(), (), generator=generator))
    return _pool(rate, like.dtype)[offset : offset + like.numel()].view(like.shape)


def chance(rate: float) -> bool:
    """True with probability ``rate``, drawn like the offsets of the masks."""
    return float(torch.rand((), generator=getattr(_local, "generator", None))) < rate


class Dropout(nn.Module):
    """Zero each element with probability ``rate`` in training, scaling the rest by 1/(1-rate)."""

    def __init__(self, rate: float):
        super().__init__()
        if not 0.0 <= rate < 1.0:
            raise ValueError(f"a dropout rate lies in [0, 1), got {rate}")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with dropout applied (unchanged in evaluation)."""
        if not self.training or self.rate == 0.0:
            return x
        mask = dropout_mask(x, self.rate)
        return F.dropout(x, self.rate) if mask is None else x * mask

    def add(self, residual: Tensor, x: Tensor) -> Tensor:
        """Return ``residual + dropout(x)`` in one pass over memory."""
        if not self.training or self.rate == 0.0:
            return residual + x
        mask = dropout_mask(x, self.rate)
        return residual + F.dropout(x, self.rate) if mask is None else torch.addcmul(residual, x, mask)

    def extra_repr(self) -> str:
        return f"rate={self.rate}"


class UniformNoise(nn.Module):
    """Add noise from (-α/√(T·D), α/√(T·D)) to embeddings B×T×D in training (NEFTune, Jain et al. 2024)."""

    def __init__(self, alpha: float):
        super().__init__()
        if not 0.0 <= alpha < math.inf:
            raise ValueError(f"the size of noise is not negative, got {alpha}")
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` with noise (unchanged in evaluation)."""
        if not self.training or self.alpha == 0.0:
            return x
        size = self.alpha / math.sqrt(x.shape[-2] * x.shape[-1])
        generator = getattr(_local, "generator", None) if x.device.type == "cpu" else None
        noise = torch.empty_like(x).uniform_(-size, size, generator=generator)
        return x + noise

    def extra_repr(self) -> str:
        return f"alpha={self.alpha}"

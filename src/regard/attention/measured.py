"""Where each kernel is the fastest: the table behind :func:`regard.attention.which_kernel`.

    python benchmarks/attention.py --dispatch

measures the machine at hand and prints its entry. Machines are told apart by what their processors can do; within a
kind the figures differ less than between kinds. The entry of another kind was measured with ``ATEN_CPU_CAPABILITY=avx2
ONEDNN_MAX_CPU_ISA=AVX2``, which is what PyTorch then runs on.
"""

from dataclasses import dataclass
from functools import cache

import torch

from regard.base.device import cpu_flags
from regard.base.kernels import training_kernels


@dataclass(frozen=True)
class Limits:
    """Where one kernel overtakes another on a CPU."""

    explicit_training: int = 0
    """Forward and backward, explicit is faster than sdpa up to so many keys."""
    tiled_training: int = 0
    """Forward and backward, tiled is the fastest from so many keys on."""
    tiled_queries: int = 8
    """Forward alone, tiled is the fastest from so many queries (T) on, …"""
    tiled_rows: int = 256
    """… if there are so many in all heads and rows of the batch (B·H·T)."""
    many_matrices: int = 128
    """Forward alone and of few queries, explicit is faster than sdpa for so many matrices (B·H) and more, …"""
    many_keys: int = 256
    """… up to so many keys."""
    blocked_keys: int = 256
    """A window is cut into blocks from so many keys on, …"""
    blocked_ratio: int = 3
    """… if they are so many times as many as a query sees."""


#: By kind of processor and type.
TABLE: dict[str, dict[torch.dtype, Limits]] = {
    "AVX-512 BF16": {
        torch.float32: Limits(explicit_training=32),
        torch.bfloat16: Limits(explicit_training=512, tiled_queries=1, tiled_rows=64),
    },
    "AVX-512": {
        torch.float32: Limits(tiled_training=96, tiled_queries=128),
        torch.bfloat16: Limits(explicit_training=128, tiled_queries=16),
    },
    "another": {
        torch.float32: Limits(),
        torch.bfloat16: Limits(),
    },
}


@cache
def limits(dtype: torch.dtype) -> Limits:
    """Those of this machine."""
    if training_kernels() is None:
        kind = "another"
    else:
        kind = "AVX-512 BF16" if "avx512_bf16" in cpu_flags() else "AVX-512"
    return TABLE[kind].get(dtype, Limits())

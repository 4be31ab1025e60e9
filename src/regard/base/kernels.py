"""The compiled training kernels, where they were built and this processor can run them."""

from functools import cache
from types import ModuleType


@cache
def training_kernels(dtype: str = "bfloat16") -> ModuleType | None:
    """The module ``regard.base._native``, or None: then PyTorch's own operations do the same, slower.

    Args:
        dtype: ``bfloat16`` or ``float32``, of the tensors; attention is there for both, the rest for bfloat16.
    """
    try:
        from regard.base import _native  # type: ignore[attr-defined]
    except ImportError:  # built without a compiler
        return None
    supports = _native.supports_bfloat16 if dtype == "bfloat16" else _native.supports_float32
    return _native if supports() else None

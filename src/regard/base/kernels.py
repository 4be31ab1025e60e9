"""The compiled training kernels, where they were built and this processor can run them."""

from functools import cache
from types import ModuleType


@cache
def training_kernels() -> ModuleType | None:
    """The module ``regard.base._native``, or None: then PyTorch's own operations do the same, slower."""
    try:
        from regard.base import _native  # type: ignore[attr-defined]
    except ImportError:  # built without a compiler
        return None
    return _native if _native.supported() else None

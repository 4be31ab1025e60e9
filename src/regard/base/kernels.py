"""The compiled training kernels, where they were built and this processor can run them."""

from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@cache
def training_kernels() -> ModuleType | None:
    """The module ``regard.base._native``, or None: then PyTorch's own operations do the same, slower."""
    try:
        from regard.base import _native  # type: ignore[attr-defined]
    except ImportError:  # built without a compiler
        return None
    return _native if _native.supported() else None


@cache
def training_kernel(name: str, dtype: "torch.dtype") -> Callable[..., Any] | None:
    """One of them, such as ``layer_norm_forward``, for tensors of a type; None where there is none for it."""
    return getattr(training_kernels(), f"{name}_{str(dtype).removeprefix('torch.')}", None)

"""Floor 1: what attention is.

A specification (:mod:`.reference`), kernels that compute it faster and the choice
among them (:mod:`.kernels`), one mask type (:mod:`.mask`), positions, the
key-value cache and multi-head attention.

Shapes, here and in the whole project: B batch · T target length (queries) ·
S source length (keys) · D model width · H heads · K head width of queries and
keys · V head width of values · F feed-forward width · N layers · W vocabulary.
"""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.attention.cache import KeyValueCache as KeyValueCache
    from regard.attention.dropout import Dropout as Dropout
    from regard.attention.kernels import attend as attend
    from regard.attention.kernels import which_kernel as which_kernel
    from regard.attention.mask import Mask as Mask
    from regard.attention.multihead import MultiHeadAttention as MultiHeadAttention
    from regard.attention.positions import LearnedPositions as LearnedPositions
    from regard.attention.positions import RotaryPositions as RotaryPositions
    from regard.attention.positions import SinusoidalPositions as SinusoidalPositions
    from regard.attention.reference import reference_attention as reference_attention

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Dropout": "dropout",
        "KeyValueCache": "cache",
        "LearnedPositions": "positions",
        "Mask": "mask",
        "MultiHeadAttention": "multihead",
        "RotaryPositions": "positions",
        "SinusoidalPositions": "positions",
        "attend": "kernels",
        "reference_attention": "reference",
        "which_kernel": "kernels",
    },
)

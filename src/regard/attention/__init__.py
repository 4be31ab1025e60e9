"""Floor 1: what attention is.

A specification (:mod:`.reference`), kernels that compute it faster and the choice
among them (:mod:`.kernels`), one mask type (:mod:`.mask`), positions, the
key-value cache and multi-head attention.

Shapes, here and in the whole project: B batch · T target length (queries) ·
S source length (keys) · D model width · H heads · K head width of queries and
keys · V head width of values · F feed-forward width · N layers · W vocabulary.
"""

from regard.attention.cache import KeyValueCache
from regard.attention.dropout import Dropout
from regard.attention.kernels import attend, which_kernel
from regard.attention.mask import Mask
from regard.attention.multihead import MultiHeadAttention
from regard.attention.positions import LearnedPositions, RotaryPositions, SinusoidalPositions
from regard.attention.reference import reference_attention

__all__ = [
    "Dropout",
    "KeyValueCache",
    "LearnedPositions",
    "Mask",
    "MultiHeadAttention",
    "RotaryPositions",
    "SinusoidalPositions",
    "attend",
    "reference_attention",
    "which_kernel",
]

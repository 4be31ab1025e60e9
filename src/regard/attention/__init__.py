"""Floor 1: what attention is.

An attention is a choice of four: a similarity (:mod:`.similarity`), a normaliser (:mod:`.normalisers`), a
position (:mod:`.positions`, :mod:`.relative`) and a mask (:mod:`.mask`); :class:`Scoring` holds the first
three. A specification says what comes out (:mod:`.reference`), kernels compute it faster (:mod:`.kernels`),
and :mod:`.dispatch` chooses among them. Around them are multi-head attention, the key-value cache, and
:class:`record`, which shows the weights of any model.

Shapes, here and in the whole project: B batch · T target length (queries) ·
S source length (keys) · D model width · H heads · G heads of keys and values · K head width of queries and
keys · V head width of values · F feed-forward width · N layers · W vocabulary size.
"""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.attention.cache import KeyValueCache as KeyValueCache
    from regard.attention.dispatch import attend as attend
    from regard.attention.dispatch import which_kernel as which_kernel
    from regard.attention.dropout import Dropout as Dropout
    from regard.attention.mask import Mask as Mask
    from regard.attention.multihead import MultiHeadAttention as MultiHeadAttention
    from regard.attention.normalisers import TopK as TopK
    from regard.attention.normalisers import entmax15 as entmax15
    from regard.attention.normalisers import softmax as softmax
    from regard.attention.normalisers import sparsemax as sparsemax
    from regard.attention.positions import LearnedPositions as LearnedPositions
    from regard.attention.positions import RotaryPositions as RotaryPositions
    from regard.attention.positions import SinusoidalPositions as SinusoidalPositions
    from regard.attention.recording import record as record
    from regard.attention.reference import reference_attention as reference_attention
    from regard.attention.relative import ALiBi as ALiBi
    from regard.attention.relative import ShawPositions as ShawPositions
    from regard.attention.relative import T5Bias as T5Bias
    from regard.attention.relative import TransformerXLPositions as TransformerXLPositions
    from regard.attention.scoring import Scoring as Scoring
    from regard.attention.similarity import Additive as Additive
    from regard.attention.similarity import Bilinear as Bilinear
    from regard.attention.similarity import Cosine as Cosine
    from regard.attention.similarity import Dot as Dot
    from regard.attention.similarity import ScaledDot as ScaledDot
    from regard.attention.span import AdaptiveSpan as AdaptiveSpan

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "ALiBi": "relative",
        "AdaptiveSpan": "span",
        "Additive": "similarity",
        "Bilinear": "similarity",
        "Cosine": "similarity",
        "Dot": "similarity",
        "Dropout": "dropout",
        "KeyValueCache": "cache",
        "LearnedPositions": "positions",
        "Mask": "mask",
        "MultiHeadAttention": "multihead",
        "RotaryPositions": "positions",
        "ScaledDot": "similarity",
        "Scoring": "scoring",
        "ShawPositions": "relative",
        "SinusoidalPositions": "positions",
        "T5Bias": "relative",
        "TopK": "normalisers",
        "TransformerXLPositions": "relative",
        "attend": "dispatch",
        "entmax15": "normalisers",
        "record": "recording",
        "reference_attention": "reference",
        "softmax": "normalisers",
        "sparsemax": "normalisers",
        "which_kernel": "dispatch",
    },
)

"""Floor 2: Transformers made of attention — embedder → stack → head."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.model.config import ModelConfig as ModelConfig
    from regard.model.decoder_only import DecoderOnly as DecoderOnly
    from regard.model.encoder_only import EncoderOnly as EncoderOnly
    from regard.model.transformer import DecoderState as DecoderState
    from regard.model.transformer import Transformer as Transformer

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "DecoderOnly": "decoder_only",
        "DecoderState": "transformer",
        "EncoderOnly": "encoder_only",
        "ModelConfig": "config",
        "Transformer": "transformer",
    },
)

"""Floor 2: Transformers made of attention — embedder → stack → head."""

from regard.model.config import ModelConfig
from regard.model.transformer import DecoderState, Transformer

__all__ = ["DecoderState", "ModelConfig", "Transformer"]

"""A model in float64 with weights scaled up and random biases: what is wrong shows."""

from typing import Any

import pytest
import torch
from torch import Tensor

from regard.data.batch import Batch, collate
from regard.model import ModelConfig, Transformer
from regard.tune.adapters import attach, parameters_of
from regard.tune.method import Method

WORDS = 23


class Kit:
    """Makes models and looks at what they give."""

    words = WORDS

    @staticmethod
    def model(seed: int = 0, **settings: Any) -> Transformer:
        torch.manual_seed(seed)
        usual = {"d_model": 12, "d_ff": 20, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
        model = Transformer(ModelConfig(WORDS, WORDS, **{**usual, **settings})).double().eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return model

    @staticmethod
    def batch() -> Batch:
        """Three sentences of different lengths."""
        sources, targets = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]], [[6, 5, 9], [11, 10, 12, 15], [14]]
        return collate(sources, targets, pad_id=0, bos_id=2, eos_id=3)

    @staticmethod
    def logits(model: Transformer, batch: Batch, rows: list[int] | None = None) -> Tensor:
        """Logits B×T×W of the batch's own targets, or those of some of its rows."""
        index = list(range(len(batch.source))) if rows is None else rows
        memory, mask = model.encode(batch.source[index], batch.source_lengths[index])
        return model.logits(model.decode_full(batch.target_inputs[index], memory, mask))

    @staticmethod
    def learn(model: Transformer, name: str, seed: int = 7) -> None:
        """Move an adapter's weights, as training would."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in parameters_of(model, name).values():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))

    @classmethod
    def tune(cls, model: Transformer, method: Method, name: str = "law", seed: int = 7) -> Transformer:
        """Add an adapter that has learned."""
        torch.manual_seed(seed)
        attach(model, method, name)
        cls.learn(model, name, seed)
        return model


@pytest.fixture
def kit() -> Kit:
    return Kit()


@pytest.fixture
def model(kit: Kit) -> Transformer:
    return kit.model()


@pytest.fixture
def batch(kit: Kit) -> Batch:
    return kit.batch()

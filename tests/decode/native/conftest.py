"""Random models, and both engines on them."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

from regard.decode import NativeEngine, TorchEngine
from regard.decode.native_engine import why_not
from regard.model import ModelConfig, Transformer

PAD, UNK, BOS, EOS = range(4)


def make_model(seed: int = 0, **changes: Any) -> Transformer:
    """A small random model with weights large enough that its choices differ clearly."""
    torch.manual_seed(seed)
    sizes = {"source_vocab_size": 70, "target_vocab_size": 70, "d_model": 32, "d_ff": 48, "num_heads": 2}
    config = ModelConfig(**{**sizes, "encoder_layers": 2, "decoder_layers": 2, **changes})
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.25 * torch.randn_like(parameter))
    return model


def native_engine(model: Transformer, precision: str = "fp32", **settings: Any) -> NativeEngine:
    """The native engine on the weights of ``model``."""
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    settings = {"threads": 1, "never": [UNK], **settings}
    return NativeEngine.from_weights(model.config, weights, precision=precision, **settings)  # type: ignore[arg-type]


def torch_engine(model: Transformer, never: Iterable[int] = (UNK,)) -> TorchEngine:
    """The PyTorch engine on it, in float32."""
    return TorchEngine(model, device="cpu", precision="fp32", never=never)


@pytest.fixture(autouse=True)
def _needs_the_extension() -> None:
    reason = why_not()
    if reason:
        pytest.skip(f"the native engine is not here: {reason}")


@pytest.fixture(scope="session")
def make() -> Callable[..., Transformer]:
    return make_model


@pytest.fixture(scope="session")
def native() -> Callable[..., NativeEngine]:
    return native_engine


@pytest.fixture(scope="session")
def pytorch() -> Callable[..., TorchEngine]:
    return torch_engine

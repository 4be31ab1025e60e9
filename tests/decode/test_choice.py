"""Which engine runs a model, and the reasons that are given."""

from typing import Any

import pytest

from regard.base.errors import ConfigError
from regard.decode import choice
from regard.decode.choice import choose_engine
from regard.decode.native_engine import why_not
from regard.model.choices import AttentionConfig, PositionConfig
from regard.model.config import ModelConfig

needs_native = pytest.mark.skipif(why_not() is not None, reason="the native engine was not built")


def config(**changes: Any) -> ModelConfig:
    return ModelConfig(20, 20, d_model=16, num_heads=2, **changes)


@needs_native
def test_the_native_engine_on_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "has_gpu", lambda: False)
    assert choose_engine(config()) == choice.Choice(True, "fastest on a CPU")
    assert choose_engine(config(position="rotary", norm="rmsnorm", activation="swiglu")).native
    monkeypatch.setattr(choice, "has_gpu", lambda: True)
    assert choose_engine(config()) == choice.Choice(False, "there is a GPU")
    assert choose_engine(config(), device="cpu").native


@needs_native
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"attention": AttentionConfig(similarity="cosine")}, "no attention but softmax over scaled dot products"),
        ({"attention": AttentionConfig(window=4)}, "no attention but softmax over scaled dot products"),
        ({"attention": AttentionConfig(num_kv_heads=1)}, "no attention but softmax over scaled dot products"),
        ({"position": "alibi"}, "no position 'alibi'"),
        ({"position": PositionConfig("rotary", base=500.0)}, "no position"),
    ],
)
def test_a_model_that_only_pytorch_runs(changes: dict[str, Any], reason: str) -> None:
    choice = choose_engine(config(**changes), device="cpu")
    assert not choice.native
    assert reason in choice.why
    with pytest.raises(ConfigError, match="the native engine was asked for, but"):
        choose_engine(config(**changes), wanted="native")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"models": 2}, "averages models"),
        ({"adapters": True}, "adapters that are not merged"),
        ({"precision": "bf16"}, "has bf16"),
        ({"device": "cuda"}, "does not run on cuda"),
        ({"wanted": "torch"}, "it was asked for"),
    ],
)
def test_what_only_pytorch_does(more: dict[str, Any], reason: str) -> None:
    choice = choose_engine(config(), **more)
    assert not choice.native
    assert reason in choice.why


def test_int8_is_the_native_engine_s() -> None:
    with pytest.raises(ConfigError, match="precision int8, which the native engine has, was asked for"):
        choose_engine(config(), precision="int8", wanted="torch")

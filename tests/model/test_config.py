from typing import Any

import pytest

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError
from regard.model import ModelConfig


def test_round_trip() -> None:
    config = ModelConfig(10, 12, tie="decoder", head_dim=3, activation="swiglu")
    assert from_dict(ModelConfig, to_dict(config)) == config


def test_widths_of_heads() -> None:
    config = ModelConfig(10, 10, d_model=12, num_heads=3)
    assert (config.key_width, config.value_width) == (4, 4)
    config = ModelConfig(10, 10, d_model=12, num_heads=5, head_dim=2)
    assert (config.key_width, config.value_width) == (2, 2)
    config = ModelConfig(10, 10, d_model=12, num_heads=3, value_dim=7)
    assert (config.key_width, config.value_width) == (4, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"norm": "layer-norm"}, r"norm: 'layer-norm' is not a choice. Did you mean 'layernorm'\?"),
        ({"position": "rotery"}, r"Did you mean 'rotary'\?"),
        ({"tie": True}, r"tie: True is not a choice. Known: all, decoder, none"),
        ({"d_model": 0}, "d_model must be at least 1, got 0"),
        ({"head_dim": 0}, "head_dim must be at least 1, got 0"),
        ({"value_dim": -1}, "value_dim must be at least 1, got -1"),
        ({"decoder_layers": -1}, r"encoder_layers and decoder_layers are \(6, -1\); one of them may be 0, no less"),
        ({"encoder_layers": 0, "decoder_layers": 0}, r"are \(0, 0\); one of them may be 0"),
        ({"source_vocab_size": 0}, "source_vocab_size must be at least 1, got 0"),
        ({"attention_dropout": 1.0}, r"attention_dropout lies in \[0, 1\), got 1.0"),
        ({"d_model": 10, "num_heads": 4}, "d_model 10 is not a multiple of num_heads 4; set head_dim"),
        ({"target_vocab_size": 11}, "tie: all needs one joint vocabulary, but source has 10 pieces and target 11"),
        ({"position": "rotary", "head_dim": 3}, "rotary positions need an even head width, got 3"),
        ({"pad_id": -1}, "pad_id is -1, outside a vocabulary of 10 pieces"),
        ({"bos_id": 10}, "bos_id is 10, outside a vocabulary of 10 pieces"),
        ({"eos_id": 10, "target_vocab_size": 20, "tie": "none"}, "eos_id is 10, outside a vocabulary of 10 pieces"),
    ],
)
def test_errors_say_what_is_wanted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**{"source_vocab_size": 10, "target_vocab_size": 10, **settings})

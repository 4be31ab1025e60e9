"""Which settings of a model another program can express."""

from collections.abc import Collection, Mapping
from dataclasses import MISSING, fields
from typing import Any

from regard.base.errors import ModelError
from regard.model import ModelConfig

#: What every encoder-decoder has, and what only training looks at.
ORDINARY = frozenset(
    {"source_vocab_size", "target_vocab_size", "d_model", "d_ff", "num_heads", "encoder_layers", "decoder_layers"}
    | {"max_positions", "bias", "pad_id", "bos_id", "eos_id", "dropout", "attention_dropout", "activation_dropout"}
    | {"embedding_noise", "layer_drop"}
)


def check_fields(config: ModelConfig, program: str, choices: Mapping[str, Collection[Any] | None]) -> None:
    """Refuse a model that ``program`` cannot run.

    A setting that is neither ordinary nor in ``choices`` must have its default, so that a
    setting that is new in Regard is refused until somebody has taught the exporter about it.

    Args:
        config: the model.
        program: its name, for the message.
        choices: what it can do, by setting; None for any value.

    Raises:
        ModelError: the message names the setting and the values that would do.
    """
    for field in fields(ModelConfig):
        value = getattr(config, field.name)
        possible = choices.get(field.name, None if field.name in ORDINARY else (field.default,))
        if possible is None or value in possible:
            continue
        assert field.default is not MISSING
        known = " or ".join(str(choice) for choice in possible)
        raise ModelError(f"{program} has no models with {field.name}: {value}; it would have to be {known}.")

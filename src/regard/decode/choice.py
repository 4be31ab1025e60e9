"""Which engine runs a model here, and why."""

from dataclasses import dataclass
from typing import Literal

from regard.base.device import has_gpu
from regard.base.errors import ConfigError
from regard.decode.native_engine import why_not
from regard.model.config import ModelConfig

Precision = Literal["auto", "fp32", "bf16", "int8"]
EngineName = Literal["auto", "native", "torch"]


@dataclass(frozen=True)
class Choice:
    """An engine and the reason for it."""

    native: bool
    why: str


def choose_engine(
    config: ModelConfig | None = None,
    *,
    wanted: EngineName = "auto",
    device: str = "auto",
    precision: Precision = "auto",
    models: int = 1,
    adapters: bool = False,
) -> Choice:
    """The native engine wherever it can do what is asked, and the GPU cannot do it faster.

    Args:
        config: of the model; None to ask about this machine in general.
        wanted: native or torch to have no choice.
        device: as it was asked for.
        precision: as it was asked for.
        models: that are averaged.
        adapters: whether the model has adapters that are not a part of its weights.

    Raises:
        ConfigError: the native engine was asked for, or its int8, and it cannot run.
    """
    if wanted == "torch" and precision != "int8":
        return Choice(False, "it was asked for")
    why = _obstacle(config, device, precision, models, adapters)
    if wanted == "torch":
        why = "the PyTorch engine was asked for"
    if why is None:
        return Choice(True, "it was asked for" if wanted == "native" else "fastest on a CPU")
    if wanted == "native" or precision == "int8":
        asked = "the native engine" if wanted == "native" else "precision int8, which the native engine has,"
        raise ConfigError(f"{asked} was asked for, but {why}.")
    return Choice(False, why)


def _obstacle(config: ModelConfig | None, device: str, precision: Precision, models: int, adapters: bool) -> str | None:
    """Why the native engine is not taken."""
    if models > 1:
        return "only the PyTorch engine averages models"
    if adapters:
        return "only the PyTorch engine runs adapters that are not merged"
    if precision == "bf16":
        return "only the PyTorch engine has bf16"
    if device not in ("auto", "cpu"):
        return f"the native engine does not run on {device}"
    if device == "auto" and precision == "auto" and has_gpu():
        return "there is a GPU"
    reason = why_not(config)
    return None if reason is None else f"the native engine cannot: {reason}"

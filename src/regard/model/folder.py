"""A model is a folder: ``config.json`` and ``model.safetensors``, and what its task adds.

Weights are float32, or float16, bfloat16 or int8 to be smaller on disk. int8 keeps one
float32 scale a row (``NAME.scale``) and rounds to the nearest of 255 levels; vectors
stay float32. Reading gives float32 in every case. Nothing is ever unpickled.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from regard.base.config import read_json, to_dict
from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.base.files import write_atomic
from regard.model.config import ModelConfig
from regard.model.decoder_only import DecoderOnly
from regard.model.encoder_only import EncoderOnly
from regard.model.reading import FORMAT, load_config
from regard.model.transformer import Transformer

Storage = Literal["float32", "float16", "bfloat16", "int8"]
_DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
_SCALE = ".scale"
_ORIGINAL = "original_sha256"
Family = TypeVar("Family", Transformer, EncoderOnly, DecoderOnly)


def quantise_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Round a matrix to int8 with one scale a row: ``weight ≈ int8 · scale[:, None]``.

    Returns:
        int8 of the same shape, and float32 scales (rows). Rows of zeros have scale 1.
    """
    scale = weight.float().abs().amax(dim=1) / 127
    scale = torch.where(scale == 0, torch.ones_like(scale), scale)
    # a scale too small for float32's full precision may give more than 127
    return torch.round(weight.float() / scale[:, None]).clamp_(-127, 127).to(torch.int8), scale


def save_weights(path: Path, weights: dict[str, Tensor], storage: Storage) -> None:
    """Write ``weights`` in the given storage, whole or not at all.

    Raises:
        ModelError: a weight is not finite, in this storage.
        RegardError: the disk is full or the folder cannot be written.
    """
    stored: dict[str, Tensor] = {}
    for name, weight in weights.items():
        if storage == "int8" and weight.dim() == 2:
            stored[name], stored[name + _SCALE] = quantise_rows(weight)
        else:
            dtype = torch.float32 if storage == "int8" else _DTYPES[storage]
            stored[name] = weight.to(dtype).contiguous()
        if not stored[name + _SCALE if name + _SCALE in stored else name].isfinite().all():
            raise ModelError(f"{path} was not written: '{name}' is not finite in {storage}.")
    write_atomic(path, save({name: tensor.detach().cpu() for name, tensor in stored.items()}, {"storage": storage}))


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read weights of any storage as float32.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        stored = load_file(path)
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; a model folder has config.json and model.safetensors.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Is it cut short, or not fetched?") from error
    weights = {}
    for name, weight in stored.items():
        of = stored.get(name.removesuffix(_SCALE)) if name.endswith(_SCALE) else None
        if weight.dtype == torch.int8:
            scale = stored.get(name + _SCALE)
            if scale is None or scale.shape != weight.shape[:1]:
                raise ModelError(f"{path}: '{name}' is int8 but has no scale for each row.")
            weights[name] = weight.float() * scale.float()[:, None]
        elif of is None or of.dtype != torch.int8:  # else the scales of an int8 weight
            weights[name] = weight.float()
    return weights


def storage_of(path: Path) -> Storage:
    """The storage that weights were written in; float32 where the file does not say.

    Raises:
        ModelError: the file is missing or damaged.
    """
    try:
        with safe_open(path, "pt") as file:
            storage = (file.metadata() or {}).get("storage", "float32")
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}.") from error
    return storage if storage in get_args(Storage) else "float32"


def weights_hash(weights: Mapping[str, Tensor]) -> str:
    """SHA-256, as 64 hexadecimal digits, of names, shapes and float32 values in the order of the names.

    It does not depend on the device, the type or the file that the weights come from, as long as
    their float32 values are the same.
    """
    digest = hashlib.sha256()
    for name in sorted(weights):
        weight = weights[name].detach().to("cpu", torch.float32).contiguous()
        digest.update(f"{name} {tuple(weight.shape)}\n".encode())
        digest.update(weight.numpy().astype("<f4", copy=False).tobytes())
    return digest.hexdigest()


def model_hash(folder: str | Path) -> str:
    """The :func:`weights_hash` of a model folder; of a compressed one, that of the model it was made from.

    So an adapter knows its base in either form.

    Raises:
        ModelError: the weights are missing or damaged.
        ConfigError: there is no ``config.json``, or it is not valid.
    """
    folder = Path(folder)
    recorded = read_json(folder / "config.json").get(_ORIGINAL)
    return recorded or weights_hash(load_weights(folder / "model.safetensors"))


def save_model(
    folder: Path,
    config: ModelConfig,
    weights: dict[str, Tensor],
    *,
    storage: Storage = "float32",
    task: dict[str, Any],
    original: str | None = None,
) -> None:
    """Write ``model.safetensors`` and, last, ``config.json``, which makes the folder a model.

    Args:
        folder: made if need be.
        config: what the model is made of.
        weights: by parameter name, as in ``dict(model.named_parameters())``.
        storage: type of the matrices on disk.
        task: what the model is for, in JSON values.
        original: :func:`model_hash` of the model that these weights are a rounded copy of.

    Raises:
        RegardError: as :func:`save_weights`.
    """
    values = {"format": FORMAT, "model": to_dict(config), "task": task}
    if original is not None:
        values[_ORIGINAL] = original
    save_weights(folder / "model.safetensors", weights, storage)
    write_atomic(folder / "config.json", json.dumps(values, indent=2, ensure_ascii=False) + "\n")


def load_model(folder: str | Path) -> tuple[Transformer, dict[str, Any]]:
    """Read an encoder-decoder in float32 and evaluation mode, with its task section; errors as :func:`load_family`."""
    return load_family(folder, Transformer)


def load_family(folder: str | Path, family: type[Family]) -> tuple[Family, dict[str, Any]]:
    """Read a model of one family in float32 and evaluation mode, with its task section.

    Raises:
        ModelError: something is missing, damaged or of another shape.
        ConfigError: a setting is unknown, missing or of the wrong type, or the model is of another family.
    """
    folder = Path(folder)
    config, task = load_config(folder)
    try:
        with torch.device("meta"):
            model = family(config)
    except ConfigError as error:
        raise ConfigError(f"{folder}: {error}") from error
    model.to_empty(device="cpu")
    model.tie_weights()  # to_empty parts them
    assign_weights(model, load_weights(folder / "model.safetensors"), str(folder))
    return model.eval(), task


def check_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """See that ``weights`` have the names and shapes of the model's.

    Raises:
        ModelError: a name or a shape does not fit; ``where`` says whose.
    """
    parameters = dict(model.named_parameters())
    for name in weights:
        if name not in parameters:
            raise ModelError(
                f"{where}: the weight '{name}' has no place in this model.{did_you_mean(name, parameters)}"
            )
    for name, parameter in parameters.items():
        if name not in weights:
            raise ModelError(f"{where}: the weight '{name}' is missing.")
        if weights[name].shape != parameter.shape:
            raise ModelError(f"{where}: '{name}' is {tuple(weights[name].shape)}, expected {tuple(parameter.shape)}.")


@torch.no_grad()
def assign_weights(model: nn.Module, weights: dict[str, Tensor], where: str) -> None:
    """Copy ``weights`` into ``model``, name by name; errors as in :func:`check_weights`."""
    check_weights(model, weights, where)
    for name, parameter in model.named_parameters():
        parameter.copy_(weights[name])

"""A model folder read with NumPy alone, as it lies on disk: what translates without PyTorch starts from here."""

from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, deserialize

from regard.base.config import from_dict, read_json
from regard.base.errors import ModelError
from regard.model.config import ModelConfig

FORMAT = 1
_SCALE = ".scale"
_DTYPES = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I8": np.dtype("i1"), "BF16": np.dtype("<u2")}

#: float32 of any shape, or int8 with a scale a row.
Stored = np.ndarray | tuple[np.ndarray, np.ndarray]


def load_config(folder: str | Path) -> tuple[ModelConfig, dict[str, Any]]:
    """The model's configuration and its task section.

    Raises:
        ModelError: there is no model here, or one of another format.
        ConfigError: a setting is unknown, missing or of the wrong type.
    """
    path = Path(folder) / "config.json"
    if not path.exists():
        raise ModelError(f"{folder} is not a model folder: it has no config.json.")
    values = read_json(path)
    if values.get("format") != FORMAT:
        raise ModelError(f"{path} has format {values.get('format')!r}; this version of Regard reads format {FORMAT}.")
    for section in ("model", "task"):
        if not isinstance(values.get(section), dict):
            raise ModelError(f"{path} has no section '{section}'.")
    return from_dict(ModelConfig, values["model"], "model"), values["task"]


def read_weights(path: Path) -> dict[str, Stored]:
    """Weights by name: int8 matrices with their scales as they are, everything else as float32.

    Raises:
        ModelError: the file is missing or damaged, or holds numbers of another type.
    """
    try:
        stored = deserialize(path.read_bytes())
    except FileNotFoundError as error:
        raise ModelError(f"{path} is missing; a model folder has config.json and model.safetensors.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} cannot be read: {error}. Is it cut short, or not fetched?") from error
    arrays = {name: _array(path, name, entry) for name, entry in stored}
    found: dict[str, Stored] = {}
    for name, array in arrays.items():
        if array.dtype == np.int8:
            scale = arrays.get(name + _SCALE)
            if array.ndim != 2 or scale is None or scale.shape != array.shape[:1]:
                raise ModelError(f"{path}: '{name}' is int8 but has no scale for each row.")
            found[name] = (array, scale)
        elif not name.endswith(_SCALE) or arrays.get(name.removesuffix(_SCALE), array).dtype != np.int8:
            found[name] = array
    return found


def _array(path: Path, name: str, entry: dict[str, Any]) -> np.ndarray:
    dtype = _DTYPES.get(entry["dtype"])
    if dtype is None:
        raise ModelError(f"{path}: '{name}' has the type {entry['dtype']}; weights are {', '.join(_DTYPES)}.")
    array = np.frombuffer(entry["data"], dtype).reshape(entry["shape"])
    if entry["dtype"] == "BF16":  # the upper half of a float32
        array = (array.astype(np.uint32) << 16).view(np.float32)
    array = array if dtype == np.int8 else array.astype(np.float32, copy=False)
    if array.dtype == np.float32 and not np.isfinite(array).all():
        raise ModelError(f"{path}: '{name}' has values that are not finite.")
    return array

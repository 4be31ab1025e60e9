"""A model folder with its weights in fewer bits: int8 and a scale a row, or float16."""

from pathlib import Path

from regard.compress.output import copy_rest, fresh_folder
from regard.model.folder import Storage, load_config, load_weights, model_hash, save_model


def compress_model(folder: str | Path, output: str | Path, storage: Storage) -> tuple[int, int]:
    """Write a copy of a model folder whose weights take less room.

    The copy's ``config.json`` names the hash of the original's weights, so that adapters made
    for either know the other (:func:`regard.model.folder.model_hash`). Weights that are
    already rounded stay so: what int8 lost, float16 does not bring back.

    Args:
        folder: a model.
        output: the folder to write; it must be new, or empty.
        storage: type of the matrices; see :mod:`regard.model.folder`.

    Returns:
        Bytes of the weights before and after.

    Raises:
        ConfigError: ``output`` is not empty.
        ModelError: the model is damaged, or a weight is too large for float16.
    """
    folder, output = Path(folder), Path(output)
    config, task = load_config(folder)
    weights = load_weights(folder / "model.safetensors")
    with fresh_folder(output) as copy:
        save_model(copy, config, weights, storage=storage, task=task, original=model_hash(folder))
        copy_rest(folder, copy)
    return tuple((f / "model.safetensors").stat().st_size for f in (folder, output))  # type: ignore[return-value]

"""Models of Regard for other programs: Hugging Face transformers, CTranslate2, ONNX."""

from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from regard.base.errors import ConfigError, did_you_mean
from regard.compress.loading import Loaded
from regard.compress.output import copy_card, fresh_folder

Format = Literal["hf", "ctranslate2", "onnx"]

_WRITERS = {"hf": "export_hf", "ctranslate2": "export_ctranslate2", "onnx": "export_onnx"}


def export_model(folder: str | Path, to: Format, output: str | Path) -> None:
    """Write a translation model in another program's format.

    Args:
        folder: a model folder.
        to: ``hf``, ``ctranslate2`` or ``onnx``.
        output: the folder to write; it must be new, or empty.

    Raises:
        ConfigError: an unknown format, or ``output`` is not empty.
        ModelError: the folder is no translation model, or the other program cannot express it.
        MissingExtra: a package that the export needs is not installed.
    """
    if to not in _WRITERS:
        raise ConfigError(f"'{to}' is not a format to export to.{did_you_mean(to, get_args(Format))}")
    with fresh_folder(Path(output)) as new:
        import_module(f"regard.compress.{_WRITERS[to]}").write(Loaded.read(Path(folder)), new)
        copy_card(Path(folder), new)

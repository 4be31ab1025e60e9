"""Where imports, exports and copies go: a folder that appears whole or not at all, and replaces nothing."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from regard.base.errors import ConfigError
from regard.base.files import new_folder

#: What says where a model comes from and what may be done with it. It goes wherever the model goes.
CARD = ("README.md", "curve.png")


@contextmanager
def fresh_folder(path: Path) -> Iterator[Path]:
    """Yield a temporary folder that becomes ``path`` when the block ends without an error.

    Raises:
        ConfigError: there is something already.
    """
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ConfigError(f"{path} is not empty, and nothing is written over; name a new folder.")
    with new_folder(path) as new:
        yield new


def copy_rest(model: Path, folder: Path) -> None:
    """Copy all files of a model but its weights and configuration; the training state in subfolders stays behind."""
    for path in model.iterdir():
        if path.is_file() and path.name not in ("config.json", "model.safetensors"):
            shutil.copyfile(path, folder / path.name)


def copy_card(model: Path, folder: Path) -> None:
    """Copy a model's card, where it has one."""
    for name in CARD:
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)

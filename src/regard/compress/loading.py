"""A model folder read for export: everything that another program needs of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regard.base.config import read_json
from regard.base.errors import ModelError
from regard.data.tokenizer import Tokenizer
from regard.model import Transformer
from regard.model.folder import load_model
from regard.tasks.vocabulary import load_tokenizers


@dataclass(frozen=True)
class Loaded:
    """A translation model and what lies beside it."""

    folder: Path
    """Where it was read."""
    model: Transformer
    """In float32, evaluation mode."""
    tokenizers: tuple[Tokenizer, Tokenizer]
    """Of source and target; the same twice when joint."""
    directions: list[tuple[str, str]]
    """What it translates."""
    search: dict[str, Any]
    """Its ``generation.json``."""

    @classmethod
    def read(cls, folder: Path) -> "Loaded":
        """Read a model folder.

        Raises:
            ModelError: it is incomplete, damaged or not for translation.
        """
        model, task = load_model(folder)
        if task.get("name") != "translation":
            raise ModelError(f"{folder} is not a translation model: its task is {task.get('name')!r}.")
        path = folder / "generation.json"
        search = read_json(path) if path.exists() else {}
        directions = [(source, target) for source, target in task["directions"]]
        return cls(folder, model, load_tokenizers(folder), directions, search)

    @property
    def never(self) -> list[int]:
        """Ids that are never produced: padding, begin, unknown and tags."""
        config = self.model.config
        return sorted({config.pad_id, config.bos_id, *self.tokenizers[1].never})

"""The pieces of a translation model: its tokenisers in a folder, and the tags that name the target language."""

from enum import Enum
from pathlib import Path

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError
from regard.data.mapped import FORMAT, MappedTokenizer
from regard.data.tokenizer import Tokenizer


class Tagged(Enum):
    """How a model is told which languages it has before it: ``tagged`` in the task section of its configuration."""

    NOT = False
    """It has one direction."""
    SOURCE = True
    """The tag of the target language stands in front of the source, as in models that Regard trains."""
    BOTH = "both"
    """Source and translation begin with the tag of their own language, as in M2M-100."""

    @classmethod
    def _missing_(cls, value: object) -> "Tagged":
        raise ModelError(f"this version of Regard knows no models with tagged: {value!r}.")


def tag_of(language: str) -> str:
    """The piece that names a language."""
    return f"<2{language}>"


def language_tags(tokenizer: Tokenizer) -> list[str]:
    """The tags that name languages; others mark places in the text that a model is pretrained on."""
    return [tag for tag in tokenizer.tags if tag.startswith("<2")]


def save_tokenizers(folder: Path, tokenizers: tuple[Tokenizer, Tokenizer]) -> None:
    """One file pair when source and target share a tokenizer, two otherwise."""
    if tokenizers[0] is tokenizers[1]:
        tokenizers[0].save(folder)
    else:
        tokenizers[0].save(folder, "source")
        tokenizers[1].save(folder, "target")


def load_tokenizers(folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """What :func:`save_tokenizers` wrote: of source and target, the same twice when joint."""
    if (folder / "tokenizer.model").exists() or not (folder / "source.model").exists():
        tokenizer = _load(folder, "tokenizer")
        return tokenizer, tokenizer
    return _load(folder, "source"), _load(folder, "target")


def _load(folder: Path, name: str) -> Tokenizer:
    """A tokenizer of the kind that its description says."""
    try:
        mapped = read_json(folder / f"{name}.json").get("format") == FORMAT
    except ConfigError:
        mapped = False  # Tokenizer.load says what is wrong
    return (MappedTokenizer if mapped else Tokenizer).load(folder, name)

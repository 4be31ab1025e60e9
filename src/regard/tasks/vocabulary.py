"""The pieces of a translation model: its tokenisers in a folder, and the tags that name the target language."""

from pathlib import Path

from regard.base.config import read_json
from regard.base.errors import ConfigError
from regard.data.mapped import FORMAT, MappedTokenizer
from regard.data.tokenizer import Tokenizer


def tag_of(language: str) -> str:
    """The piece in front of the source that says which language to translate into."""
    return f"<2{language}>"


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

"""``regard extend MODEL --word Kubernetes --output models/mine``: words that a model's vocabulary lacks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tyro.conf import UseAppendAction

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Add words to a model's vocabulary, each as one piece. Until the model is tuned it translates as before."""

    model: Positional[Path]
    """Model folder."""
    output: Path
    """Model folder to write."""
    word: UseAppendAction[tuple[str, ...]] = ()
    """A word to add; may be given several times."""
    words: Path | None = None
    """Text file with a word to add in each line."""
    side: Literal["both", "source", "target"] = "both"
    """Where to add them, if source and target have vocabularies of their own."""

    def __post_init__(self) -> None:
        if not self.word and self.words is None:
            raise ConfigError("give the words to add: --word, or a file of them with --words.")


def main(argv: Sequence[str]) -> int:
    """Extend; 0 when the copy is written."""
    options = parse(Options, argv, prog="regard extend")
    from regard.compress.extending import extend_model
    from regard.data.corpus import read_lines

    words = list(options.word)
    if options.words is not None:
        words += [line.strip() for line in read_lines(str(options.words)) if line.strip()]
    sides = extend_model(options.model, options.output, words, options.side)
    sides = sides[:1] if sides[0] is sides[1] else sides
    for extension in sides:
        for piece, replaced in zip(extension.pieces, extension.replaced, strict=True):
            print(f"{piece.removeprefix(chr(0x2581))}\t{' '.join(extension.tokenizer.pieces(replaced))}")
    return 0

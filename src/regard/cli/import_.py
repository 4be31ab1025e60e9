"""``regard import Helsinki-NLP/opus-mt-en-de --output models/en-de``: a model of Hugging Face, for Regard."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Read a model of Hugging Face (Marian such as opus-mt, M2M-100, NLLB, BART) and write it as a model folder."""

    path: Positional[str]
    """Folder with config.json, weights and the files of the tokeniser; or a name on the hub."""
    output: Path
    """Model folder to write."""
    source: tuple[str, ...] = ()
    """Source languages; by default what the model says of itself. All but Marian want them named."""
    target: tuple[str, ...] = ()
    """Target languages; by default what the model says, or all that it has tags for. zh=cmn_Hans calls
    the language of the tag >>cmn_Hans<< zh."""


def main(argv: Sequence[str]) -> int:
    """Import; 0 when the folder is written."""
    options = parse(Options, argv, prog="regard import")
    from regard.compress import import_model

    found = import_model(options.path, options.output, source=options.source, target=options.target)
    source, target = found.directions[0]
    more = f" and {len(found.directions) - 1:,} more directions" if len(found.directions) > 1 else ""
    print(f"{options.output}: {found.parameters:,} parameters, {source}→{target}{more}")
    print(f"regard translate --model {options.output} --source {source} --target {target}")
    return 0

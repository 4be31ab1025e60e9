"""``regard backtranslate --text mono.en --source de --target en --output made.tsv --sample``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from regard.base.errors import ConfigError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.cli.translate import Progress


@dataclass(frozen=True)
class Options:
    """Make sentence pairs out of text in one language: a corpus (TSV) for regard train and regard tune.

    The text is the second column and the model writes the first, since a model learns best to write what people wrote;
    with --forward it is the other way about. A third column has the mean log-probability of a piece, for those who
    want to filter. Stopped at any moment, the same command goes on where it was.
    """

    text: Path
    """UTF-8 text, gzipped or not, a sentence or a paragraph a line."""
    source: str
    """Language of the first column, such as de."""
    target: str
    """Language of the second column, in which the text is; with --forward it is in the first."""
    output: Path
    """Corpus to write; while it grows its name ends in .partial."""
    forward: bool = False
    """Translate forward: the text is the first column."""
    max_words: int = 100
    """Longest side of a pair; a Chinese character counts as a word."""
    max_ratio: float = 3.0
    """Greatest ratio of the longer side to the shorter one, in letters; 0 for any."""
    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)


def main(argv: Sequence[str]) -> int:
    """Write the corpus; 0 when it is whole."""
    options = parse(Options, argv, prog="regard backtranslate")
    from regard.data.corpus import read_lines
    from regard.tasks.synthesis import SynthesisConfig, synthesise

    config = SynthesisConfig(
        options.source,
        options.target,
        options.forward,
        max_words=options.max_words,
        max_ratio=options.max_ratio,
        search=options.search.options(),
    )
    if str(options.text) == "-":
        raise ConfigError("the text is read again when a run goes on, so it cannot be standard input; use a file.")
    if options.output.suffix not in (".tsv", ".txt"):
        raise ConfigError(f"{options.output} will hold TSV; let its name end in .tsv, by which training knows.")
    if options.output.exists():
        raise ConfigError(f"{options.output} is there already. Remove it, or choose another --output.")
    shown = Progress(shown=sys.stderr.isatty())
    lines = read_lines(options.text)
    report = synthesise(
        options.model.load(),
        lines,
        options.output,
        config,
        name=str(options.text),
        about=options.model.identity(),
        progress=shown.show,
    )
    shown.end(report.total)
    print(report, file=sys.stderr)
    print(f"the corpus is in {options.output}")
    return 0

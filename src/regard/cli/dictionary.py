"""``regard dictionary``: learn a dictionary from parallel text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.cli.arguments import parse


@dataclass(frozen=True)
class Options:
    """Learn which words translate each other from parallel text, and write a dictionary for each direction.

    They can be loaded into the server (its page, or POST /v1/dictionaries with the format "learnt").
    """

    data: tuple[Path, ...]
    """Files of sentence pairs: TSV, JSON Lines or TMX, gzipped or not."""
    source: str
    """Language of the first side, such as en."""
    target: str
    """Language of the second side."""
    output: Path = Path()
    """Folder for SOURCE-TARGET.tsv.gz and TARGET-SOURCE.tsv.gz."""


def main(argv: Sequence[str]) -> int:
    """Read, learn, write, and say how much."""
    options = parse(Options, argv, prog="regard dictionary")
    from regard.data.corpus import CorpusConfig, read_pairs
    from regard.tasks.dictionary import learn, write_dictionary

    corpora = [CorpusConfig(options.source, options.target, str(path)) for path in options.data]
    pairs = (pair for corpus in corpora for pair in read_pairs(corpus))
    there, back = learn(pairs, options.source, options.target)
    for source, target, dictionary in ((options.source, options.target, there), (options.target, options.source, back)):
        path = options.output / f"{source}-{target}.tsv.gz"
        write_dictionary(path, dictionary)
        print(f"{path}: {len(dictionary.entries):,} words")
    return 0

"""``regard shortlist runs/mine --data train.tsv --source en --target de``: fewer pieces to choose from, so faster."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import UseAppendAction

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Learn which words translate which, so that a model has less to choose from and translates faster.

    It becomes a small file in the model's folder, which the native engine reads. Run again for another direction or
    corpus, it adds to that file. To translate without it: --no-shortlist, or remove the file.
    """

    model: Positional[Path]
    """Model folder."""
    data: UseAppendAction[tuple[Path, ...]]
    """Sentence pairs, such as the model's training data: TSV, JSON lines or TMX; may be given several times."""
    source: str
    """Language of the first column, such as en."""
    target: str
    """Language of the second column."""
    both_directions: bool = False
    """Learn the opposite direction as well."""
    per_piece: int = 64
    """Target pieces that are kept for each source piece."""
    frequent: int = 512
    """Frequent target pieces that are always kept."""

    def __post_init__(self) -> None:
        if not self.data:
            raise ConfigError("give sentence pairs: --data FILE.")


def main(argv: Sequence[str]) -> int:
    """Learn and write; 0 when the file is written."""
    options = parse(Options, argv, prog="regard shortlist")
    from regard.data.corpus import CorpusConfig
    from regard.tasks.shortlist import ShortlistConfig, add_shortlist, learn_shortlist

    both = options.both_directions
    corpora = [CorpusConfig(options.source, options.target, str(path), both_directions=both) for path in options.data]
    config = ShortlistConfig(options.per_piece, options.frequent)
    learnt = learn_shortlist(options.model, corpora, config, lambda line: print(line, file=sys.stderr, flush=True))
    path = add_shortlist(options.model, learnt)
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
    return 0

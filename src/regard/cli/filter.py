"""``regard filter --data pairs.tsv --source de --target en --by dual --keep 0.8 --output clean.tsv``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from regard.base.errors import ConfigError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.cli.output import open_output
from regard.cli.translate import Progress

if TYPE_CHECKING:
    from regard.tasks.filtering import Score


@dataclass(frozen=True)
class Options:
    """Keep the pairs of a corpus that a model takes for translations of each other; count and show the scores."""

    data: Path
    """Corpus to filter: TSV, JSON lines or TMX."""
    source: str
    """Language of the first side, such as de."""
    target: str
    """Language of the second side."""
    output: Path | None = None
    """File for the pairs that are kept: TSV, with the score in a third column. Standard output by default."""
    by: Literal["model", "dual", "roundtrip"] = "model"
    """model: mean log-probability of a target piece; dual: that of both directions (Junczys-Dowmunt 2018), 0 to 1;
    roundtrip: chrF of the source against the target translated back, 0 to 100."""
    keep: float | None = None
    """Share of the pairs to keep, the best: 0.8 by default."""
    threshold: float | None = None
    """Keep what scores at least this, instead of a share."""
    reverse_model: Path | None = None
    """With dual and roundtrip: model from the target language to the source, where the model has one direction only."""
    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)

    def __post_init__(self) -> None:
        if self.keep is not None and self.threshold is not None:
            raise ConfigError("--keep and --threshold are two ways to say the same; give one of them.")
        if self.keep is not None and not 0 < self.keep <= 1:
            raise ConfigError(f"keep is {self.keep}; it is a share in (0, 1].")
        if self.by == "model" and self.reverse_model is not None:
            raise ConfigError("--reverse-model has no effect with --by model; use dual or roundtrip.")
        if self.by != "roundtrip" and self.search.options():
            raise ConfigError(f"nothing is searched for with --by {self.by}; leave the options of the search out.")
        if self.by != "roundtrip" and (self.model.engine == "native" or self.model.precision == "int8"):
            raise ConfigError(f"--by {self.by} scores given translations, which the PyTorch engine does.")


def main(argv: Sequence[str]) -> int:
    """Score, then write what is kept; 0 when it is done."""
    options = parse(Options, argv, prog="regard filter")
    from regard.data.corpus import CorpusConfig
    from regard.tasks.filtering import filter_corpus

    corpus = CorpusConfig(options.source, options.target, path=str(options.data))
    shown = Progress(shown=sys.stderr.isatty())
    keep = 0.8 if options.keep is None and options.threshold is None else options.keep
    with open_output(options.output) as stream:
        report = filter_corpus(
            corpus, score(options), stream, threshold=options.threshold, keep=keep, progress=shown.show
        )
    shown.end(len(report.scores))
    print(report, file=sys.stderr)
    return 0


def score(options: Options) -> "Score":
    """What the pairs are judged by."""
    from regard.tasks.filtering import DualScore, ForcedScore, RoundTripScore

    source, target = options.source, options.target
    reverse = options.model if options.reverse_model is None else replace(options.model, model=(options.reverse_model,))
    if options.by == "roundtrip":
        return RoundTripScore(reverse.load(), source, target, options.search.options())
    from regard.tasks.forced import ForcedDecoder  # which needs PyTorch

    ahead = ForcedDecoder(options.model.for_given_text().load())
    forward = ForcedScore(ahead, source, target)
    if options.by == "model":
        return forward
    back = ahead if reverse is options.model else ForcedDecoder(reverse.for_given_text().load())
    return DualScore(forward, ForcedScore(back, target, source))

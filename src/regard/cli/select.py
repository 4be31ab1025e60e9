"""``regard select --text new.en --known train.en --source en --target de --count 200 --output chosen.tsv``."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tyro.conf import UseAppendAction

from regard.base.errors import ConfigError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.cli.output import open_output
from regard.cli.translate import Progress


@dataclass(frozen=True)
class Options:
    """Choose the sentences whose correction would teach most: uncertain, new, and unlike each other.

    Writes TSV, the most useful sentence first: the sentence, the model's draft, its gain, and why it was chosen. With
    the drafts corrected, the file is a corpus for regard tune.
    """

    text: Path
    """Text to choose from, UTF-8, a sentence or a paragraph a line; - for standard input."""
    source: str
    """Language of the text, such as en."""
    target: str
    """Language to translate into."""
    count: int
    """How many sentences to choose."""
    output: Path | None = None
    """File to write; standard output by default."""
    known: UseAppendAction[tuple[Path, ...]] = ()
    """Text that the model was trained on, in the language of the text: what it lacks is new. May be given several
    times; of files with tabs, such as a corpus, the first column counts."""
    uncertainty: float = 1.0
    """Weight of the model's doubt about its own translation; 0 for none."""
    novelty: float | None = None
    """Weight of words and word pairs that are not in the known text; 1 by default where there is such text."""
    diversity: float = 1.0
    """Weight of being unlike what is chosen already, as the model's encoder sees it; 0 for none."""
    doubt: Literal["log_prob", "entropy"] = "log_prob"
    """What doubt is: a low mean log-probability of the draft's pieces, or a high mean entropy where they stand."""
    max_words: int = 100
    """Longest sentence; a Chinese character counts as a word."""
    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"count is {self.count}; it must be at least 1.")
        if self.novelty and not self.known:
            raise ConfigError("--novelty needs text that the model knows: --known FILE.")
        if self.known and self.novelty == 0:
            raise ConfigError("--known has no effect with --novelty 0.")
        if self.doubt == "entropy" and not self.uncertainty:
            raise ConfigError("--doubt has no effect with --uncertainty 0.")
        if "-" in map(str, self.known):
            raise ConfigError("--known is a file; standard input may be the text (--text -).")


def main(argv: Sequence[str]) -> int:
    """Write the chosen sentences; 0 when it is done."""
    options = parse(Options, argv, prog="regard select")
    from regard.data.corpus import read_lines
    from regard.tasks.selection import KnownText, Weights, candidates, choose

    novelty = options.novelty if options.novelty is not None else float(bool(options.known))
    weights = Weights(options.uncertainty, novelty, options.diversity)
    forced = None
    if options.diversity or options.doubt == "entropy":
        from regard.tasks.forced import ForcedDecoder

        forced = ForcedDecoder(options.model.for_given_text().load())
    known = KnownText(line.split("\t", 1)[0] for path in options.known for line in read_lines(path))
    shown = Progress(shown=sys.stderr.isatty())
    pool = list(
        candidates(
            options.model.load(),
            read_lines(options.text),
            options.source,
            options.target,
            known,
            forced=forced if options.doubt == "entropy" else None,
            max_words=options.max_words,
            progress=shown.show,
            **options.search.options(),
        )
    )
    places = None
    if forced is not None and options.diversity:
        places = forced.represent([c.text for c in pool], options.source, options.target)
    chosen = choose(pool, options.count, weights, places)
    with open_output(options.output) as stream:
        for one in chosen:
            print(one.candidate.text, one.candidate.draft, f"{one.gain:.4f}", one.reason, sep="\t", file=stream)
    if len(chosen) < options.count:
        print(f"regard: warning: there were {len(chosen):,} different sentences to choose from.", file=sys.stderr)
    return 0

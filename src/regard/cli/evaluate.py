"""``regard evaluate``: how good a model's translations of a test set are, and whether another's are worse."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard import __version__
from regard.base.errors import ConfigError, DataError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.cli.output import open_output
from regard.cli.translate import one_line

if TYPE_CHECKING:
    from regard.tasks.evaluation import Comparison, Score


@dataclass(frozen=True)
class Options:
    """Score a model on a test set: BLEU, chrF and TER with their sacreBLEU signatures."""

    source: str
    """Language of the text, such as en."""
    target: str
    """Language to translate into."""
    input: Path | None = None
    """File to translate, a sentence a line."""
    reference: tuple[Path, ...] = ()
    """Its translation, a sentence a line; several files where there are several translations."""
    tsv: Path | None = None
    """Both in one file instead: source and reference in the first two columns, separated by a tab."""
    reverse: bool = False
    """With --tsv: the second column is the source."""
    baseline: Path | None = None
    """Model folder, or file of translations, to compare with: differences and their significance."""
    samples: int = 1000
    """With --baseline: samples of the paired bootstrap."""
    lowercase: bool = False
    """Ignore case, in BLEU and chrF too."""
    output: Path | None = None
    """File to write the translations to."""
    json: Path | None = None
    """File to write all figures to."""
    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)

    def __post_init__(self) -> None:
        if self.tsv is None and (self.input is None or not self.reference):
            raise ConfigError("give --input and --reference, or --tsv.")
        if self.tsv is not None and (self.input is not None or self.reference):
            raise ConfigError("--tsv holds both sides; leave --input and --reference out.")
        if self.reverse and self.tsv is None:
            raise ConfigError("--reverse has no effect without --tsv; exchange --input and --reference.")
        if self.samples < 1:
            raise ConfigError(f"samples is {self.samples}; it must be at least 1.")


@dataclass(frozen=True)
class Run:
    """Translations of the test set and what they cost."""

    hypotheses: list[str]
    seconds: float
    pieces: int


def main(argv: Sequence[str]) -> int:
    """Translate, score and print."""
    options = parse(Options, argv, prog="regard evaluate")
    sources, references = read_test_set(options)
    baseline = None
    if options.baseline is not None and not options.baseline.is_dir():
        baseline = read_as_many(options.baseline, len(sources), str(options.tsv or options.input))
    run = translate(options, options.model, sources)
    from regard.tasks.evaluation import SEED, corpus_scores, paired_bootstrap

    scores = corpus_scores(run.hypotheses, references, options.target, lowercase=options.lowercase)
    if options.output is not None:
        with open_output(options.output) as stream:
            stream.writelines(f"{line}\n" for line in run.hypotheses)
    if options.json != Path("-"):
        print(as_text(options, run, scores))
    comparisons: dict[str, Comparison] = {}
    if options.baseline is not None:
        if baseline is None:
            other = ModelOptions((options.baseline,), device=options.model.device, precision=options.model.precision)
            baseline = translate(options, other, sources).hypotheses
        samples = options.samples
        comparisons = paired_bootstrap(
            run.hypotheses, baseline, references, options.target, samples=samples, lowercase=options.lowercase
        )
        if options.json != Path("-"):
            print(comparison_text(options.baseline, comparisons, samples, SEED))
    if options.json is not None:
        with open_output(options.json) as stream:
            print(json.dumps(as_values(options, run, scores, comparisons), indent=2, ensure_ascii=False), file=stream)
    return 0


def read_test_set(options: Options) -> tuple[list[str], list[list[str]]]:
    """Source sentences and one or more lists of references, all of the same length.

    Raises:
        DataError: a file cannot be read, or the counts differ.
    """
    from regard.data.corpus import CorpusConfig, read_lines, read_pairs

    if options.tsv is not None:
        corpus = CorpusConfig(options.source, options.target, path=str(options.tsv), format="tsv")
        pairs = list(read_pairs(corpus))
        first, second = [pair.source for pair in pairs], [pair.target for pair in pairs]
        return (second, [first]) if options.reverse else (first, [second])
    assert options.input is not None
    sources = list(read_lines(options.input))
    if not sources:
        raise DataError(f"{options.input} is empty.")
    return sources, [read_as_many(path, len(sources), str(options.input)) for path in options.reference]


def read_as_many(path: Path, count: int, other: str) -> list[str]:
    """Lines of a file that must have ``count`` of them."""
    from regard.data.corpus import read_lines

    lines = list(read_lines(path))
    if len(lines) != count:
        raise DataError(
            f"{path} has {len(lines):,} lines, but {other} has {count:,} sentences; "
            "line n of one must belong to line n of the other."
        )
    return lines


def translate(options: Options, model: ModelOptions, sources: list[str]) -> Run:
    """Translate the test set; loading the model is not counted."""
    translator = model.load()
    start = time.perf_counter()
    found = translator.translate(sources, options.source, options.target, **options.search.options())
    seconds = time.perf_counter() - start
    cut = sum(not translation.finished for translation in found)
    if cut:
        print(f"regard: warning: {cut:,} translations reached the limit on their length.", file=sys.stderr)
    pieces = sum(len(sentence.pieces) for translation in found for sentence in translation.sentences)
    return Run([one_line(translation.text) for translation in found], seconds, pieces)


def as_text(options: Options, run: Run, scores: "dict[str, Score]") -> str:
    """The scores as people read them."""
    from regard.tasks.evaluation import NAMES

    count = len(run.hypotheses)
    lines = [f"{options.source} → {options.target}, {count:,} sentences", ""]
    lines += [f"{NAMES[name]:<5} {score.score:7.2f}  {score.signature}" for name, score in scores.items()]
    seconds = max(run.seconds, 1e-9)
    lines += [
        "",
        f"{run.seconds:.1f} s: {count / seconds:,.1f} sentences/s, {run.pieces / seconds:,.0f} target pieces/s",
    ]
    return "\n".join(lines)


def comparison_text(baseline: Path, comparisons: "dict[str, Comparison]", samples: int, seed: int) -> str:
    """The differences, each with the verdict that its p-value allows."""
    from regard.tasks.evaluation import NAMES

    rows = ["", f"against {baseline} (paired bootstrap, {samples:,} samples, seed {seed})", ""]
    rows.append(f"{'':<5} {'system':>16} {'baseline':>16} {'difference':>11} {'p':>7}")
    for name, found in comparisons.items():
        better = (found.difference > 0) != (name == "ter")
        verdict = "no significant difference" if found.p_value >= 0.05 else "better" if better else "worse"
        rows.append(
            f"{NAMES[name]:<5} {found.score:>8.2f} ± {found.confidence:5.2f} "
            f"{found.baseline:>8.2f} ± {found.baseline_confidence:5.2f} "
            f"{found.difference:>+11.2f} {found.p_value:>7.3f}  {verdict}"
        )
    rows += ["", "± is half the 95% interval; of TER less is better."]
    return "\n".join(rows)


def as_values(
    options: Options, run: Run, scores: "dict[str, Score]", comparisons: "dict[str, Comparison]"
) -> dict[str, Any]:
    """Everything as JSON has it."""
    values: dict[str, Any] = {
        "regard": __version__,
        "model": [str(path) for path in options.model.model] or None,
        "source": options.source,
        "target": options.target,
        "search": options.search.options(),
        "sentences": len(run.hypotheses),
        "seconds": round(run.seconds, 3),
        "sentences_per_second": round(len(run.hypotheses) / max(run.seconds, 1e-9), 2),
        "pieces_per_second": round(run.pieces / max(run.seconds, 1e-9), 1),
        "scores": {name: asdict(score) for name, score in scores.items()},
    }
    if comparisons:
        values["baseline"] = {
            "path": str(options.baseline),
            "scores": {name: asdict(c) | {"difference": c.difference} for name, c in comparisons.items()},
        }
    return values

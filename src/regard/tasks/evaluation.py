"""How good translations are: BLEU, chrF and TER, and whether a difference is more than chance.

Every score carries its sacreBLEU signature, without which it cannot be compared (Post 2018).
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

from sacrebleu.metrics.base import Metric
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF
from sacrebleu.metrics.ter import TER
from sacrebleu.significance import PairedTest

from regard.base.errors import ConfigError, DataError, did_you_mean

METRICS = ("bleu", "chrf", "ter")
"""Papineni et al. 2002, Popović 2015 and Snover et al. 2006. Of TER, less is better."""
NAMES = {"bleu": "BLEU", "chrf": "chrF", "ter": "TER"}
"""What people call them."""
SEED = 12345
"""Of the bootstrap; sacreBLEU's own, so that its command line gives the same figures."""

_CHINESE = frozenset({"zh", "zho", "chi", "cmn", "yue"})
# Also written without spaces. sacreBLEU's tokeniser for Japanese needs MeCab; characters need nothing.
_UNSPACED = frozenset({"ja", "jpn", "th", "tha", "lo", "lao", "km", "khm", "my", "mya"})

References = Sequence[str] | Sequence[Sequence[str]]


@dataclass(frozen=True)
class Score:
    """A metric over a corpus."""

    score: float
    """0 to 100; TER may exceed 100."""
    signature: str
    """How it was computed, as sacreBLEU writes it."""


@dataclass(frozen=True)
class Comparison:
    """A metric of two systems on the same sentences."""

    score: float
    """Of the system."""
    baseline: float
    """Of the baseline."""
    confidence: float
    """Half the width of the system's 95% interval, over the bootstrap's samples."""
    baseline_confidence: float
    """The same of the baseline."""
    p_value: float
    """Probability of a difference at least as large if the systems were equally good; two-sided."""
    signature: str
    """How it was computed, with the seed and the number of samples."""

    @property
    def difference(self) -> float:
        """System minus baseline."""
        return self.score - self.baseline


def corpus_scores(
    hypotheses: Sequence[str],
    references: References,
    target: str,
    *,
    lowercase: bool = False,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Score]:
    """Score translations against references.

    Args:
        hypotheses: translations, one a sentence.
        references: one a sentence; or several such lists.
        target: language of both; it decides how they are cut into words: sacreBLEU's ``zh`` for
            Chinese, characters for Japanese, Thai, Lao, Khmer and Burmese, ``13a`` for the rest.
        lowercase: ignore case (TER always does).
        metrics: which of :data:`METRICS`; TER takes by far the longest.

    Raises:
        DataError: there is nothing to score, or the counts differ.
        ConfigError: an unknown metric.
    """
    sets = _reference_sets(hypotheses, references)
    scores = {}
    for name, metric in _metrics(metrics, target, lowercase).items():
        score = metric.corpus_score(hypotheses, sets).score
        scores[name] = Score(score, metric.get_signature().format())
    return scores


def paired_bootstrap(
    hypotheses: Sequence[str],
    baseline: Sequence[str],
    references: References,
    target: str,
    *,
    samples: int = 1000,
    seed: int = SEED,
    lowercase: bool = False,
    metrics: Sequence[str] = METRICS,
) -> dict[str, Comparison]:
    """Compare two systems by paired bootstrap resampling (Koehn 2004), as sacreBLEU computes it.

    Needs about 100 bytes a sentence and sample: 100 MB for a thousand sentences.

    Args:
        hypotheses: translations of the system.
        baseline: translations of the same sentences by the other one.
        references: as for :func:`corpus_scores`.
        target: as there.
        samples: how often the sentences are drawn anew.
        seed: of the draws.
        lowercase: as there.
        metrics: as there.

    Raises:
        DataError: there is nothing to score, or the counts differ.
        ConfigError: samples or seed is not positive, or a metric is unknown.
    """
    if samples < 1 or seed < 1:  # sacreBLEU takes seed 0 for no seed
        raise ConfigError(f"samples ({samples}) and seed ({seed}) must be positive.")
    if len(baseline) != len(hypotheses):
        raise DataError(f"the baseline has {len(baseline):,} translations, the system {len(hypotheses):,}.")
    sets = _reference_sets(hypotheses, references)
    chosen = _metrics(metrics, target, lowercase)
    with _sacrebleu_seed(seed):
        systems = [("baseline", baseline), ("system", hypotheses)]
        signatures, results = PairedTest(systems, chosen, sets, test_type="bs", n_samples=samples)()
    found = cast(dict[str, Any], results)
    comparisons = {}
    for name, label in zip(chosen, list(found)[1:], strict=True):  # found begins with the systems' names
        before, after = found[label]
        # sacreBLEU gives equal systems the smallest p there is: no sample differs from none.
        p_value = 1.0 if after.score == before.score else after.p_value
        comparisons[name] = Comparison(
            float(after.score),
            float(before.score),
            float(after.ci),
            float(before.ci),
            float(p_value),
            signatures[label].format(),
        )
    return comparisons


def _metrics(names: Sequence[str], target: str, lowercase: bool) -> dict[str, Metric]:
    language = re.split("[-_]", target.lower())[0]
    spaced = language not in _CHINESE | _UNSPACED
    words = "13a" if spaced else "zh" if language in _CHINESE else "char"
    makers = {
        # force: no warning about text that is tokenised already
        "bleu": lambda: BLEU(tokenize=words, lowercase=lowercase, force=True),
        "chrf": lambda: CHRF(lowercase=lowercase),
        # tercom's own settings where words have spaces; elsewhere it has to be told to cut at all
        "ter": lambda: TER() if spaced else TER(normalized=True, asian_support=True),
    }
    for name in names:
        if name not in makers:
            raise ConfigError(f"'{name}' is not a metric.{did_you_mean(name, makers)}")
    return {name: makers[name]() for name in names}


def _reference_sets(hypotheses: Sequence[str], references: References) -> list[Sequence[str]]:
    """The references as lists over sentences, each as long as ``hypotheses``."""
    if not hypotheses:
        raise DataError("there is nothing to score: no translation was given.")
    single = not references or isinstance(references[0], str)
    sets: list[Sequence[str]] = [references] if single else list(references)  # type: ignore[list-item, assignment]
    for one in sets:
        if len(one) != len(hypotheses):
            raise DataError(f"{len(hypotheses):,} translations, but {len(one):,} references.")
    return sets


@contextmanager
def _sacrebleu_seed(seed: int) -> Iterator[None]:
    """sacreBLEU takes its seed from the environment only."""
    before = os.environ.get("SACREBLEU_SEED")
    os.environ["SACREBLEU_SEED"] = str(seed)
    try:
        yield
    finally:
        if before is None:
            del os.environ["SACREBLEU_SEED"]
        else:
            os.environ["SACREBLEU_SEED"] = before

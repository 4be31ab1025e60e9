"""Which pairs of a corpus are translations of each other, by a model's own judgement.

A score says how much a pair is worth; :func:`filter_corpus` keeps the best. The scores:

- :class:`ForcedScore`, the mean log-probability of a piece of the target given the source;
- :class:`DualScore`, dual conditional cross-entropy (Junczys-Dowmunt 2018, equations 1 and 2): two models of
  opposite directions find the pair equally probable, and probable;
- :class:`RoundTripScore`, chrF (Popović 2015) of the source against the target translated back.

All of them need a model that was trained on cleaner text than the corpus; what such a model knows nothing of looks as
improbable to it as what is wrong.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, Pair, read_pairs

if TYPE_CHECKING:
    from regard.tasks.forced import ForcedDecoder
    from regard.tasks.translation import Translator

#: Gives a score for each pair, larger for better, and -∞ where it can give none.
Score = Callable[[Sequence[Pair]], list[float]]

#: Pairs scored together.
CHUNK = 2048
_QUANTILES = (0, 5, 25, 50, 75, 95, 100)


@dataclass(frozen=True)
class ForcedScore:
    """Mean natural-log probability of a target piece: 0 at most."""

    decoder: "ForcedDecoder"
    source: str
    target: str

    def __call__(self, pairs: Sequence[Pair]) -> list[float]:
        """A score a pair."""
        found = self.decoder.judge(pairs, self.source, self.target)
        return [-math.inf if one is None else one.log_prob for one in found]


@dataclass(frozen=True)
class DualScore:
    """exp(-(\\|H₁ - H₂\\| + ½ (H₁ + H₂))), H being the cross-entropies of a piece in either direction: 0 to 1."""

    forward: ForcedScore
    backward: ForcedScore

    def __call__(self, pairs: Sequence[Pair]) -> list[float]:
        """A score a pair."""
        ahead = self.forward(pairs)
        back = self.backward([Pair(pair.target, pair.source) for pair in pairs])
        return [dual_score(-one, -other) for one, other in zip(ahead, back, strict=True)]


def dual_score(forward: float, backward: float) -> float:
    """The score of two cross-entropies a piece; -∞ where one of them is not known."""
    if math.isinf(forward) or math.isinf(backward):
        return -math.inf
    return math.exp(-(abs(forward - backward) + (forward + backward) / 2))


@dataclass(frozen=True)
class RoundTripScore:
    """chrF, 0 to 100, of the source against what the target becomes when it is translated back."""

    translator: "Translator"
    source: str
    target: str
    search: dict[str, Any] = field(default_factory=dict)

    def __call__(self, pairs: Sequence[Pair]) -> list[float]:
        """A score a pair."""
        from sacrebleu.metrics.chrf import CHRF

        metric = CHRF()
        whole = [bool(pair.source.strip() and pair.target.strip()) for pair in pairs]
        texts = [pair.target for pair, is_whole in zip(pairs, whole, strict=True) if is_whole]
        back = iter(self.translator.translate(texts, self.target, self.source, **self.search))
        return [
            metric.sentence_score(next(back).text, [pair.source]).score if is_whole else -math.inf
            for pair, is_whole in zip(pairs, whole, strict=True)
        ]


@dataclass(frozen=True)
class FilterReport:
    """What a filter kept, and how the scores lay."""

    scores: np.ndarray
    """Of all pairs in their order; -∞ where there is none."""
    kept: np.ndarray
    """Whether each was kept."""

    def __str__(self) -> str:
        """Return counts and the distribution of the scores."""
        known = self.scores[np.isfinite(self.scores)]
        total = max(len(self.scores), 1)
        counts = [("read", len(self.scores)), ("kept", int(self.kept.sum()))]
        counts += [("dropped: below the limit", int((~self.kept & np.isfinite(self.scores)).sum()))]
        counts += [("dropped: no score", len(self.scores) - len(known))]
        lines = [f"{name:<26}{count:>12,}  {count / total:>6.1%}" for name, count in counts]
        if len(known):
            lines += ["", "scores        all       kept"]
            kept = self.scores[self.kept]
            for q in _QUANTILES:
                name = {0: "least", 50: "median", 100: "greatest"}.get(q, f"{q}%")
                of_kept = f"{np.percentile(kept, q):>10.4g}" if len(kept) else ""
                lines.append(f"{name:<8}{np.percentile(known, q):>10.4g} {of_kept}")
        return "\n".join(lines)


def filter_corpus(
    corpus: CorpusConfig,
    score: Score,
    stream: TextIO,
    *,
    threshold: float | None = None,
    keep: float | None = None,
    progress: Callable[[int], None] = lambda pairs: None,
) -> FilterReport:
    """Write the best pairs of a corpus as TSV, in their order: source, target, score.

    The corpus is read twice; in memory there are the scores and some thousand pairs.

    Args:
        corpus: what to filter.
        score: of a pair.
        stream: where to write.
        threshold: keep what scores at least this.
        keep: instead of it, the share to keep, in (0, 1]; of equal scores the first.
        progress: called with the number of pairs scored.

    Raises:
        ConfigError: not exactly one of ``threshold`` and ``keep``.
        DataError: the corpus cannot be read, or no pair of it has a score.
    """
    if (threshold is None) == (keep is None):
        raise ConfigError("say which pairs to keep: by threshold or by share, not both.")
    if keep is not None and not 0 < keep <= 1:
        raise ConfigError(f"keep is {keep}; it is a share in (0, 1].")
    scores = []
    for chunk in _chunks(read_pairs(corpus)):
        scores += score(chunk)
        progress(len(scores))
    table = np.array(scores)
    if not np.isfinite(table).any():
        raise DataError(f"no pair of {corpus.name} can be scored: they are empty, or longer than the model takes.")
    kept = _best(table, keep) if keep is not None else np.isfinite(table) & (table >= threshold)
    for number, pair in enumerate(read_pairs(corpus)):
        if kept[number]:
            source, target = (" ".join(side.split()) for side in pair)
            stream.write(f"{source}\t{target}\t{table[number]:.5g}\n")
    return FilterReport(table, kept)


def _best(scores: np.ndarray, share: float) -> np.ndarray:
    """Which pairs are among the best; those without a score never are."""
    order = np.argsort(-scores, kind="stable")[: math.ceil(share * len(scores))]
    kept = np.zeros(len(scores), dtype=bool)
    kept[order] = True
    return kept & np.isfinite(scores)


def _chunks(pairs: Iterator[Pair]) -> Iterator[list[Pair]]:
    while chunk := list(islice(pairs, CHUNK)):
        yield chunk

"""Learning a shortlist: which target pieces translate which source pieces, from sentence pairs.

IBM model 1 (Brown et al. 1993, section 4.1), in NumPy. Each target piece t of a pair is the translation of one of the
source pieces s or of nothing, whichever it may be; expectation and maximisation take turns::

    count(t, s) = Σ_pairs p(t|s) / Σ_s' p(t|s')        p(t|s) = count(t, s) / Σ_t' count(t', s)
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, Pair, read_pairs
from regard.data.tokenizer import Tokenizer
from regard.decode.shortlist import ANY, FILE, Shortlist
from regard.model.reading import load_config
from regard.tasks.vocabulary import Tagged, load_tokenizers, tag_of

#: Pairs of a source and a target piece that are looked at: enough for 200,000 sentences of everyday length, and what
#: takes a GB of memory. Of a larger corpus a random part is read.
MOST_LINKS = 20_000_000


@dataclass(frozen=True)
class ShortlistConfig:
    """How much of what is learnt is kept."""

    per_piece: int = 64
    """Most probable target pieces of each source piece."""
    frequent: int = 512
    """Most frequent target pieces, which come along always."""
    iterations: int = 5
    """Of expectation and maximisation."""
    seed: int = 0
    """Which part is read of a corpus that is too large."""

    def __post_init__(self) -> None:
        if self.per_piece < 1 or self.frequent < 0 or self.iterations < 1:
            raise ConfigError("per_piece and iterations must be at least 1, and frequent cannot be negative.")


def learn_shortlist(
    folder: Path, corpora: Sequence[CorpusConfig], config: ShortlistConfig, say: Callable[[str], None]
) -> Shortlist:
    """A shortlist for the model in ``folder``.

    Args:
        folder: a translation model.
        corpora: sentence pairs, such as those that the model was trained on; those of one direction count together.
        config: what is kept.
        say: called with a line for each direction.

    Raises:
        ConfigError: the model does not translate in a direction of the corpora.
        DataError: a corpus cannot be read, or holds no pair that is of use.
    """
    _, task = load_config(folder)
    tokenizers, tagging = load_tokenizers(folder), Tagged(task["tagged"])
    known = [tuple(direction) for direction in task["directions"]]
    found: Shortlist | None = None
    for (source, target), pairs in _by_direction(corpora).items():
        if (source, target) not in known:
            listed = ", ".join(f"{s}→{t}" for s, t in known)
            raise ConfigError(f"this model does not translate {source}→{target}. It has {listed}.")
        table = ANY
        if tagging is not Tagged.NOT:
            table = tokenizers[0].tag_id(tag_of(target if tagging is Tagged.SOURCE else source))
        links = Links.of(_encoded(pairs, tokenizers, config.seed), tokenizers[0].vocab_size, tokenizers[1].vocab_size)
        rows = links.rows(config)
        if tokenizers[0] is tokenizers[1]:  # names, numbers and spelt-out characters are copied
            rows = [np.append(row, piece) for piece, row in enumerate(rows[:-1])] + rows[-1:]
        learnt = Shortlist.of_rows({table: rows}, links.targets)
        say(f"{source}→{target}: {links.pairs:,} pairs, {links.mean_size(learnt, table):,.0f} pieces for a sentence")
        found = learnt if found is None else found.merged(learnt)
    assert found is not None
    return found


def add_shortlist(folder: Path, shortlist: Shortlist) -> Path:
    """Write a shortlist into a model's folder, with the rows of the one that is there; returns the file."""
    path = folder / FILE
    if path.exists():
        shortlist = Shortlist.load(path, shortlist.sources, shortlist.targets).merged(shortlist)
    return shortlist.save(folder)


def _by_direction(corpora: Sequence[CorpusConfig]) -> dict[tuple[str, str], list[Pair]]:
    found: dict[tuple[str, str], list[Pair]] = {}
    for corpus in corpora:
        pairs = list(read_pairs(corpus))
        found.setdefault((corpus.source, corpus.target), []).extend(pairs)
        if corpus.both_directions:
            found.setdefault((corpus.target, corpus.source), []).extend(Pair(t, s) for s, t in pairs)
    return found


def _encoded(
    pairs: list[Pair], tokenizers: tuple[Tokenizer, Tokenizer], seed: int
) -> Iterable[tuple[np.ndarray, np.ndarray]]:
    """Pieces of pairs in random order, until there are enough of them."""
    random.Random(seed).shuffle(pairs)
    links = 0
    for start in range(0, len(pairs), 1000):
        chunk = pairs[start : start + 1000]
        sides = zip(*(t.encode_batch(p[i] for p in chunk) for i, t in enumerate(tokenizers)), strict=True)
        for source, target in sides:
            links += (len(source) + 1) * len(target)
            if links > MOST_LINKS:
                return
            if source and target:
                yield np.array(source), np.array(target)


class Links:
    """Every target piece of a corpus beside every source piece of its pair, and beside nothing."""

    def __init__(self, sources: Sequence[np.ndarray], targets: Sequence[np.ndarray], sizes: tuple[int, int]):
        """
        Args:
            sources: pieces of each source.
            targets: pieces of each target.
            sizes: of the vocabularies.
        """
        self.pairs, (self.sources, self.targets) = len(sources), sizes
        self.flat = np.concatenate([np.append(s, self.sources) for s in sources])  # nothing is the last source piece
        lengths = np.array([len(s) + 1 for s in sources])
        self.starts = np.cumsum(lengths) - lengths
        self.target = np.concatenate(targets)
        repeats = np.array([len(t) for t in targets])
        width = np.repeat(lengths, repeats)  # links of each target piece
        self.first = np.cumsum(width) - width
        self.width = width
        place = np.arange(width.sum()) + np.repeat(np.repeat(self.starts, repeats) - self.first, width)
        keys = self.flat[place] * self.targets + np.repeat(self.target, width)
        self.keys, links = np.unique(keys, return_inverse=True)
        self.links = links.astype(np.int32)

    @classmethod
    def of(cls, pairs: Iterable[tuple[np.ndarray, np.ndarray]], sources: int, targets: int) -> "Links":
        """From pieces of pairs.

        Raises:
            DataError: there is no pair.
        """
        kept = list(pairs)
        if not kept:
            raise DataError("there is no pair to learn a shortlist from.")
        first, second = zip(*kept, strict=True)
        return cls(first, second, (sources, targets))

    def probabilities(self, iterations: int) -> np.ndarray:
        """p(t|s) of each key s·W + t that occurs; s = W is nothing."""
        source = self.keys // self.targets
        found = np.ones(len(self.keys))
        for _ in range(iterations):
            share = found[self.links]
            share /= np.repeat(np.add.reduceat(share, self.first), self.width)
            counts = np.bincount(self.links, share, len(self.keys))
            found = counts / np.bincount(source, counts)[source]
        return found

    def rows(self, config: ShortlistConfig) -> list[np.ndarray]:
        """The most probable target pieces of each source piece, and last the most frequent ones."""
        probability = self.probabilities(config.iterations)
        source, target = np.divmod(self.keys, self.targets)
        order = np.lexsort((-probability, source))
        source, target = source[order], target[order]
        bounds = np.searchsorted(source, np.arange(self.sources + 1))
        rows = [target[a : min(b, a + config.per_piece)] for a, b in pairwise(bounds)]
        counts = np.bincount(self.target, minlength=self.targets)
        frequent = np.argsort(-counts, kind="stable")[: config.frequent]
        return [*rows, frequent[counts[frequent] > 0]]

    def mean_size(self, shortlist: Shortlist, table: int, sample: int = 1000) -> float:
        """Pieces that the shortlist gives for a source of the corpus, on average over the first ones."""
        tag = [] if table == ANY else [table]
        ends = [*self.starts[1:], len(self.flat)][:sample]
        sources = [self.flat[a : b - 1].tolist() for a, b in zip(self.starts, ends, strict=False)]
        return sum(len(shortlist.of([*tag, *source])) for source in sources) / len(sources)

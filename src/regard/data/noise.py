"""What pretraining hides from a model: pure functions on sequences of pieces, each after its paper.

Every one takes its random numbers from a generator that is given to it: the same generator, the same noise.
Rates are those of a sequence's own pieces, rounded to a whole number of them as in the papers' code.
"""

import numpy as np

Pieces = np.ndarray
"""A vector of piece ids, without begin and end of sentence."""


def mask_pieces(
    pieces: Pieces,
    random: np.random.Generator,
    *,
    mask: int,
    ordinary: np.ndarray,
    rate: float = 0.15,
    random_share: float = 0.1,
    kept_share: float = 0.1,
    word_starts: np.ndarray | None = None,
) -> tuple[Pieces, np.ndarray]:
    """Hide pieces for a model to find (BERT, Devlin et al. 2019, section 3.1, task 1).

    Of the chosen pieces most become the mask; some another piece, and some stay, so that a model has to represent
    pieces that it sees as well.

    Args:
        pieces: at least one.
        random: source of the draws.
        mask: id of the mask.
        ordinary: ids that a piece may be replaced with.
        rate: share of the pieces to choose; at least one is.
        random_share: share of the chosen ones that become any piece.
        kept_share: share of them that stay.
        word_starts: where words begin, as booleans; whole words are chosen then (whole-word masking, as in the
            models that BERT's authors published in May 2019). Words too long for what is left are passed over.

    Returns:
        What the model sees, and the chosen positions, ascending.
    """
    wanted = max(1, round(rate * len(pieces)))
    if word_starts is None:
        chosen = random.permutation(len(pieces))[:wanted]
    else:
        chosen = _whole_words(word_starts, wanted, random)
    chosen = np.sort(chosen)
    drawn = random.random(len(chosen))
    other = random.choice(ordinary, len(chosen))
    seen = np.array(pieces, dtype=np.int64)
    replaced = np.where(drawn < random_share, other, mask)
    seen[chosen] = np.where(drawn >= 1 - kept_share, seen[chosen], replaced)
    return seen, chosen


def _whole_words(starts: np.ndarray, wanted: int, random: np.random.Generator) -> np.ndarray:
    """Positions of whole words, in random order, until there are ``wanted``; of one word in any case."""
    begins = np.flatnonzero(starts)
    begins = begins if len(begins) and begins[0] == 0 else np.concatenate([[0], begins])
    words = np.split(np.arange(len(starts)), begins[1:])
    order = random.permutation(len(words))
    chosen: list[np.ndarray] = []
    room = wanted
    for number in order:
        if len(words[number]) <= room:
            chosen.append(words[number])
            room -= len(words[number])
    return np.concatenate(chosen or [words[order[0]]])


def infill(
    pieces: Pieces, random: np.random.Generator, *, mask: int, rate: float = 0.3, mean_span: float = 3.0
) -> Pieces:
    """Put one mask in place of each of several spans (BART's text infilling, Lewis et al. 2020, section 2.2).

    The lengths of spans are drawn from a Poisson distribution until they make up ``rate`` of the pieces; the last
    one is made to fit. A span of length 0 is a mask between two pieces. Spans lie anywhere, without overlap, and
    there are no more of them than pieces that they cover: what comes out is never longer than what goes in.

    Args:
        pieces: what to corrupt.
        random: source of the draws.
        mask: id of the mask.
        rate: share of the pieces that spans cover; section 5 of the paper has 30%.
        mean_span: λ of the distribution; 3 in the paper.
    """
    lengths: list[int] = []
    covered = left = round(rate * len(pieces))
    while left > 0:
        is_last = len(lengths) == covered - 1  # more masks than covered pieces would make the text longer
        lengths.append(left if is_last else min(left, int(random.poisson(mean_span))))
        left -= lengths[-1]
    # masks among the pieces that stay: every arrangement is as likely
    is_mask = np.zeros(len(pieces) - covered + len(lengths), dtype=bool)
    is_mask[random.permutation(len(is_mask))[: len(lengths)]] = True
    stands_for = np.ones(len(is_mask), dtype=np.int64)
    stands_for[is_mask] = lengths
    found = np.full(len(is_mask), mask, dtype=np.int64)
    found[~is_mask] = np.asarray(pieces)[~np.repeat(is_mask, stands_for)]
    return found


def permute(sentences: list[Pieces], random: np.random.Generator) -> list[Pieces]:
    """The sentences in random order (BART's sentence permutation, Lewis et al. 2020, section 2.2)."""
    return [sentences[i] for i in random.permutation(len(sentences))]


def delete(pieces: Pieces, random: np.random.Generator, *, rate: float) -> Pieces:
    """Leave out a share of the pieces, but never all (BART's token deletion, section 2.2; it names no rate)."""
    gone = min(round(rate * len(pieces)), len(pieces) - 1)
    kept = np.sort(random.permutation(len(pieces))[gone:])
    return np.asarray(pieces, dtype=np.int64)[kept]


def corrupt_spans(
    pieces: Pieces, random: np.random.Generator, *, sentinels: np.ndarray, rate: float = 0.15, mean_span: float = 3.0
) -> tuple[Pieces, Pieces]:
    """Replace spans by sentinels, and ask for what they stand for (T5, Raffel et al. 2020, section 3.1.4, figure 2).

    The number of hidden pieces and of spans is fixed by the rates; how the pieces fall into spans is random, with at
    least one piece in each and, but for a sequence of one piece, at least one before it.

    Args:
        pieces: at least one.
        random: source of the draws.
        sentinels: distinct ids, one for each span and one more.
        rate: share of the pieces that spans cover; 15% in the paper.
        mean_span: average length of a span; 3 in the paper.

    Returns:
        The source (each span is its sentinel) and the target (each sentinel, then its span, and one more sentinel).
    """
    count = len(pieces)
    hidden = max(1, min(round(rate * count), count - 1))
    spans = max(1, min(round(hidden / mean_span), count - hidden))
    hidden_lengths = _partition(hidden, spans, random)
    kept_lengths = _partition(count - hidden, spans, random)
    source, target = [], []
    place = 0
    for sentinel, kept, length in zip(sentinels[:spans], kept_lengths, hidden_lengths, strict=True):
        source += [pieces[place : place + kept], [sentinel]]
        target += [[sentinel], pieces[place + kept : place + kept + length]]
        place += kept + length
    target.append([sentinels[spans]])
    return np.concatenate(source).astype(np.int64), np.concatenate(target).astype(np.int64)


def spans_at_most(count: int, rate: float, mean_span: float) -> int:
    """How many spans :func:`corrupt_spans` makes of ``count`` pieces or fewer."""
    return max(1, round(max(1, round(rate * count)) / mean_span))


def _partition(count: int, parts: int, random: np.random.Generator) -> np.ndarray:
    """``parts`` numbers of at least 1 whose sum is ``count``, each such row as likely; 0 where ``count`` is."""
    if count < parts:
        return np.array([count])
    cuts = np.sort(random.permutation(count - 1)[: parts - 1]) + 1
    return np.diff(np.concatenate([[0], cuts, [count]]))

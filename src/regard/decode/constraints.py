"""Rules on the next piece: what must not follow, what must, and what must come at some time."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import Tensor

from regard.decode.request import Options

NEVER = float("-inf")


def forbid(logits: Tensor, output: Sequence[int], options: Options, eos_id: int = -1) -> None:
    """Set to -inf, in place, what must not follow ``output``.

    Args:
        logits: W, one row.
        output: pieces so far, without begin of sentence.
        options: banned sequences, repeated n-grams, and required sequences, before which no sentence ends.
        eos_id: the end of the sentence; -1 where nothing is required.
    """
    forbidden = [ban[-1] for ban in options.banned if _ends_with(output, ban[:-1])]
    size = options.no_repeat_ngram
    if size and len(output) >= size - 1:
        context = tuple(output[len(output) - size + 1 :])
        forbidden += [
            output[i + size - 1] for i in range(len(output) - size + 1) if tuple(output[i : i + size - 1]) == context
        ]
    if options.required and Progress.of(output, options.required).count < options.required_pieces:
        forbidden.append(eos_id)
    if forbidden:
        logits[forbidden] = NEVER


def force(logits: Tensor, piece: int) -> None:
    """Leave only ``piece`` possible, in place."""
    kept = logits[piece].clone()
    logits.fill_(NEVER)
    logits[piece] = kept


def _ends_with(output: Sequence[int], context: Sequence[int]) -> bool:
    return not context or list(output[-len(context) :]) == list(context)


@dataclass(frozen=True)
class Progress:
    """How much of the required sequences an output has, and which one it is in the middle of."""

    required: tuple[tuple[int, ...], ...]
    """The sequences."""
    met: frozenset[int] = field(default_factory=frozenset)
    """Numbers of those that it has."""
    current: int | None = None
    """Number of the one that it is in the middle of."""
    place: int = 0
    """The next piece of that one."""

    @classmethod
    def of(cls, output: Sequence[int], required: tuple[tuple[int, ...], ...]) -> "Progress":
        """After ``output``."""
        progress = cls(required)
        for piece in output:
            progress = progress.after(piece)
        return progress

    @property
    def count(self) -> int:
        """Pieces that count: of the sequences it has, and of the one it is in."""
        return sum(len(self.required[i]) for i in self.met) + self.place

    def after(self, piece: int) -> "Progress":
        """With one more piece; a sequence that is left in the middle has to be begun again."""
        current, place = self.current, self.place
        if current is None or self.required[current][place] != piece:
            starts = [i for i, s in enumerate(self.required) if i not in self.met and s[0] == piece]
            current, place = (starts[0], 0) if starts else (None, -1)
        place += 1
        if current is not None and place == len(self.required[current]):
            return Progress(self.required, self.met | {current})
        return Progress(self.required, self.met, current, place)

    def wanted(self) -> list[int]:
        """Pieces that would bring it further."""
        pieces = [] if self.current is None else [self.required[self.current][self.place]]
        pieces += [s[0] for i, s in enumerate(self.required) if i not in self.met and i != self.current]
        return list(dict.fromkeys(pieces))


@dataclass(frozen=True)
class Candidate:
    """A hypothesis that could go on by a piece."""

    row: int
    piece: int
    log_prob: float
    total: float
    count: int
    """Required pieces that it would have."""


def allot(candidates: Sequence[Candidate], width: int, needed: int, eos_id: int) -> tuple[list[Candidate], ...]:
    """Dynamic beam allocation (Post and Vilar 2018, section 3): candidates compete with those that have as many of the
    required pieces, so that the ones that bring an improbable piece are not crowded out by those that do not.

    Args:
        candidates: of all rows of a sentence.
        width: how many go on.
        needed: required pieces, at most ``width`` - 1.
        eos_id: the end of the sentence.

    Returns:
        Those that end the sentence, and those that go on; best first.
    """
    ranked = sorted(candidates, key=lambda c: c.total, reverse=True)
    counts = [0] * (needed + 1)
    for candidate in ranked:
        counts[candidate.count] += candidate.piece != eos_id
    share = width // (needed + 1)
    last = width - share * needed  # what is left over is for the complete ones
    rooms = [min(count, last if i == needed else share) for i, count in enumerate(counts)]
    left = width - sum(rooms)
    for i in reversed(range(needed + 1)):  # what one does not need goes to those that are further
        more = min(left, counts[i] - rooms[i])
        rooms[i] += more
        left -= more
    complete = [candidate for candidate in ranked if candidate.count == needed]
    ended = [c for c in complete[: max(rooms[needed], last)] if c.piece == eos_id]
    going = []
    for candidate in ranked:
        if candidate.piece != eos_id and rooms[candidate.count] > 0:
            rooms[candidate.count] -= 1
            going.append(candidate)
    return ended, going

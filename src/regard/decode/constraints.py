"""Rules on the next piece, applied to a row of logits."""

from collections.abc import Sequence

from torch import Tensor

from regard.decode.request import Options

NEVER = float("-inf")


def forbid(logits: Tensor, output: Sequence[int], options: Options) -> None:
    """Set to -inf, in place, what must not follow ``output``.

    Args:
        logits: W, one row.
        output: pieces so far, without begin of sentence.
        options: banned sequences, repeated n-grams.
    """
    forbidden = [ban[-1] for ban in options.banned if _ends_with(output, ban[:-1])]
    size = options.no_repeat_ngram
    if size and len(output) >= size - 1:
        context = tuple(output[len(output) - size + 1 :])
        forbidden += [
            output[i + size - 1] for i in range(len(output) - size + 1) if tuple(output[i : i + size - 1]) == context
        ]
    if forbidden:
        logits[forbidden] = NEVER


def force(logits: Tensor, piece: int) -> None:
    """Leave only ``piece`` possible, in place."""
    kept = logits[piece].clone()
    logits.fill_(NEVER)
    logits[piece] = kept


def _ends_with(output: Sequence[int], context: Sequence[int]) -> bool:
    return not context or list(output[-len(context) :]) == list(context)

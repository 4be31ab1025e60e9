"""Going on with a text: pieces of a causal model one by one, each from all before it."""

from collections.abc import Iterable, Sequence

import torch

from regard.base.errors import ConfigError
from regard.decode.constraints import NEVER, forbid
from regard.decode.request import Hypothesis, Options
from regard.decode.sampling import draw
from regard.model import DecoderOnly


@torch.inference_mode()
def complete(
    model: DecoderOnly, prompt: Sequence[int], options: Options, never: Iterable[int] = ()
) -> list[Hypothesis]:
    """Go on after ``prompt``; each step computes the new pieces alone, over the keys and values of the earlier ones.

    Args:
        model: in evaluation mode.
        prompt: pieces that the text begins with; may be empty.
        options: greedy search, or draws (``sample``), of at most ``max_length`` pieces after the prompt.
        never: pieces that are never produced, besides padding and begin.

    Returns:
        The pieces after the prompt, as many times as ``options`` asks for.

    Raises:
        ConfigError: a beam was asked for, no ``max_length``, or more positions than the model learned.
    """
    if options.beam > 1 or not options.max_length:
        raise ConfigError("a text is gone on with greedily or by sampling, up to max_length pieces: set beam to 1.")
    config, rows = model.config, options.rows
    columns = 1 + len(prompt) + options.max_length
    if config.positions.kind == "learned" and columns - 1 > config.max_positions:  # the last piece is not read again
        raise ConfigError(
            f"{len(prompt)} pieces and {options.max_length} more are too many: the model has {config.max_positions} "
            "positions. Shorten the prompt, or set a smaller max_length."
        )
    device = model.head.weight.device
    generator = torch.Generator(device).manual_seed(options.seed) if options.sample else None
    hidden_ids = torch.tensor(sorted({config.pad_id, config.bos_id, *never}), device=device)
    inputs = torch.tensor([config.bos_id, *prompt], device=device).expand(rows, -1)
    caches = model.start(rows, columns)
    found: list[list[int]] = [[] for _ in range(rows)]
    log_probs: list[list[float]] = [[] for _ in range(rows)]
    going = set(range(rows))
    for step in range(options.max_length):
        logits = model.logits(model.decode(inputs, caches)[:, -1]).float()
        logits[:, hidden_ids] = NEVER
        log_sum = logits.logsumexp(-1)
        if step < options.min_length:
            logits[:, config.eos_id] = NEVER
        if not options.is_plain:
            for row in going:
                forbid(logits[row], [*prompt, *found[row]], options)
        pieces = draw(logits, options, generator) if options.sample else logits.argmax(-1)
        for row in sorted(going):
            piece = int(pieces[row])
            log_probs[row].append(float(logits[row, piece] - log_sum[row]))
            if piece == config.eos_id:
                going.remove(row)
            else:
                found[row].append(piece)
        if not going:
            break
        inputs = pieces[:, None]
    return [
        Hypothesis(ids, sum(log_probs[row]), log_probs[row], finished=row not in going) for row, ids in enumerate(found)
    ]

"""The next piece, drawn at random."""

import torch
from torch import Tensor

from regard.decode.constraints import NEVER
from regard.decode.request import Options


def draw(logits: Tensor, options: Options, generator: torch.Generator | None) -> Tensor:
    """A piece for each row, with the probabilities that ``options`` make of its logits.

    Args:
        logits: rows×W.
        options: ``temperature``, then ``top_k`` (Fan et al. 2018), then ``top_p`` (Holtzman et al. 2020).
        generator: source of the draws.

    Returns:
        As many ids.
    """
    rows = logits / options.temperature
    if options.top_k:
        smallest = rows.topk(min(options.top_k, rows.shape[1]), dim=-1).values[:, -1:]
        rows = rows.masked_fill(rows < smallest, NEVER)
    if options.top_p < 1:
        ordered, order = rows.softmax(-1).sort(dim=-1, descending=True)
        surplus = ordered.cumsum(-1) - ordered >= options.top_p  # keep the piece that crosses the line
        rows = rows.masked_fill(torch.zeros_like(surplus).scatter(1, order, surplus), NEVER)
    return torch.multinomial(rows.softmax(-1), 1, generator=generator)[:, 0]

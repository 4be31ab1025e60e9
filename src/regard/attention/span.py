"""Heads that learn how far to look (Sukhbaatar et al. 2019, Adaptive Attention Span in Transformers)."""

import torch
from torch import Tensor, nn

from regard.attention.relative import ScoreTerm


class AdaptiveSpan(ScoreTerm):
    """Each head sees its span z, with a soft edge, in which z can be learned.

    The paper multiplies exp(score) by m(x) = clamp((R + z - x) / R, 0, 1), where x is how far the key is.
    Here log m(x) is added to the score, which is the same.
    """

    def __init__(self, num_heads: int, max_span: int, *, ramp: int = 32, start: float = 0.5):
        """
        Args:
            num_heads: H.
            max_span: the highest z, in keys.
            ramp: R, width of the soft edge.
            start: z at the beginning, as a part of ``max_span``.

        Raises:
            ValueError: a span or a ramp below 1, or a start outside 0 to 1.
        """
        super().__init__()
        if max_span < 1 or ramp < 1 or not 0 <= start <= 1:
            raise ValueError(
                "AdaptiveSpan wants max_span and ramp of at least 1 and a start in 0 to 1, "
                f"got max_span={max_span}, ramp={ramp}, start={start}"
            )
        self.num_heads, self.max_span, self.ramp = num_heads, max_span, ramp
        self.part = nn.Parameter(torch.full((num_heads,), float(start)))

    def spans(self) -> Tensor:
        """z of each head, in keys."""
        return self.part.clamp(0, 1) * self.max_span

    def loss(self) -> Tensor:
        """The mean of z over the heads, in keys; times a small factor, part of the training loss (section 2.2)."""
        return self.spans().mean()

    def forward(self, query: Tensor, distances: Tensor, scale: float) -> Tensor:
        """1×H×1×n; half the lowest number where a head does not look."""
        mask = ((self.ramp + self.spans()[:, None] - distances.abs()) / self.ramp).clamp(0, 1)
        logarithm = torch.where(mask > 0, mask, 1).log()  # no log 0, whose gradient is infinite
        lowest = torch.finfo(query.dtype).min / 2
        return torch.where(mask > 0, logarithm.to(query.dtype), lowest)[None, :, None]

"""What makes no sense is refused, with the reason."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from regard.attention import (
    AdaptiveSpan,
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    Mask,
    RotaryPositions,
    Scoring,
    ShawPositions,
    T5Bias,
    TransformerXLPositions,
    attend,
    entmax15,
    sparsemax,
)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scoring(Additive(2, 4), position=RotaryPositions(4)), "rotary positions go with dot and cosine"),
        (lambda: Scoring(Bilinear(2, 4), position=RotaryPositions(4)), "Bilinear of rotated queries and keys"),
        (lambda: Scoring(Cosine(2), position=ShawPositions(4)), "ShawPositions adds a product .* not with Cosine"),
        (lambda: Scoring(Additive(2, 4), position=TransformerXLPositions(8, 2, 4)), "not with Additive"),
        (lambda: Scoring(normaliser=sparsemax, span=AdaptiveSpan(2, 9)), "softmax and TopK, not with sparsemax"),
        (lambda: Scoring(normaliser=entmax15, span=AdaptiveSpan(2, 9)), "not with entmax15"),
        (lambda: AdaptiveSpan(2, 0), "max_span and ramp of at least 1 .* got max_span=0"),
        (lambda: AdaptiveSpan(2, 4, start=1.5), "start=1.5"),
        (lambda: ShawPositions(4, max_distance=0), "max_distance of at least 1, got 0"),
        (lambda: T5Bias(2, bidirectional=True, num_buckets=5), "even number of at least 4 buckets, got num_buckets=5"),
        (lambda: T5Bias(2, bidirectional=True, max_distance=8), "each distance up to 8: max_distance must be higher"),
        (lambda: RotaryPositions(8, base=0.0), "positive base"),
        (lambda: RotaryPositions(8, fraction=0.1), "fraction=0.1 of 8"),
    ],
)
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("position", [ShawPositions(4), TransformerXLPositions(8, 2, 4), ALiBi(2), RotaryPositions(4)])
def test_these_go_together(position: Any) -> None:
    for normaliser in (sparsemax, entmax15):
        assert Scoring(Dot(), normaliser, position).position is position


@pytest.mark.parametrize(
    ("kernel", "scoring", "reason"),
    [
        ("sdpa", Scoring(Additive(2, 4)), "Additive is not a dot product"),
        ("sdpa", Scoring(normaliser=sparsemax), "sparsemax needs a whole row of scores"),
        ("flex", Scoring(position=ShawPositions(4)), "a table of T×S numbers"),
        ("blocked", Scoring(), "the mask is no window"),
    ],
)
def test_kernels_that_cannot(kernel: Any, scoring: Scoring, reason: str) -> None:
    query = torch.ones(1, 2, 3, 4)
    with pytest.raises(ValueError, match=f"the {kernel} kernel cannot do this: .*{reason}"):
        attend(query, query, query, Mask.causal(), scoring, kernel=kernel)


def test_spans_and_their_loss() -> None:
    span = AdaptiveSpan(3, 10, ramp=4)
    with torch.no_grad():
        span.part.copy_(torch.tensor([-0.5, 0.3, 2.0]))
    assert span.spans().tolist() == pytest.approx([0.0, 3.0, 10.0])
    assert float(span.loss().detach()) == pytest.approx(13 / 3)
    term = span(torch.ones(1, 3, 1, 2), torch.arange(-15, 1), 1.0)[0, :, 0].exp().flip(-1)  # by distance 0, 1, …
    assert term[0].tolist() == pytest.approx([1, 0.75, 0.5, 0.25, *[0] * 12])
    assert term[1].tolist() == pytest.approx([1, 1, 1, 1, 0.75, 0.5, 0.25, *[0] * 9])
    assert term[2].tolist() == pytest.approx([*[1] * 11, 0.75, 0.5, 0.25, 0, 0])
    (gradient,) = torch.autograd.grad(span.loss() + term.sum(), span.part)
    assert gradient.isfinite().all()

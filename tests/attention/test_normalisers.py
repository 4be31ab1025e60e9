"""Normalisers against their definitions, solved by bisection, and their gradients against differences."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.attention import TopK, entmax15, softmax, sparsemax

EXACT = {"atol": 1e-10, "rtol": 0.0}
ALL = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15, "top 2": TopK(2)}
POWERS = {"sparsemax": 1.0, "entmax15": 2.0}
Rows = st.lists(st.floats(-5, 5), min_size=1, max_size=9)


def by_bisection(scores: list[float], power: float) -> list[float]:
    """max(z·(α-1) - τ, 0)^(1/(α-1)) with the τ that makes the sum 1, where power is 1/(α-1)."""
    scaled = [score / power for score in scores]
    low, high = max(scaled) - 1, max(scaled)
    for _ in range(200):
        middle = (low + high) / 2
        if sum(max(z - middle, 0.0) ** power for z in scaled) > 1:
            low = middle
        else:
            high = middle
    return [max(z - high, 0.0) ** power for z in scaled]


@settings(deadline=None)  # the first call loads things
@given(st.sampled_from(list(POWERS)), Rows)
def test_sparse_ones_are_their_definitions(name: str, row: list[float]) -> None:
    found = ALL[name](torch.tensor([row], dtype=torch.float64))[0]
    expected = torch.tensor(by_bisection(row, POWERS[name]), dtype=torch.float64)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0.0)


@settings(deadline=None)
@given(st.sampled_from(list(ALL)), Rows)
def test_weights_are_a_distribution_in_the_order_of_the_scores(name: str, row: list[float]) -> None:
    scores = torch.tensor(row, dtype=torch.float64)
    weights = ALL[name](scores)
    assert (weights >= 0).all()
    assert float(weights.sum()) == pytest.approx(1.0, abs=1e-12)
    order = scores.argsort()
    assert (weights[order].diff() >= -1e-12).all() or name == "top 2"  # of equal scores, TopK keeps some
    shifted = ALL[name](scores + 3.5)
    if name != "top 2":
        torch.testing.assert_close(shifted, weights, **EXACT)


@pytest.mark.parametrize("name", ALL)
def test_gradients(name: str) -> None:
    scores = (2 * torch.randn(3, 4, 6, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(ALL[name], scores)
    assert torch.autograd.gradgradcheck(ALL[name], scores)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("lowest", [float("-inf"), torch.finfo(torch.float32).min / 2])
def test_masked_scores_weigh_nothing(name: str, lowest: float) -> None:
    scores = torch.randn(5, 7)
    masked = torch.full((5, 9), lowest)
    masked[:, 1:8] = scores
    masked.requires_grad_()
    found = ALL[name](masked)
    assert (found[:, [0, 8]] == 0).all()
    torch.testing.assert_close(found[:, 1:8], ALL[name](scores))
    (gradient,) = torch.autograd.grad(found.square().sum(), masked)
    assert gradient.isfinite().all()
    assert (gradient[:, [0, 8]] == 0).all()


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_low_precision_and_wide_scores(name: str, dtype: torch.dtype) -> None:
    scores = (100 * torch.randn(20, 50)).to(dtype)
    found = ALL[name](scores)
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), ALL[name](scores.double()), atol=1e-2, rtol=0.0)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(3, 0), (0, 3), (2, 1)])
def test_few_scores(name: str, shape: tuple[int, int]) -> None:
    assert torch.equal(ALL[name](torch.randn(shape)), torch.ones(shape))


def test_top_k_keeps_k() -> None:
    scores = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    expected = torch.tensor([[3.0, 2.0]]).softmax(-1)
    found = TopK(2)(scores)
    assert torch.equal(found[:, [0, 2]], expected)
    assert (found[:, [1, 3]] == 0).all()
    assert torch.equal(TopK(9)(scores), scores.softmax(-1))
    with pytest.raises(ValueError, match="keeps at least one key, got k=0"):
        TopK(0)


def test_sparser_in_this_order() -> None:
    scores = torch.randn(40, 30, dtype=torch.float64)
    kept: list[int] = [int((normalise(scores) > 0).sum()) for normalise in (softmax, entmax15, sparsemax)]
    assert kept[0] > kept[1] > kept[2]

"""The compiled kernel for short sequences, against the reference in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.attention import Cosine, Dot, Dropout, Mask, Scoring, T5Bias, attend, which_kernel
from regard.attention.dispatch import SHORT_MAX_KEYS
from regard.base.kernels import training_kernels

pytestmark = [
    pytest.mark.avx512_bf16,
    pytest.mark.skipif(training_kernels() is None, reason="the compiled kernels were not built: no C++ compiler?"),
]

#: bf16 keeps 8 bits: what is rounded once is off by 2**-9 of itself, and sums of such by no more of their largest term.
CLOSE = {"rtol": 2**-8, "atol": 2**-8}


def problem(batch: int, heads: int, queries: int, keys: int, key_width: int, value_width: int) -> tuple[Tensor, ...]:
    """Queries, keys and values as projections leave them: heads side by side in memory."""
    sizes = ((queries, key_width), (keys, key_width), (keys, value_width))
    made = [torch.randn(batch, rows, heads, width) for rows, width in sizes]
    return tuple(x.bfloat16().transpose(1, 2).requires_grad_() for x in made)


def compare(tensors: tuple[Tensor, ...], mask: Mask | None = None, scoring: Scoring | None = None) -> None:
    """Output and gradients against the reference in float64."""
    scoring = scoring or Scoring()
    found = attend(*tensors, mask, scoring, kernel="short")
    slope = torch.randn(found.shape).bfloat16()
    exact = tuple(x.detach().double().requires_grad_() for x in tensors)
    expected = attend(*exact, mask, scoring, kernel="reference")
    torch.testing.assert_close(found.double(), expected, **CLOSE)
    gradients = torch.autograd.grad(found, tensors, slope)
    for mine, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        scale = max(1.0, float(right.abs().max()))
        torch.testing.assert_close(mine.double() / scale, right / scale, **CLOSE)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_shape_and_mask(data: st.DataObject) -> None:
    number = lambda highest: data.draw(st.integers(1, highest))  # noqa: E731
    batch, queries, keys = number(3), number(40), number(40)
    lengths = torch.tensor([data.draw(st.integers(0, keys)) for _ in range(batch)])
    masks = [None, Mask.causal(), Mask.padding(lengths), Mask.causal() & Mask.padding(lengths), Mask.window(3, 2)]
    masks.append(Mask.boolean(torch.rand(batch, queries, keys) < 0.5))
    compare(problem(batch, number(3), queries, keys, 32 * number(3), 32 * number(3)), data.draw(st.sampled_from(masks)))


def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient() -> None:
    tensors = problem(2, 2, 5, 7, 32, 32)
    mask = Mask.padding(torch.tensor([0, 7]))
    compare(tensors, mask)
    found = attend(*tensors, mask, kernel="short")
    assert not found[0].any()
    gradients = torch.autograd.grad(found.sum(), tensors)
    assert all(not gradient[0].any() for gradient in gradients)


def test_huge_scores_stay_finite_and_nan_is_not_hidden() -> None:
    query, key, value = problem(1, 1, 3, 4, 32, 32)
    found = attend(query * 1e4, key * 1e4, value, kernel="short")
    assert found.isfinite().all()
    with torch.no_grad():
        key[0, 0, 1, 5] = torch.nan
    assert attend(query, key, value, kernel="short").isnan().all()


def test_other_products_and_shared_keys() -> None:
    compare(problem(2, 4, 6, 9, 32, 64), Mask.causal(), Scoring(Dot()))
    query = problem(2, 4, 6, 6, 32, 32)[0]
    _, key, value = problem(2, 2, 6, 6, 32, 32)
    compare((query, key, value), Mask.causal())
    compare(tuple(x.detach().contiguous().requires_grad_() for x in (query, key, value)))  # another layout


def test_what_it_cannot_do_is_refused_with_the_reason() -> None:
    query, key, value = problem(1, 2, 3, 3, 32, 32)
    with pytest.raises(ValueError, match="short kernel cannot do this: it knows neither dropout"):
        attend(query, key, value, dropout=Dropout(0.5), kernel="short")
    with pytest.raises(ValueError, match="nor terms added to the scores"):
        attend(query, key, value, scoring=Scoring(position=T5Bias(2, bidirectional=False)), kernel="short")
    with pytest.raises(ValueError, match="head widths must be multiples of 32"):
        attend(query[..., :16], key[..., :16], value, kernel="short")
    with pytest.raises(ValueError, match="it computes in bf16, on a CPU"):
        attend(query.float(), key.float(), value.float(), kernel="short")


def test_it_is_taken_for_training_in_one_thread() -> None:
    def choose(num_keys: int = 20, training: bool = True, **more: int) -> str:
        return which_kernel(
            device="cpu", dtype=torch.bfloat16, num_queries=20, num_keys=num_keys, training=training, **more
        ).kernel

    assert choose(threads=1) == choose(SHORT_MAX_KEYS) == "short"
    assert choose(threads=2) == choose(SHORT_MAX_KEYS + 1) == "explicit"
    assert choose(training=False) == "sdpa"
    choice = which_kernel(
        device="cpu", dtype=torch.float32, num_queries=9, num_keys=9, training=True, scoring=Scoring(Cosine(2))
    )
    assert choice.others["short"] == "it computes in bf16, on a CPU"

"""The compiled kernel against the reference in float64, forward and gradients, in both of its types."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.attention import (
    AdaptiveSpan,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    Dropout,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    ScaledDot,
    Scoring,
    ShawPositions,
    T5Bias,
    attend,
    sparsemax,
    which_kernel,
)
from regard.attention.measured import limits
from regard.base.kernels import training_kernels

pytestmark = [
    pytest.mark.avx512,
    pytest.mark.skipif(training_kernels() is None, reason="the compiled kernels were not built: no compiler?"),
]

DTYPES = [torch.float32, torch.bfloat16]
#: bf16 keeps 8 bits: what is rounded once is off by 2**-9 of itself, and sums of such by no more of their largest term.
CLOSE = {torch.float32: {"rtol": 1e-5, "atol": 1e-5}, torch.bfloat16: {"rtol": 2**-7, "atol": 2**-7}}
H = 4


def problem(
    dtype: torch.dtype,
    batch: int,
    heads: int,
    queries: int,
    keys: int,
    widths: tuple[int, int] = (32, 64),
    groups: int = 0,
) -> tuple[Tensor, ...]:
    """Queries, keys and values as projections leave them: heads side by side in memory."""
    groups = groups or heads
    sizes = ((queries, heads, widths[0]), (keys, groups, widths[0]), (keys, groups, widths[1]))
    return tuple(torch.randn(batch, *size).to(dtype).transpose(1, 2).requires_grad_() for size in sizes)


def compare(tensors: tuple[Tensor, ...], mask: Mask | None = None, scoring: Scoring | None = None, **more: Any) -> None:
    """Output and gradients, also of what the scoring has learned."""
    scoring = scoring or Scoring()
    close = CLOSE[tensors[0].dtype]
    learned = list(scoring.parameters())
    found = attend(*tensors, mask, scoring, kernel="tiled", **more)
    slope = torch.randn(found.shape).to(found.dtype)
    gradients = torch.autograd.grad(found, (*tensors, *learned), slope)
    exact = tuple(x.detach().double().requires_grad_() for x in tensors)
    dtype = tensors[0].dtype
    scoring.double()
    learned = list(scoring.parameters())
    expected = attend(*exact, mask, scoring, kernel="reference", **more)
    torch.testing.assert_close(found.double(), expected, **close)
    for mine, right in zip(gradients, torch.autograd.grad(expected, (*exact, *learned), slope.double()), strict=True):
        scale = max(1.0, float(right.abs().max()))
        torch.testing.assert_close(mine.double() / scale, right / scale, **close)
    scoring.to(dtype)


def masks(batch: int, queries: int, keys: int) -> dict[str, Mask | None]:
    lengths = torch.randint(0, keys + 1, (batch,))
    return {
        "none": None,
        "causal": Mask.causal(),
        "padding": Mask.padding(lengths),
        "causal & padding": Mask.causal() & Mask.padding(lengths),
        "window": Mask.window(3, 2),
        "wide window": Mask.causal() & Mask.window(70, 0),
        "prefix | causal": Mask.prefix(2) | Mask.causal(),
        "documents": Mask.causal() & Mask.documents(torch.arange(keys) // 20),
        "boolean": Mask.boolean(torch.rand(batch, queries, keys) < 0.5),
        "boolean for all & causal": Mask.boolean(torch.rand(queries, keys) < 0.5) & Mask.causal(),
        "scattered documents": Mask.documents(torch.arange(keys) % 3),
    }


MASKS = list(masks(1, 1, 1))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("kind", MASKS)
@settings(max_examples=12, deadline=None)
@given(st.integers(1, 2), st.integers(1, 150), st.integers(1, 150), st.integers(0, 9))
def test_any_shape_and_mask(dtype: torch.dtype, kind: str, batch: int, queries: int, keys: int, seed: int) -> None:
    """Parts of tiles, several tiles, and queries that see nothing."""
    torch.manual_seed(seed)
    compare(problem(dtype, batch, 2, queries, keys), masks(batch, queries, keys)[kind])


SCORINGS: dict[str, Any] = {
    "dot": lambda: Scoring(Dot()),
    "scale": lambda: Scoring(ScaledDot(0.3)),
    "cosine": lambda: Scoring(Cosine(H)),
    "bilinear": lambda: Scoring(Bilinear(H, 32)),
    "ALiBi": lambda: Scoring(position=ALiBi(H)),
    "T5": lambda: Scoring(position=T5Bias(H, bidirectional=True, num_buckets=8, max_distance=30)),
    "span": lambda: Scoring(span=AdaptiveSpan(H, 40, ramp=8)),
    "cosine, T5, span": lambda: Scoring(
        Cosine(H), position=T5Bias(H, bidirectional=False, num_buckets=8, max_distance=30), span=AdaptiveSpan(H, 90)
    ),
}


@pytest.mark.parametrize("kind", SCORINGS)
@pytest.mark.parametrize("groups", [H, 2, 1])
@pytest.mark.parametrize("shape", [(7, 7), (20, 90), (100, 80)])
def test_similarities_terms_and_shared_keys(kind: str, groups: int, shape: tuple[int, int]) -> None:
    scoring = SCORINGS[kind]()
    with torch.no_grad():
        for parameter in scoring.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    compare(problem(torch.float32, 2, H, *shape, (32, 32), groups), Mask.causal(), scoring)


@pytest.mark.parametrize("kind", ["scale", "ALiBi"])
def test_terms_in_bf16(kind: str) -> None:
    compare(problem(torch.bfloat16, 1, H, 70, 90, (64, 64), 2), Mask.causal(), SCORINGS[kind]().bfloat16())


def test_a_learned_term_alone_gets_its_gradient() -> None:
    """As when everything else is frozen."""
    scoring = Scoring(position=T5Bias(2, bidirectional=False))
    query, key, value = (t.detach() for t in problem(torch.float32, 1, 2, 5, 5))
    found, expected = (
        torch.autograd.grad(
            attend(query, key, value, Mask.causal(), scoring, kernel=kernel).square().sum(), scoring.parameters()
        )[0]
        for kernel in ("tiled", "reference")
    )
    assert expected.any()
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_gradient(dtype: torch.dtype) -> None:
    tensors = problem(dtype, 2, 2, 5, 70)
    mask = Mask.padding(torch.tensor([0, 70]))
    compare(tensors, mask)
    found = attend(*tensors, mask, kernel="tiled")
    assert not found[0].any()
    gradients = torch.autograd.grad(found.sum(), tensors)
    assert all(not gradient[0].any() for gradient in gradients)


@pytest.mark.parametrize("sizes", [(0, 2, 3, 3), (1, 2, 0, 3), (1, 2, 3, 0), (1, 0, 3, 3)])
@pytest.mark.parametrize("scoring", [Scoring(), Scoring(position=ALiBi(2))])
def test_nothing_at_all(sizes: tuple[int, int, int, int], scoring: Scoring) -> None:
    tensors = problem(torch.float32, *sizes)
    found = attend(*tensors, Mask.causal(), scoring, kernel="tiled")
    assert not found.any()
    assert all(not gradient.any() for gradient in torch.autograd.grad(found.sum(), tensors))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_huge_scores_stay_finite_and_nan_is_not_hidden(dtype: torch.dtype) -> None:
    query, key, value = problem(dtype, 1, 1, 3, 140)
    found = attend(query * 1e4, key * 1e4, value, kernel="tiled")
    assert found.isfinite().all()
    with torch.no_grad():
        key[0, 0, 70, 5] = torch.nan
    assert attend(query, key, value, kernel="tiled").isnan().all()
    assert attend(query, key, value, scoring=Scoring(position=ALiBi(1)), kernel="tiled").isnan().all()


def test_other_layouts() -> None:
    tensors = problem(torch.float32, 2, 2, 9, 40)
    expected = attend(*tensors, kernel="tiled")
    apart = [torch.stack([t, t], dim=-1)[..., 0] for t in tensors]  # every second number
    assert apart[0].stride(-1) == 2
    for layout in ([t.contiguous() for t in tensors], apart):
        assert torch.equal(attend(*layout, kernel="tiled"), expected)
    shared = attend(tensors[0], *(t[:1].expand(2, -1, -1, -1) for t in tensors[1:]), kernel="tiled")
    assert torch.equal(shared[:1], expected[:1])


def test_under_autocast() -> None:
    """Which leaves some tensors wider than others."""
    attention = MultiHeadAttention(64, 2, scoring=Scoring(Cosine(2), position=RotaryPositions(32)))
    x = torch.randn(2, 9, 64)
    with torch.autocast("cpu", torch.bfloat16):
        found = attention(x, mask=Mask.causal())
    torch.testing.assert_close(found.float(), attention(x, mask=Mask.causal()), atol=3e-2, rtol=0.0)


def test_what_autocasting_has_narrowed_to_a_type_it_lacks() -> None:
    attention = MultiHeadAttention(64, 2, scoring=Scoring(position=RotaryPositions(32)))
    x = torch.randn(2, 9, 64)
    with torch.autocast("cpu", torch.float16):
        found = attention(x, mask=Mask.causal())
    torch.testing.assert_close(found.float(), attention(x, mask=Mask.causal()), atol=1e-2, rtol=0.0)


def test_several_threads_find_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.attention.tiled._WORTH_A_THREAD", 0)
    tensors, scoring = problem(torch.float32, 3, H, 70, 90, groups=2), SCORINGS["T5"]()
    found = []
    for threads in (1, 4):
        torch.set_num_threads(threads)
        output = attend(*tensors, Mask.causal(), scoring, kernel="tiled")
        found.append((output, *torch.autograd.grad(output.square().sum(), (*tensors, *scoring.parameters()))))
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_what_it_cannot_do_is_refused_with_the_reason() -> None:
    tensors = problem(torch.float32, 1, 2, 3, 3, (32, 32))
    for reason, scoring, changes in (
        ("it has no dropout", Scoring(), {"dropout": Dropout(0.5)}),
        ("it would need a table of T×S", Scoring(position=ShawPositions(32)), {}),
        ("the queries are not the last", Scoring(position=ALiBi(2)), {"positions": torch.arange(3)}),
        ("sparsemax needs a whole row", Scoring(normaliser=sparsemax), {}),
    ):
        with pytest.raises(ValueError, match=f"tiled kernel cannot do this: {reason}"):
            attend(*tensors, scoring=scoring, kernel="tiled", **changes)
    with pytest.raises(ValueError, match="head widths must be multiples of 32"):
        attend(tensors[0][..., :16], tensors[1][..., :16], tensors[2], kernel="tiled")
    with pytest.raises(ValueError, match="it computes in float32 and bfloat16, on a CPU"):
        attend(*(t.double() for t in tensors), kernel="tiled")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_it_is_taken_for_training(dtype: torch.dtype) -> None:
    for num_keys in (max(20, limits(dtype).tiled_training), 5000):
        for mask in (None, Mask.causal(), Mask.causal() & Mask.window(8, 0)):
            choice = which_kernel(
                device="cpu", dtype=dtype, num_queries=num_keys, num_keys=num_keys, training=True, mask=mask
            )
            assert choice.kernel == "tiled"
            assert "never holds" in choice.reason

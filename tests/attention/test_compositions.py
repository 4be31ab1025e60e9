"""Every fast kernel against the reference, over a cover of all pairs of the choices, forward and gradients."""

from collections.abc import Callable, Sequence
from functools import cache
from itertools import combinations, product
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from regard.attention import (
    AdaptiveSpan,
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    Mask,
    RotaryPositions,
    ScaledDot,
    Scoring,
    ShawPositions,
    T5Bias,
    TopK,
    TransformerXLPositions,
    attend,
    entmax15,
    softmax,
    sparsemax,
)
from regard.attention.dispatch import _REFUSALS, Call
from regard.attention.relative import gather_by_distance, lay_out

H, K = 4, 6
SIMILARITIES: dict[str, Callable[[], Any]] = {
    "dot": Dot,
    "scaled dot": ScaledDot,
    "cosine": lambda: Cosine(H),
    "additive": lambda: Additive(H, K),
    "bilinear": lambda: Bilinear(H, K),
}
NORMALISERS: dict[str, Any] = {"softmax": softmax, "sparsemax": sparsemax, "entmax15": entmax15, "top k": TopK(3)}
POSITIONS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "rotary": lambda: RotaryPositions(K),
    "rotary, half": lambda: RotaryPositions(K, fraction=0.7, base=500.0),
    "Shaw": lambda: ShawPositions(K, max_distance=3),
    "Transformer-XL": lambda: TransformerXLPositions(10, H, K),
    "T5": lambda: T5Bias(H, bidirectional=True, num_buckets=8, max_distance=9),
    "T5, causal": lambda: T5Bias(H, bidirectional=False, num_buckets=8, max_distance=9),
    "ALiBi": lambda: ALiBi(H),
    "span": lambda: AdaptiveSpan(H, 6, ramp=3),
    "ALiBi, span": lambda: ALiBi(H),
}


def make(similarity: str, normaliser: str, position: str) -> Scoring:
    """A composition in float64 with random parameters.

    Raises:
        ValueError: it makes no sense.
    """
    chosen = POSITIONS[position]()
    span = AdaptiveSpan(H, 6, ramp=3) if "span" in position else None
    if isinstance(chosen, AdaptiveSpan):
        chosen = None
    scoring = Scoring(SIMILARITIES[similarity](), NORMALISERS[normaliser], chosen, span).double()
    randomise(scoring)
    return scoring


def randomise(module: nn.Module) -> None:
    """Parameters that are not those of the beginning, so that mistakes show."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.add_(torch.randn_like(parameter) if "part" not in name else 0.4 * torch.rand_like(parameter))


def masks(rows: int, num_queries: int, num_keys: int, seed: int = 0) -> dict[str, Mask | None]:
    """Masks of every kind; some hide everything from some query."""
    random = torch.Generator().manual_seed(seed)
    table = torch.rand(rows, num_queries, num_keys, generator=random) < 0.6
    lengths = torch.randint(0, num_keys + 1, (rows,), generator=random)
    return {
        "none": None,
        "causal": Mask.causal(),
        "padding": Mask.padding(lengths),
        "causal & padding": Mask.causal() & Mask.padding(lengths),
        "window": Mask.window(2, 1),
        "causal window": Mask.causal() & Mask.window(3, 0),
        "window & padding": Mask.window(1, 2) & Mask.padding(lengths),
        "window & documents": Mask.window(4, 0) & Mask.documents(torch.arange(num_keys) // 3),
        "window & boolean": Mask.window(2, 2) & Mask.boolean(table),
        "prefix | causal": Mask.prefix(2) | Mask.causal(),
        "documents": Mask.documents(torch.arange(num_keys) // 3),
        "boolean": Mask.boolean(table),
    }


MASKS = list(masks(1, 1, 1))


def pairwise(*choices: Sequence[str], sensible: Callable[..., bool]) -> list[tuple[str, ...]]:
    """Cases in which every pair of values of two choices occurs that occurs in any sensible case."""
    random, cases = Random(0), list[tuple[str, ...]]()
    places = list(combinations(range(len(choices)), 2))
    missing = {(i, j, a, b): None for i, j in places for a, b in product(choices[i], choices[j])}
    while missing:
        i, j, a, b = pair = next(iter(missing))
        tried = [[random.choice(choice) for choice in choices] for _ in range(200)]
        for case in tried:
            case[i], case[j] = a, b
        fitting = [case for case in tried if sensible(*case)]
        if not fitting:
            del missing[pair]
            continue
        best = max(fitting, key=lambda case: sum((i, j, case[i], case[j]) in missing for i, j in places))
        for i, j in places:
            missing.pop((i, j, best[i], best[j]), None)
        cases.append(tuple(best))
    return cases


EXACT = {"atol": 1e-10, "rtol": 0.0}
KERNELS = ["explicit", "sdpa", "blocked"]
SHAPES = {"square": (7, 7), "at the end": (5, 9), "one query": (1, 8), "more queries": (6, 4), "long": (70, 70)}
GROUPS = {"own keys": 4, "grouped": 2, "shared": 1}


def problem(num_queries: int, num_keys: int, groups: int, rows: int = 2, seed: int = 0) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    sizes = [(rows, H, num_queries, K), (rows, groups, num_keys, K), (rows, groups, num_keys, 5)]
    return [(2 * torch.randn(*size, generator=random, dtype=torch.float64)).requires_grad_() for size in sizes]


@cache
def makes_sense(similarity: str, normaliser: str, position: str) -> bool:
    try:
        make(similarity, normaliser, position)
    except ValueError:
        return False
    return True


@cache
def refused(kernel: str, similarity: str, normaliser: str, mask: str, shape: str) -> bool:
    num_queries, num_keys = SHAPES[shape]
    chosen, scoring = masks(2, num_queries, num_keys)[mask], make(similarity, normaliser, "none")
    call = Call("cpu", torch.float64, num_queries, num_keys, True, mask=chosen, scoring=scoring)
    return _REFUSALS[kernel](call) is not None


def sensible(similarity: str, normaliser: str, position: str, mask: str, kernel: str, shape: str, _: str = "") -> bool:
    if not makes_sense(similarity, normaliser, position):
        return False
    return not refused(kernel, similarity, normaliser, mask, shape)


CHOICES = [list(choice) for choice in (SIMILARITIES, NORMALISERS, POSITIONS, MASKS, KERNELS, SHAPES, GROUPS)]
COVER = pairwise(*CHOICES, sensible=sensible)


def run(inputs: list[Tensor], mask: Mask | None, scoring: Scoring, kernel: Any, **more: Any) -> list[Tensor]:
    """The output, and the gradients of everything that is learned."""
    query, key, value = inputs
    if isinstance(scoring.position, RotaryPositions):  # as multi-head attention does, before keys are kept
        behind = key.shape[2] - query.shape[2]
        query, key = scoring.position(query, torch.arange(max(behind, 0), max(behind, 0) + query.shape[2])), key
        key = scoring.position(key)
    output = attend(query, key, value, mask, scoring, kernel=kernel, **more)
    probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    learned = [*inputs, *scoring.parameters()]
    gradients = torch.autograd.grad((output * probe).sum(), learned, allow_unused=True, materialize_grads=True)
    return [output, *gradients]


@pytest.mark.parametrize("case", COVER, ids=" · ".join)
def test_kernels_equal_the_reference(case: tuple[str, ...]) -> None:
    similarity, normaliser, position, mask, kernel, shape, groups = case
    scoring = make(similarity, normaliser, position)
    inputs, chosen = problem(*SHAPES[shape], GROUPS[groups]), masks(2, *SHAPES[shape])[mask]
    for found, expected in zip(
        run(inputs, chosen, scoring, kernel), run(inputs, chosen, scoring, "reference"), strict=True
    ):
        torch.testing.assert_close(found, expected, **EXACT)


def test_the_cover_has_everything() -> None:
    seen = [{case[i] for case in COVER} for i in range(7)]
    assert seen == [set(names) for names in CHOICES]
    assert len(COVER) < 400


EMPTY = [
    (kernel, normaliser, position)
    for kernel in ("reference", *KERNELS)
    for normaliser in NORMALISERS
    for position in ("none", "Shaw", "T5", "span", "ALiBi, span")
    if sensible("scaled dot", normaliser, position, "window & padding", kernel, "square")
]


@pytest.mark.parametrize("case", EMPTY, ids=" · ".join)
def test_queries_without_keys_get_zeros(case: tuple[Any, str, str]) -> None:
    kernel, normaliser, position = case
    mask = Mask.padding(torch.tensor([0, 2])) & Mask.window(1, 0)
    output, *gradients = run(problem(7, 7, H), mask, make("scaled dot", normaliser, position), kernel)
    empty = ~mask.view(7, 7, torch.device("cpu")).boolean()[:, 0].any(-1)
    assert empty[0].all()
    assert empty[1].tolist() == [False, False, False, True, True, True, True]
    assert (output.transpose(1, 2)[empty] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_a_query_whose_span_is_masked_gets_zeros() -> None:
    """Its own key is padding, and no head looks further than the padding."""
    scoring = make("scaled dot", "softmax", "span")
    with torch.no_grad():
        scoring.span.part.fill_(0.0)  # type: ignore[union-attr]
    mask, inputs = Mask.padding(torch.tensor([3, 12])), problem(12, 12, H)
    outputs = [run(inputs, mask, scoring, kernel) for kernel in ("reference", "explicit", "sdpa")]
    for found in outputs:
        assert (found[0][0, :, 6:] == 0).all()  # the ramp is 3 keys wide
        assert (found[0][0, :, 4] != 0).all()
        for tensor, expected in zip(found, outputs[0], strict=True):
            torch.testing.assert_close(tensor, expected, **EXACT)


@pytest.mark.parametrize("position", [name for name in POSITIONS if name not in ("none", "rotary", "rotary, half")])
def test_queries_at_any_positions(position: str) -> None:
    """Rows that stand at different places see the distances from there."""
    scoring, inputs = make("scaled dot", "softmax", position), problem(3, 9, H)
    positions = torch.tensor([[4, 5, 6], [8, 2, 5]])
    for kernel in ("reference", "explicit", "sdpa"):
        found = run(inputs, Mask.causal(), scoring, kernel, positions=positions)
        for row in range(2):
            for number in range(3):
                seen = int(positions[row, number]) + 1
                query = inputs[0][row : row + 1, :, number : number + 1]
                key, value = (t[row : row + 1, :, :seen] for t in inputs[1:])
                alone = attend(query, key, value, None, scoring, kernel="reference")
                torch.testing.assert_close(found[0][row, :, number], alone[0, :, 0], **EXACT)


@settings(deadline=None)  # the first call loads things
@given(st.integers(1, 5), st.integers(0, 6), st.booleans(), st.booleans())
def test_laying_out_is_gathering(num_queries: int, num_keys: int, by_row: bool, by_query: bool) -> None:
    count = num_queries + num_keys - 1
    table = torch.randn(3 if by_row else 1, 2, num_queries if by_query else 1, count)
    distance = torch.arange(num_keys) - torch.arange(num_queries)[:, None]
    found = lay_out(table, num_queries, num_keys)
    expected = gather_by_distance(table, distance[None], 1 - num_queries)
    assert torch.equal(found, expected)


WINDOWS = st.tuples(st.integers(0, 6), st.integers(0, 6))


@settings(deadline=None)
@given(WINDOWS, st.integers(1, 90), st.integers(0, 20), st.integers(0, 9), st.sampled_from(["sdpa", "explicit"]))
def test_blocks_of_any_window(window: tuple[int, int], num_queries: int, behind: int, seed: int, inner: str) -> None:
    inputs = problem(num_queries, num_queries + behind, 2, seed=seed)
    scoring = make("scaled dot", "softmax" if inner == "sdpa" else "sparsemax", "T5")
    mask = Mask.window(*window) & Mask.padding(torch.randint(0, num_queries + behind + 1, (2,)))
    for found, expected in zip(
        run(inputs, mask, scoring, "blocked"), run(inputs, mask, scoring, "reference"), strict=True
    ):
        torch.testing.assert_close(found, expected, **EXACT)


SMOOTH = pairwise(
    *CHOICES[:4], sensible=lambda similarity, normaliser, position, mask: makes_sense(similarity, normaliser, position)
)


@pytest.mark.parametrize("case", SMOOTH, ids=" · ".join)
def test_gradients_are_those_of_differences(case: tuple[str, ...]) -> None:
    """Of the reference, which those of the other kernels are compared with above."""
    similarity, normaliser, position, mask = case
    scoring, inputs = make(similarity, normaliser, position), problem(3, 4, H, rows=1)
    chosen, learned = masks(1, 3, 4)[mask], list(scoring.parameters())

    def function(*tensors: Tensor) -> Tensor:
        return attend(*tensors[:3], chosen, scoring, kernel="reference")

    assert torch.autograd.gradcheck(function, (*inputs, *learned), fast_mode=True)

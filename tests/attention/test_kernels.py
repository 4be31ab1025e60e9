"""The reference kernel against the formula, and the fast kernels against the reference."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.attention import Dropout, Mask, ScaledDot, Scoring, attend, dispatch, reference_attention, which_kernel
from regard.attention.measured import TABLE, Limits

EXACT = {"atol": 1e-10, "rtol": 0.0}
Problem = tuple[Tensor, Tensor, Tensor]


def problem(rows: int, num_queries: int, num_keys: int, key_width: int, value_width: int, seed: int = 0) -> Problem:
    """Query, key and value in float64, of 2 heads, scaled so that the weights are far from uniform."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return (2 * torch.randn(*shape, generator=random, dtype=torch.float64)).requires_grad_()

    return (
        draw(rows, 2, num_queries, key_width),
        draw(rows, 2, num_keys, key_width),
        draw(rows, 2, num_keys, value_width),
    )


def by_hand(query: Tensor, key: Tensor, value: Tensor, allowed: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Output and weights, number by number."""
    rows, heads, num_queries, _ = query.shape
    num_keys, width = value.shape[-2:]
    output = torch.zeros(rows, heads, num_queries, width, dtype=torch.float64)
    weights = torch.zeros(rows, heads, num_queries, num_keys, dtype=torch.float64)
    for b, h, t in torch.cartesian_prod(torch.arange(rows), torch.arange(heads), torch.arange(num_queries)).tolist():
        seen = [s for s in range(num_keys) if allowed[b, t, s]]
        scores = [scale * sum((query[b, h, t] * key[b, h, s]).tolist()) for s in seen]
        highest = max(scores, default=0.0)
        total = sum(math.exp(score - highest) for score in scores)
        for s, score in zip(seen, scores, strict=True):
            weights[b, h, t, s] = math.exp(score - highest) / total
            output[b, h, t] += weights[b, h, t, s] * value[b, h, s].detach()
    return output, weights


def a_mask(kind: str, rows: int, num_queries: int, num_keys: int, seed: int = 0) -> tuple[Mask | None, Tensor | None]:
    """A mask, and the positions of the queries where they are not at the end of the keys."""
    random = torch.Generator().manual_seed(seed + 1)

    def numbers(low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=random)

    table = numbers(0, 2, rows, num_queries, num_keys).bool()
    padding = Mask.padding(numbers(1, num_keys + 1, rows))
    since = Mask.since(numbers(0, num_keys + 2, rows))  # some rows see nothing at all
    found: dict[str, Mask | None] = {
        "none": None,
        "causal": Mask.causal(),
        "causal, ragged": Mask.causal(),
        "padding": padding,
        "padding, empty": Mask.padding(torch.zeros(rows, dtype=torch.long)),
        "padding, idle": Mask.padding(torch.full((rows,), num_keys)),
        "since": since,
        "window": Mask.window(1, 1),
        "window, ragged": Mask.window(1, 0),
        "prefix": Mask.prefix(2),
        "prefix, by row": Mask.prefix(numbers(0, num_keys + 1, rows)),
        "documents": Mask.documents(numbers(0, 2, rows, num_keys)),
        "boolean": Mask.boolean(table),
        "boolean, one for all": Mask.boolean(table[0]),
        "nothing": Mask.boolean(torch.zeros(num_queries, num_keys, dtype=torch.bool)),
        "causal & padding": Mask.causal() & padding,
        "causal & since": Mask.causal() & since,
        "prefix | causal": Mask.prefix(2) | Mask.causal(),
        "(causal | boolean) & window": (Mask.causal() | Mask.boolean(table)) & Mask.window(2, 1),
    }
    positions = numbers(-1, num_keys, rows, num_queries) if "ragged" in kind else None
    return found[kind], positions


KINDS = [
    *("none", "causal", "causal, ragged", "padding", "padding, empty", "padding, idle", "since", "window"),
    *("window, ragged", "prefix", "prefix, by row", "documents", "boolean", "boolean, one for all", "nothing"),
    *("causal & padding", "causal & since", "prefix | causal", "(causal | boolean) & window"),
]
SIZES = st.tuples(*(st.integers(1, high) for high in (3, 6, 6, 4, 4)))
FAST: list[Any] = ["explicit", "sdpa"]


def allowed_by(mask: Mask | None, positions: Tensor | None, rows: int, num_queries: int, num_keys: int) -> Tensor:
    if mask is None:
        return torch.ones(rows, num_queries, num_keys, dtype=torch.bool)
    return mask.view(num_queries, num_keys, torch.device("cpu"), positions).boolean()[:, 0].expand(rows, -1, -1)


@settings(deadline=None)  # the first call loads things
@given(st.sampled_from(KINDS), SIZES, st.integers(0, 9))
def test_reference_is_the_formula(kind: str, size: tuple[int, ...], seed: int) -> None:
    query, key, value = problem(*size, seed=seed)
    mask, positions = a_mask(kind, *size[:3], seed=seed)
    view = None if mask is None else mask.view(size[1], size[2], query.device, positions)
    positions = None if positions is None else positions.view(-1, size[1])
    output, weights = reference_attention(query, key, value, view, Scoring(ScaledDot(0.7)), positions)
    expected, expected_weights = by_hand(query, key, value, allowed_by(mask, positions, *size[:3]), 0.7)
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(weights, expected_weights, **EXACT)


@settings(deadline=None)  # the first call loads things
@given(st.sampled_from(KINDS), SIZES, st.integers(0, 9), st.sampled_from(FAST), st.sampled_from([None, 0.3]))
def test_fast_kernels_equal_the_reference(
    kind: str, size: tuple[int, ...], seed: int, kernel: Any, scale: float | None
) -> None:
    inputs = problem(*size, seed=seed)
    mask, positions = a_mask(kind, *size[:3], seed=seed)
    found = []
    for name in ("reference", kernel):
        output = attend(*inputs, mask, Scoring(ScaledDot(scale)), positions=positions, kernel=name)
        probe = torch.randn(output.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        found.append((output, *torch.autograd.grad((output * probe).sum(), inputs)))
    for expected, tensor in zip(*found, strict=True):
        torch.testing.assert_close(tensor, expected, **EXACT)
    empty = ~allowed_by(mask, positions, *size[:3]).any(-1)
    assert (found[1][0].transpose(1, 2)[empty] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kernel", ["reference", *FAST])
@pytest.mark.parametrize("kind", KINDS)
def test_half_and_single_precision(kind: str, kernel: Any, dtype: torch.dtype) -> None:
    """Close to float64; zeros for queries that see nothing, and no NaN in any gradient."""
    size = (3, 5, 5, 8, 4)
    exact = problem(*size)
    mask, positions = a_mask(kind, *size[:3])
    rounded = [t.detach().to(dtype).requires_grad_() for t in exact]
    output = attend(*rounded, mask, positions=positions, kernel=kernel)
    expected = attend(*[t.detach().double() for t in rounded], mask, positions=positions, kernel="reference")
    tolerance = 1e-5 if dtype == torch.float32 else 5e-2
    torch.testing.assert_close(output.double(), expected, atol=tolerance, rtol=tolerance)
    assert output.dtype == dtype
    empty = ~allowed_by(mask, positions, *size[:3]).any(-1)
    assert (output.transpose(1, 2)[empty] == 0).all()
    gradients = torch.autograd.grad(output.float().square().sum(), rounded)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert (gradients[0].transpose(1, 2)[empty] == 0).all()


@pytest.mark.parametrize("kernel", ["reference", *FAST])
def test_nothing_to_attend_to(kernel: Any) -> None:
    query, key, value = torch.ones(2, 1, 3, 4), torch.ones(2, 1, 0, 4), torch.ones(2, 1, 0, 5)
    for mask in (None, Mask.causal(), Mask.padding(torch.zeros(2, dtype=torch.long))):
        assert torch.equal(attend(query, key, value, mask, kernel=kernel), torch.zeros(2, 1, 3, 5))


def test_explicit_can_be_differentiated_twice() -> None:
    inputs = problem(1, 2, 3, 2, 2)
    mask = Mask.boolean(torch.tensor([[True, False, True], [False, False, False]]))
    assert torch.autograd.gradgradcheck(lambda q, k, v: attend(q, k, v, mask, kernel="explicit"), inputs)


DTYPES = [torch.float64, torch.float32, torch.bfloat16, torch.float16]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("wanted", ["query", "key", "value", "nothing", "no_grad"])
@pytest.mark.parametrize(
    ("num_keys", "value_dim", "rate"), [(3, 4, 0.0), (129, 4, 0.0), (513, 4, 0.0), (513, 4, 0.1), (3, 5, 0.0)]
)
@pytest.mark.parametrize("evaluation", [True, False])
def test_attend_takes_the_kernel_that_which_kernel_names(
    dtype: torch.dtype,
    wanted: str,
    num_keys: int,
    value_dim: int,
    rate: float,
    evaluation: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = []
    for name in ("explicit", "sdpa", "reference"):
        original = getattr(dispatch, f"{name}_attention")

        def watched(*args: Any, name: str = name, original: Any = original) -> Any:
            taken.append(name)
            return original(*args)

        monkeypatch.setattr(dispatch, f"{name}_attention", watched)
    tensors = {"query": torch.ones(1, 1, 2, 4), "key": torch.ones(1, 1, num_keys, 4)}
    tensors["value"] = torch.ones(1, 1, num_keys, value_dim)
    tensors = {n: t.to(dtype).requires_grad_(n == wanted or wanted == "no_grad") for n, t in tensors.items()}
    with torch.set_grad_enabled(wanted != "no_grad"):
        attend(*tensors.values(), Mask.causal(), dropout=Dropout(rate).train(not evaluation))
    choice = which_kernel(
        device="cpu",
        dtype=dtype,
        num_queries=2,
        num_keys=num_keys,
        training=wanted in tensors,
        dropout=rate > 0 and not evaluation,
        widths=(4, value_dim),
    )
    assert taken == [choice.kernel]
    assert choice.reason


@pytest.mark.parametrize("kind", TABLE)
def test_which_kernel_gives_reasons(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every kind of machine that was measured, where the compiled kernel cannot do it."""
    table = TABLE[kind]
    monkeypatch.setattr(dispatch, "limits", lambda dtype: table.get(dtype, Limits()))

    def choose(device: str, dtype: torch.dtype, num_keys: int, **more: Any) -> tuple[str, str]:
        settings = {"num_queries": 9, "widths": (20, 20), **more}
        return which_kernel(device=device, dtype=dtype, num_keys=num_keys, **settings)[:2]

    for dtype, limit in table.items():
        most = limit.explicit_training
        kernel, reason = choose("cpu", dtype, most + 1, training=True)
        assert kernel == "sdpa"
        assert f"above {most} keys" in reason
        if most:
            kernel, reason = choose("cpu", dtype, most, training=True)
            assert kernel == "explicit"
            assert f"up to {most} keys" in reason
    assert choose("cpu", torch.float32, 64, training=False)[0] == "sdpa"
    assert choose("cuda", torch.bfloat16, 64, training=True)[0] == "sdpa"
    assert choose("cpu", torch.float64, 64, training=True)[0] == "explicit"
    for unserved in ({"dropout": True}, {"widths": (64, 32)}):
        kernel, reason = choose("cpu", torch.float32, 900, training=False, **unserved)
        assert kernel == "explicit"
        assert "sdpa writes the weights out as well" in reason
        assert choose("cuda", torch.float32, 900, training=True, **unserved)[0] == "sdpa"
    kernel, reason = choose("cpu", torch.bfloat16, 64, training=True, need_weights=True)
    assert kernel == "reference"
    assert "weights" in reason


@pytest.mark.parametrize("kernel", FAST)
def test_dropout_only_in_training(kernel: Any) -> None:
    query, key, value = problem(2, 40, 50, 4, 6)
    query, value = torch.zeros_like(query), torch.ones_like(value)  # 50 equal weights each
    dropout = Dropout(0.25)
    plain = attend(query, key, value, kernel=kernel)
    assert torch.equal(attend(query, key, value, dropout=dropout.eval(), kernel=kernel), plain)
    dropped = attend(query, key, value, dropout=dropout.train(), kernel=kernel)
    assert not torch.allclose(dropped, plain)
    assert float(dropped.detach().mean()) == pytest.approx(1.0, abs=0.04)  # the weights keep their mean


def test_the_reference_has_no_dropout() -> None:
    query, key, value = problem(1, 2, 2, 2, 2)
    with pytest.raises(ValueError, match="the reference kernel cannot do this: it has no dropout"):
        attend(query, key, value, dropout=Dropout(0.5), kernel="reference")
    attend(query, key, value, dropout=Dropout(0.5).eval(), kernel="reference")


def test_an_unknown_kernel_names_the_nearest() -> None:
    query, key, value = problem(1, 2, 2, 2, 2)
    with pytest.raises(ValueError, match=r"unknown kernel 'explict'. Did you mean 'explicit'\?"):
        attend(query, key, value, kernel="explict")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "shapes",
    [
        ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 4)),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 2, 4)),
        ((2, 2, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4)),
        ((2, 2, 3, 4), (2, 2, 3, 4), (1, 2, 3, 4)),
        ((2, 3, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4)),
        ((2, 3, 4), (2, 3, 4), (2, 3, 4)),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match="attention wants query B×H×T×K"):
        attend(*(torch.ones(shape) for shape in shapes))


@pytest.mark.parametrize("kernel", ["reference", *FAST])
@pytest.mark.parametrize("rows", [1, 2])
def test_a_mask_of_other_rows(rows: int, kernel: Any) -> None:
    query = torch.ones(rows, 1, 2, 4)
    with pytest.raises(ValueError, match=f"the mask has 3 rows, but there are {rows} rows"):
        attend(query, query, query, Mask.padding(torch.tensor([1, 2, 2])), kernel=kernel)

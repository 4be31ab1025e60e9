"""Masks against rules written out pair by pair, and the laws of their algebra."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor

from regard.attention import Mask, attend
from regard.attention.mask import _REMEMBERED_VIEWS

CPU = torch.device("cpu")
Rule = Callable[[int, int, int, int], bool]
"""Row, query number, query position, key: may it attend?"""


def sizes() -> st.SearchStrategy[tuple[int, int, int]]:
    return st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 5))


@st.composite
def leaves(draw: st.DrawFn, rows: int, num_queries: int, num_keys: int) -> tuple[Mask, Rule]:
    """One plain mask and the same as a rule."""
    kind = draw(st.sampled_from(["causal", "padding", "since", "window", "prefix", "documents", "boolean"]))
    numbers = st.lists(st.integers(0, num_keys + 1), min_size=rows, max_size=rows)
    if kind == "causal":
        return Mask.causal(), lambda b, t, p, s: s <= p
    if kind == "padding":
        lengths = draw(numbers)
        return Mask.padding(torch.tensor(lengths)), lambda b, t, p, s: s < lengths[b]
    if kind == "since":
        starts = draw(numbers)
        return Mask.since(torch.tensor(starts)), lambda b, t, p, s: s >= starts[b]
    if kind == "window":
        left, right = draw(st.integers(0, 3)), draw(st.integers(0, 3))
        return Mask.window(left, right), lambda b, t, p, s: p - left <= s <= p + right
    if kind == "prefix":
        if draw(st.booleans()):
            length = draw(st.integers(0, num_keys + 1))
            return Mask.prefix(length), lambda b, t, p, s: s < length
        prefixes = draw(numbers)
        return Mask.prefix(torch.tensor(prefixes)), lambda b, t, p, s: s < prefixes[b]
    if kind == "documents":
        copies = draw(st.sampled_from([1, rows]))
        ids = [[draw(st.integers(0, 2)) for _ in range(num_keys)] for _ in range(copies)]
        mask = Mask.documents(torch.tensor(ids if copies > 1 or draw(st.booleans()) else ids[0]))
        return mask, lambda b, t, p, s: 0 <= p < num_keys and ids[b % copies][p] == ids[b % copies][s]
    copies, queries = draw(st.sampled_from([1, rows])), draw(st.sampled_from([1, num_queries]))
    table = [[[draw(st.booleans()) for _ in range(num_keys)] for _ in range(queries)] for _ in range(copies)]
    mask = Mask.boolean(torch.tensor(table if copies > 1 or draw(st.booleans()) else table[0]))
    return mask, lambda b, t, p, s: table[b % copies][t % queries][s]


def both(first: Mask, second: Mask) -> Mask:
    """``first & second``, unless they contradict one another."""
    try:
        return first & second
    except ValueError:
        assume(False)
        raise


@st.composite
def masks(draw: st.DrawFn, rows: int, num_queries: int, num_keys: int, depth: int = 2) -> tuple[Mask, Rule]:
    """Plain masks combined with & and |."""
    kind = draw(st.sampled_from(["leaf", "and", "or"])) if depth else "leaf"
    if kind == "leaf":
        return draw(leaves(rows, num_queries, num_keys))
    (first, one), (second, other) = (draw(masks(rows, num_queries, num_keys, depth - 1)) for _ in range(2))
    if kind == "and":
        return both(first, second), lambda b, t, p, s: one(b, t, p, s) and other(b, t, p, s)
    return first | second, lambda b, t, p, s: one(b, t, p, s) or other(b, t, p, s)


def evaluate(mask: Mask, rows: int, num_queries: int, num_keys: int, positions: Tensor | None = None) -> Tensor:
    """B×T×S booleans."""
    table = mask.view(num_queries, num_keys, CPU, positions).boolean()
    assert table.shape[1:] == (1, num_queries, num_keys)
    return table[:, 0].expand(rows, -1, -1)


@settings(deadline=None)  # the first call loads things
@given(st.data(), sizes())
def test_masks_say_what_their_rules_say(data: st.DataObject, size: tuple[int, int, int]) -> None:
    rows, num_queries, num_keys = size
    mask, rule = data.draw(masks(*size))
    kind = data.draw(st.sampled_from(["at the end", "T", "B×T"]))
    position = st.integers(-1, num_keys)
    at = [list(range(num_keys - num_queries, num_keys))] * rows
    positions = None
    if kind == "T":
        at = [[data.draw(position) for _ in range(num_queries)]] * rows
        positions = torch.tensor(at[0])
    elif kind == "B×T":
        at = [[data.draw(position) for _ in range(num_queries)] for _ in range(rows)]
        positions = torch.tensor(at)
    expected = torch.tensor(
        [[[rule(b, t, at[b][t], s) for s in range(num_keys)] for t in range(num_queries)] for b in range(rows)]
    )
    assert torch.equal(evaluate(mask, rows, num_queries, num_keys, positions), expected)
    # the short cuts that kernels take
    view = mask.view(num_queries, num_keys, CPU, positions)
    assert torch.equal(view.rows_with_keys()[:, 0, :, 0].expand(rows, -1), expected.any(-1))
    if not view.may_have_empty_rows:
        assert expected.any(-1).all()
    if view.allows_everything:
        assert expected.all()
    if view.is_plain_causal:
        assert torch.equal(expected[0], torch.ones(num_queries, num_keys, dtype=torch.bool).tril())
    if not mask.looks_at_queries:
        assert torch.equal(expected, expected[:, :1].expand_as(expected))
    runs = view.runs()
    if runs is not None:
        assert torch.equal(within(*runs, num_keys).expand_as(expected), expected)


def within(start: Tensor, stop: Tensor, num_keys: int) -> Tensor:
    """B×T×S booleans from runs of keys."""
    keys = torch.arange(num_keys)
    return (keys >= start[..., None]) & (keys < stop[..., None])


RUNS = {
    "causal": Mask.causal(),
    "padding": Mask.padding(torch.tensor([0, 9, 4])),
    "since": Mask.since(torch.tensor([0, 9, 4])),
    "window": Mask.window(3, 2),
    "prefix": Mask.prefix(3),
    "documents": Mask.documents(torch.tensor([[0, 0, 0, 1, 1, 1, 1, 2, 2], [0] * 9, [4, 5, 6, 7, 8, 9, 9, 9, 9]])),
    "causal & window & padding": Mask.causal() & Mask.window(3, 0) & Mask.padding(torch.tensor([0, 9, 4])),
    "causal & documents": Mask.causal() & Mask.documents(torch.arange(9) // 4),
    "prefix | causal": Mask.prefix(torch.tensor([0, 2, 9])) | Mask.causal(),
}


@pytest.mark.parametrize("first_key", [0, 2])
@pytest.mark.parametrize("positions", [None, torch.tensor([4, 6, 5]), torch.tensor([[8, 0, 3], [2, 1, 6], [5, 5, 5]])])
@pytest.mark.parametrize("kind", RUNS)
def test_most_masks_are_two_numbers_a_query(kind: str, positions: Tensor | None, first_key: int) -> None:
    view = RUNS[kind].view(3, 9 - first_key, CPU, positions, first_key=first_key)
    start, stop = view.runs() or pytest.fail("no runs")
    assert start.dtype == stop.dtype == torch.int32
    assert torch.equal(*torch.broadcast_tensors(within(start, stop, 9 - first_key), view.boolean()[:, 0]))


def test_masks_with_gaps_are_no_runs() -> None:
    table = Mask.boolean(torch.ones(3, 9, dtype=torch.bool))
    scattered = Mask.documents(torch.tensor([0, 1, 0, 1, 0, 1, 0, 1, 0]))
    for mask in (table, scattered, table & Mask.causal(), Mask.prefix(2) | Mask.window(1, 1)):
        assert mask.view(3, 9, CPU).runs() is None


LAWS: dict[str, Callable[[Mask, Mask, Mask], tuple[Mask, Mask]]] = {
    "and commutes": lambda a, b, c: (a & b, b & a),
    "or commutes": lambda a, b, c: (a | b, b | a),
    "and associates": lambda a, b, c: ((a & b) & c, a & (b & c)),
    "or associates": lambda a, b, c: ((a | b) | c, a | (b | c)),
    "and is idempotent": lambda a, b, c: (a & a, a),
    "or is idempotent": lambda a, b, c: (a | a, a),
    "and absorbs or": lambda a, b, c: (a & (a | b), a),
    "or absorbs and": lambda a, b, c: (a | (a & b), a),
    "and distributes": lambda a, b, c: (a & (b | c), (a & b) | (a & c)),
    "or distributes": lambda a, b, c: (a | (b & c), (a | b) & (a | c)),
}


@settings(deadline=None)  # the first call loads things
@given(st.data(), sizes())
def test_algebra(data: st.DataObject, size: tuple[int, int, int]) -> None:
    a, b, c = (data.draw(masks(*size, depth=1))[0] for _ in range(3))
    for name, law in LAWS.items():
        try:
            left, right = law(a, b, c)
        except ValueError:  # a window that contradicts a causal mask
            continue
        assert torch.equal(evaluate(left, *size), evaluate(right, *size)), name


def test_causal_is_aligned_to_the_end() -> None:
    expected = torch.tensor([[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]).bool()
    assert torch.equal(evaluate(Mask.causal(), 1, 2, 5)[0], expected)


def test_more_causal_queries_than_keys_leave_the_first_without_any() -> None:
    view = Mask.causal().view(4, 2, CPU)
    assert view.may_have_empty_rows
    assert view.rows_with_keys().flatten().tolist() == [False, False, True, True]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_additive_is_finite_and_adding_scores_keeps_it_so(dtype: torch.dtype) -> None:
    additive = Mask.causal().view(3, 3, CPU).additive(dtype)
    assert additive.dtype == dtype
    assert (additive[0, 0].tril() == 0).all()
    forbidden = additive[0, 0][~torch.ones(3, 3).tril().bool()]
    for score in (-1e4, 1e4):
        assert (forbidden + score).isfinite().all()
        assert (torch.softmax(torch.stack([forbidden + score, torch.zeros_like(forbidden)]), 0)[0] == 0).all()


def test_a_view_is_remembered() -> None:
    mask = Mask.causal() & Mask.padding(torch.tensor([2, 3]))
    assert mask.view(3, 3, CPU) is mask.view(3, 3, CPU)
    assert mask.view(3, 3, CPU) is not mask.view(2, 3, CPU)
    view = mask.view(3, 3, CPU)
    assert view.additive(torch.float32) is view.additive(torch.float32)


def test_only_a_few_views_are_remembered() -> None:
    mask = Mask.causal()
    for length in range(1, 100):  # as in step-by-step decoding with one mask
        mask.view(2, length, CPU)
    assert len(mask._views) == _REMEMBERED_VIEWS


def test_positions_that_change_in_place_are_seen() -> None:
    mask, positions = Mask.causal(), torch.tensor([0])
    assert evaluate(mask, 1, 1, 3, positions).sum() == 1
    positions += 1
    assert evaluate(mask, 1, 1, 3, positions).sum() == 2
    found = []
    for position in range(3):  # each tensor may get the address, and the id, of the one before
        found.append(int(evaluate(mask, 1, 1, 3, torch.tensor([position])).sum()))
    assert found == [1, 2, 3]


def test_a_mask_is_a_value() -> None:
    numbers, table = torch.tensor([1, 2]), torch.eye(2, dtype=torch.bool)
    rules = [Mask.padding(numbers), Mask.since(numbers), Mask.prefix(numbers), Mask.documents(numbers)]
    rules.append(Mask.boolean(table))
    before = [evaluate(rule, 2, 2, 2).clone() for rule in rules]
    numbers += 1
    numbers[0] = 0
    table.logical_not_()
    again = [evaluate(rule & rule, 2, 2, 2) for rule in rules]  # a new mask remembers nothing
    assert all(torch.equal(a, b) for a, b in zip(before, again, strict=True))


@pytest.mark.parametrize("kernel", ["explicit", "sdpa"])
def test_a_mask_of_inference_mode_serves_in_training(kernel: Any) -> None:
    mask = Mask.padding(torch.tensor([0, 2]))
    query = torch.randn(2, 1, 3, 4, requires_grad=True)
    with torch.inference_mode():
        attend(query, query, query, mask, kernel=kernel)
    attend(query, query, query, mask, kernel=kernel).sum().backward()
    assert query.grad is not None
    assert query.grad.isfinite().all()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mask.padding(torch.ones(2, 3, dtype=torch.long)), "Mask.padding wants lengths as a vector"),
        (lambda: Mask.padding(torch.tensor([1.0])), "Mask.padding wants lengths as a vector"),
        (lambda: Mask.padding(torch.tensor([True])), "Mask.padding wants lengths as a vector"),
        (lambda: Mask.since(torch.tensor(3)), "Mask.since wants starts as a vector"),
        (lambda: Mask.prefix(torch.tensor([0.5])), "Mask.prefix wants length as a vector"),
        (lambda: Mask.padding(torch.tensor([3, -1])), "lengths that are not negative, got -1"),
        (lambda: Mask.window(-1, 0), "left and right that are not negative, got left=-1"),
        (lambda: Mask.causal() & Mask.window(4, 2), "Mask.window got right=2, which contradicts the mask beside it"),
        (lambda: Mask.window(4, 2) & Mask.causal(), "Mask.window got right=2"),
        (
            lambda: (Mask.window(4, 2) & Mask.prefix(3)) & (Mask.causal() & Mask.prefix(2)),
            "Mask.window got right=2, .* right=0 goes with it",
        ),
        (lambda: Mask.documents(torch.zeros(1, 1, 1)), "Mask.documents wants"),
        (lambda: Mask.boolean(torch.ones(2, 2)), "Mask.boolean wants"),
        (lambda: Mask.boolean(torch.ones(2).bool()), "Mask.boolean wants"),
        (
            lambda: Mask.boolean(torch.ones(3, 2).bool()).view(2, 2, CPU).boolean(),
            "allowed of 3×2.*2 queries and 2 keys",
        ),
        (lambda: Mask.documents(torch.zeros(2)).view(3, 3, CPU).boolean(), "ids for 2 positions.*3 keys"),
        (lambda: Mask.causal().view(3, 3, CPU, torch.arange(2)), "positions of 3 queries"),
        (lambda: Mask.causal().view(1, 3, CPU, torch.tensor(2)), "positions of 1 queries"),
    ],
)
def test_errors_say_what_is_wanted(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_only_masks_combine() -> None:
    with pytest.raises(TypeError):
        Mask.causal() & torch.ones(2, 2).bool()  # type: ignore[operator]
    with pytest.raises(TypeError):
        Mask.causal() | None  # type: ignore[operator]

"""Multi-head attention against PyTorch's, and against itself with caches and shared memories."""

import copy
from collections.abc import Callable
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
    Cosine,
    KeyValueCache,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    Scoring,
    ShawPositions,
    T5Bias,
    TopK,
    TransformerXLPositions,
    entmax15,
)
from regard.attention.multihead import joint_linear

EXACT = {"atol": 1e-10, "rtol": 0.0}
D, H = 12, 3


def make(**changes: Any) -> MultiHeadAttention:
    """Attention in float64 with scaled weights and random biases."""
    attention = MultiHeadAttention(**{"d_model": D, "num_heads": H, **changes}).double()
    with torch.no_grad():
        for parameter in attention.parameters():
            parameter.copy_(torch.randn_like(parameter) * (2 * D**-0.5 if parameter.dim() > 1 else 1.0))
    return attention


def torch_twin(ours: MultiHeadAttention) -> nn.MultiheadAttention:
    theirs = nn.MultiheadAttention(D, H, bias=ours.out.bias is not None, batch_first=True, dtype=torch.float64)
    projections = (ours.query, ours.key, ours.value)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([p.weight for p in projections]))
        theirs.out_proj.weight.copy_(ours.out.weight)
        if ours.out.bias is not None:
            theirs.in_proj_bias.copy_(torch.cat([p.bias for p in projections]))  # type: ignore[union-attr]
            theirs.out_proj.bias.copy_(ours.out.bias)
    return theirs  # in training mode, without the fast path of evaluation


def randn(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["self", "self, padded", "self, causal", "cross", "cross, padded"])
def test_equals_pytorch(kind: str, bias: bool) -> None:
    ours = make(bias=bias)
    theirs = torch_twin(ours)
    x = randn(2, 5, D)
    memory = randn(2, 7, D) if "cross" in kind else x
    lengths = torch.tensor([3, memory.shape[1]])
    mask, masks = None, {}
    if "padded" in kind:
        mask = Mask.padding(lengths)
        masks = {"key_padding_mask": torch.arange(memory.shape[1])[None] >= lengths[:, None]}
    elif "causal" in kind:
        mask = Mask.causal()
        masks = {"attn_mask": torch.ones(5, 5).triu(1).bool()}
    projected = ours.project_memory(memory) if "cross" in kind else None
    output = ours(x, projected, mask)
    expected, expected_weights = theirs(x, memory, memory, average_attn_weights=False, **masks)
    torch.testing.assert_close(output, expected, **EXACT)
    torch.testing.assert_close(ours.weights(x, projected, mask), expected_weights, **EXACT)

    probe = torch.randn_like(output)
    output.backward(probe)
    gradients = [x.grad, memory.grad, ours.out.weight.grad]
    projections = torch.cat([p.weight.grad for p in (ours.query, ours.key, ours.value)])  # type: ignore[misc]
    x.grad = memory.grad = None
    expected.backward(probe)
    for found, wanted in zip(
        [*gradients, projections],
        [x.grad, memory.grad, theirs.out_proj.weight.grad, theirs.in_proj_weight.grad],
        strict=True,
    ):
        torch.testing.assert_close(found, wanted, **EXACT)


@settings(deadline=None)  # the first call loads things
@given(*(st.integers(1, 5) for _ in range(5)), st.booleans())
def test_widths_of_heads_are_free(
    num_heads: int, head_dim: int, value_dim: int, num_queries: int, num_keys: int, cross: bool
) -> None:
    """The equations of section 3.2.2, head by head."""
    attention = make(num_heads=num_heads, head_dim=head_dim, value_dim=value_dim)
    x, memory = randn(2, num_queries, D), randn(2, num_keys, D)
    source = memory if cross else x
    heads = []
    for i in range(num_heads):
        keys, values = slice(i * head_dim, (i + 1) * head_dim), slice(i * value_dim, (i + 1) * value_dim)
        query, key, value = attention.query(x)[..., keys], attention.key(source)[..., keys], attention.value(source)
        scores = query @ key.transpose(1, 2) / head_dim**0.5
        heads.append(torch.softmax(scores, dim=-1) @ value[..., values])
    expected = attention.out(torch.cat(heads, dim=-1))
    projected = attention.project_memory(memory) if cross else None
    torch.testing.assert_close(attention(x, projected), expected, **EXACT)


@pytest.mark.parametrize(
    ("kind", "rotary"), [("self", False), ("self", True), ("cross", False), ("cross, shared", False)]
)
def test_weights_are_those_that_forward_uses(kind: str, rotary: bool) -> None:
    attention = make(scoring=Scoring(position=RotaryPositions(D // H) if rotary else None))
    x = randn(4, 3, D)
    mask = Mask.causal() & Mask.boolean(torch.rand(3, 3) < 0.7)
    positions = torch.randint(0, 50, (4, 3))
    memory, value = None, attention.project_memory(x)[1]
    if kind != "self":
        memory = attention.project_memory(randn(2 if "shared" in kind else 4, 6, D))
        value = memory[1].repeat_interleave(4 // len(memory[1]), dim=0)
        mask = Mask.window(2, 2)
    weights = attention.weights(x, memory, mask, positions=positions)
    assert weights.shape == (4, H, 3, value.shape[2])
    expected = attention.out((weights @ value).transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, memory, mask, positions=positions), expected, **EXACT)
    weights_without, default = attention.weights(x, memory, mask), torch.arange(3)
    torch.testing.assert_close(weights_without, attention.weights(x, memory, mask, positions=default), **EXACT)


SHARED_MASKS = {
    "none": None,
    "padding": Mask.padding(torch.tensor([2, 6])),
    "causal": Mask.causal(),
    "window & padding": Mask.window(3, 0) & Mask.padding(torch.tensor([4, 6])),
}


@pytest.mark.parametrize("num_queries", [1, 3])
@pytest.mark.parametrize("kind", SHARED_MASKS)
def test_rows_that_share_a_memory(kind: str, num_queries: int) -> None:
    """A memory row serves consecutive rows just as copies of it would."""
    attention, mask = make(), SHARED_MASKS[kind]
    x, memory = randn(6, num_queries, D), randn(2, 6, D)
    key, value = attention.project_memory(memory)
    found = attention(x, (key, value), mask)
    for b in range(6):
        alone = attention(x[b : b + 1], (key[b // 3, None], value[b // 3, None]), _row(kind, b // 3))
        torch.testing.assert_close(found[b : b + 1], alone, **EXACT)


def _row(kind: str, row: int) -> Mask | None:
    if "padding" not in kind:
        return SHARED_MASKS[kind]
    lengths = {"padding": [2, 6], "window & padding": [4, 6]}[kind]
    padding = Mask.padding(torch.tensor(lengths[row : row + 1]))
    return padding if kind == "padding" else Mask.window(3, 0) & padding


@pytest.mark.parametrize("rows", [0, 4, 8])
def test_rows_that_cannot_share_a_memory(rows: int) -> None:
    attention = make()
    with pytest.raises(ValueError, match=f"6 rows cannot share a memory of {rows} rows evenly"):
        attention(randn(6, 1, D), attention.project_memory(torch.ones(rows, 2, D).double()))


SCORINGS: dict[str, Callable[[], Scoring]] = {
    "none": Scoring,
    "rotary": lambda: Scoring(position=RotaryPositions(D // H)),
    "Shaw": lambda: Scoring(position=ShawPositions(D // H, max_distance=2)),
    "Transformer-XL": lambda: Scoring(position=TransformerXLPositions(D, H, D // H)),
    "T5": lambda: Scoring(position=T5Bias(H, bidirectional=False, num_buckets=4, max_distance=5)),
    "ALiBi": lambda: Scoring(position=ALiBi(H)),
    "span": lambda: Scoring(span=AdaptiveSpan(H, 6, ramp=2)),
    "entmax, additive": lambda: Scoring(Additive(H, D // H), entmax15),
    "cosine, top k": lambda: Scoring(Cosine(H), TopK(2), RotaryPositions(D // H, fraction=0.5)),
}


@pytest.mark.parametrize("window", [None, 0, 3])
@pytest.mark.parametrize("kind", SCORINGS)
def test_a_cache_gives_what_the_whole_pass_gives(kind: str, window: int | None) -> None:
    """Also one that forgets what a window hides, and where rows began in different columns."""
    attention = make(scoring=SCORINGS[kind](), value_dim=5, num_kv_heads=1).requires_grad_(False)
    x, starts = randn(2, 60, D).detach(), torch.tensor([0, 2])
    rule = Mask.causal() if window is None else Mask.causal() & Mask.window(window, 0)
    whole = attention(x, mask=rule & Mask.since(starts), positions=torch.arange(60))
    cache = KeyValueCache.empty(2, 1, 60, D // H, 5, dtype=x.dtype, device=x.device, window=window)
    start = 0
    for width in (1, 3, 1, 25, 2, *[1] * 28):  # several columns at a time, too
        now = slice(start, start + width)
        positions = torch.arange(start, start + width)
        output = attention(x[:, now], mask=rule & Mask.since(starts), positions=positions, cache=cache)
        torch.testing.assert_close(output, whole[:, now], **EXACT)
        start += width
    assert start == cache.used == 60
    if window is not None:
        assert cache.capacity <= max(2 * window + 16, window + 25)


@pytest.mark.parametrize("first", [0, 2])
def test_a_bounded_cache_counts_from_the_first_column(first: int) -> None:
    """As a running batch does: its columns are renumbered, and rows are moved."""
    attention = make(scoring=SCORINGS["T5"]()).requires_grad_(False)
    x, rule = randn(3, 70, D).detach(), Mask.causal() & Mask.window(4, 0)
    whole = attention(x[:, first:], mask=rule)
    cache = KeyValueCache.empty(3, H, 8, D // H, D // H, dtype=x.dtype, device=x.device, window=4)
    attention(x[:, :first], mask=rule, cache=cache) if first else None
    dropped, rows = 0, torch.arange(3)
    for column in range(first, 70):
        if column in (9, 30, 41):
            cache.make_room(first - dropped if dropped < first else column - dropped - 6, 100)
            dropped = first if dropped < first else column - 6
        if column in (20, 50):
            rows = rows[[2, 0, 1]]
            cache.select(torch.tensor([2, 0, 1]), first=max(0, first - dropped))
        output = attention(x[rows, column : column + 1], mask=rule, cache=cache, first=max(0, first - dropped))
        torch.testing.assert_close(output[:, 0], whole[rows, column - first], **EXACT)
    assert cache.capacity <= 24


@pytest.mark.parametrize("kind", SCORINGS)
def test_a_past_is_attended_to_without_gradient(kind: str) -> None:
    """Two segments give what one pass gives (one layer), and no gradient reaches the first."""
    attention = make(scoring=SCORINGS[kind]())
    x, past = randn(2, 4, D), randn(2, 3, D)
    whole = attention(torch.cat([past, x], dim=1), mask=Mask.causal())[:, 3:]
    found = attention(x, mask=Mask.causal(), past=past)
    torch.testing.assert_close(found, whole, **EXACT)
    positions = torch.tensor([[5, 6, 7, 8], [3, 4, 5, 6]])
    torch.testing.assert_close(attention(x, mask=Mask.causal(), past=past, positions=positions), whole, **EXACT)
    found.sum().backward()
    assert x.grad is not None
    assert past.grad is None


def test_a_past_must_fit() -> None:
    attention = make(scoring=SCORINGS["rotary"]())
    x = randn(2, 4, D)
    cache = KeyValueCache.empty(2, H, 9, D // H, D // H, dtype=x.dtype, device=x.device)
    with pytest.raises(ValueError, match="give a past or a cache, not both"):
        attention(x, past=x, cache=cache)
    with pytest.raises(ValueError, match="give a memory or a past, not both"):
        attention(x, attention.project_memory(x), past=x)
    with pytest.raises(ValueError, match=r"is B×M×D, got \(1, 4, 12\)"):
        attention(x, past=x[:1])
    with pytest.raises(ValueError, match="begin at 2, too low for a past of 4"):
        attention(x, past=x, positions=torch.arange(2, 6))


@pytest.mark.parametrize("kind", ["self", "cross"])
def test_outputs_of_heads_add_up(kind: str) -> None:
    attention = make(num_heads=6, head_dim=2, num_kv_heads=3, value_dim=5, out_dim=7, memory_dim=4)
    x, mask = randn(2, 5, D), Mask.window(1, 1)
    if kind == "self":
        attention = make(num_heads=6, head_dim=2, num_kv_heads=3, value_dim=5, out_dim=7)
    memory = attention.project_memory(randn(2, 5, 4)) if kind == "cross" else None
    by_head = attention.head_outputs(x, memory, mask)
    assert by_head.shape == (2, 5, 6, 7)
    torch.testing.assert_close(by_head.sum(2) + attention.out.bias, attention(x, memory, mask), **EXACT)


@pytest.mark.parametrize("num_kv_heads", [1, 2, 6])
def test_grouped_queries_are_repeated_keys(num_kv_heads: int) -> None:
    """Ainslie et al. 2023: as if each head of keys stood there H / G times."""
    grouped, whole = make(num_heads=6, head_dim=4, num_kv_heads=num_kv_heads), make(num_heads=6, head_dim=4)
    with torch.no_grad():
        for name in ("query", "out", "key", "value"):
            for kind in ("weight", "bias"):
                given = getattr(grouped, name).get_parameter(kind)
                if name in ("key", "value"):
                    given = given.unflatten(0, (num_kv_heads, 4)).repeat_interleave(6 // num_kv_heads, dim=0)
                    given = given.flatten(0, 1)
                getattr(whole, name).get_parameter(kind).copy_(given)
    x = randn(2, 5, D)
    torch.testing.assert_close(grouped(x, mask=Mask.causal()), whole(x, mask=Mask.causal()), **EXACT)
    assert grouped.weights(x).shape == (2, 6, 5, 5)
    torch.testing.assert_close(grouped.weights(x), whole.weights(x), **EXACT)


def test_heads_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="num_kv_heads 2 does not divide num_heads 3"):
        make(num_kv_heads=2)


@pytest.mark.parametrize("kind", ["rotary", "Shaw", "T5", "span"])
def test_positions_have_no_place_in_a_memory(kind: str) -> None:
    attention, x = make(scoring=SCORINGS[kind]()), randn(1, 2, D)
    with pytest.raises(ValueError, match="make the cross-attention without position and span"):
        attention(x, attention.project_memory(x))


def test_a_memory_or_a_cache() -> None:
    attention, x = make(), randn(1, 1, D)
    cache = KeyValueCache.empty(1, H, 2, D // H, D // H, dtype=x.dtype, device=x.device)
    with pytest.raises(ValueError, match="a memory or a cache, not both"):
        attention(x, attention.project_memory(x), cache=cache)


def test_the_width_of_a_head_must_be_known() -> None:
    with pytest.raises(ValueError, match="d_model 10 is not a multiple of num_heads 3; give head_dim"):
        MultiHeadAttention(10, 3)


def test_dropout_is_on_the_weights() -> None:
    attention = make(dropout=0.5)
    x = randn(2, 30, D)
    assert not torch.equal(attention(x), attention(x))
    attention.eval()
    torch.testing.assert_close(attention(x), torch_twin(attention)(x, x, x)[0], **EXACT)


# ---- one product for several layers


def linears(biases: str) -> list[nn.Linear]:
    return [nn.Linear(D, 2 + i, bias=flag == "1").double() for i, flag in enumerate(biases)]


@pytest.mark.parametrize("biases", ["111", "000", "101"])
@pytest.mark.parametrize("training", [True, False])
def test_joint_product_is_that_of_each_layer(biases: str, training: bool) -> None:
    layers = linears(biases)
    x = randn(2, 3, D).detach().requires_grad_(training)
    found, expected = joint_linear(x, layers), [layer(x) for layer in layers]
    parameters = [p for layer in layers for p in layer.parameters()]
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    gradients = [torch.autograd.grad(sum(y.square().sum() for y in out), parameters) for out in (found, expected)]  # type: ignore[arg-type]
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_joint_product_calls_layers_that_somebody_watches_or_changed() -> None:
    x, layers = randn(1, 2, D), linears("111")
    seen = []
    handle = layers[1].register_forward_hook(lambda module, inputs, output: seen.append(output))
    found = joint_linear(x, layers)
    assert len(seen) == 1
    handle.remove()

    class Doubled(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            return 2 * super().forward(input)

    twice = Doubled(D, 3).double()
    twice.load_state_dict(copy.deepcopy(layers[1].state_dict()))
    torch.testing.assert_close(joint_linear(x, [layers[0], twice, layers[2]])[1], 2 * found[1], **EXACT)

"""Position tables against their formulas, rotations against Llama's and against their law."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from regard.attention import LearnedPositions, RotaryPositions, SinusoidalPositions
from regard.attention.positions import sinusoidal_table
from regard.base.errors import ModelError

EXACT = {"atol": 1e-10, "rtol": 0.0}


@pytest.mark.parametrize("d_model", [1, 2, 6, 7])
def test_sinusoidal_table_is_the_formula(d_model: int) -> None:
    table = sinusoidal_table(30, d_model)
    for position in range(30):
        for column in range(d_model):
            angle = position / 10_000 ** (2 * (column // 2) / d_model)
            expected = math.cos(angle) if column % 2 else math.sin(angle)
            assert float(table[position, column]) == pytest.approx(expected, abs=1e-12)


def test_sinusoidal_positions_grow_on_demand() -> None:
    positions = SinusoidalPositions(6, num_positions=4).double()
    expected = sinusoidal_table(100, 6)
    torch.testing.assert_close(positions.slice(3), expected[:3], **EXACT)
    torch.testing.assert_close(positions.slice(9, 5), expected[5:9], **EXACT)
    numbers = torch.tensor([[0, 50], [7, 3]])
    torch.testing.assert_close(positions(numbers), expected[numbers], **EXACT)
    assert len(positions.table) == 51
    assert not positions.state_dict()


def test_rotary_positions_grow_on_demand() -> None:
    short, long = RotaryPositions(4, num_positions=2).double(), RotaryPositions(4, num_positions=99).double()
    x = torch.randn(2, 3, 7, 4, dtype=torch.float64)
    torch.testing.assert_close(short(x), long(x), **EXACT)
    positions = torch.randint(0, 90, (2, 7))
    torch.testing.assert_close(short(x, positions), long(x, positions), **EXACT)
    assert not short.state_dict()


MAKERS: list[Callable[[], nn.Module]] = [
    lambda: SinusoidalPositions(8, num_positions=20),
    lambda: RotaryPositions(8, num_positions=20),
]


@pytest.mark.parametrize("make", MAKERS, ids=["sinusoidal", "rotary"])
def test_tables_survive_what_happens_to_modules(make: Callable[[], nn.Module]) -> None:
    """A detour over bf16 loses nothing, and memory that was only promised is filled."""
    expected = dict(make().named_buffers())
    exact = dict(make().double().named_buffers())
    with torch.device("meta"):
        promised = make()
    promised.to_empty(device="cpu")
    moved = {"bf16 and back": make().bfloat16().float(), "promised": promised, "copied": copy.deepcopy(make())}
    for kind, module in moved.items():
        for name, table in module.named_buffers():
            assert torch.equal(table, expected[name]), (kind, name)
            torch.testing.assert_close(table.double(), exact[name], atol=1e-7, rtol=0)
    assert all(table.dtype == torch.bfloat16 for table in make().bfloat16().buffers())
    angle = exact["cos" if "cos" in exact else "table"][19, -1 if "cos" in exact else 1]
    frequency = 10_000**-0.75 if "cos" in exact else 1.0
    assert float(angle) == pytest.approx(math.cos(19 * frequency), abs=1e-15)


def test_tables_that_grew_in_inference_mode_serve_in_training() -> None:
    rotary, sinusoidal = RotaryPositions(4, num_positions=2), SinusoidalPositions(4, num_positions=2)
    x = torch.randn(1, 1, 5, 4)
    with torch.inference_mode():
        rotary(x)
        sinusoidal.slice(5)
    x.requires_grad_()
    (rotary(x) * sinusoidal.slice(5)).sum().backward()
    assert x.grad is not None


def test_learned_positions() -> None:
    positions = LearnedPositions(4, 6)
    assert torch.equal(positions.slice(4, 1), positions.table[1:4])
    assert torch.equal(positions(torch.tensor([[5, 0]])), positions.table[torch.tensor([[5, 0]])])
    for ask in (lambda: positions.slice(7), lambda: positions(torch.tensor([2, 6]))):
        with pytest.raises(ModelError, match="position 6 asked for, but this model has 6 learned positions"):
            ask()


@settings(deadline=None)  # the first call loads things
@given(st.integers(0, 300), st.integers(0, 300), st.integers(0, 300), st.sampled_from([2, 4, 10]))
def test_rotated_scores_depend_on_distances_only(query_at: int, key_at: int, shift: int, width: int) -> None:
    rotary = RotaryPositions(width).double()
    query, key = torch.randn(2, 1, 1, 1, width, dtype=torch.float64)

    def score(by: int) -> torch.Tensor:
        return (rotary(query, torch.tensor([query_at + by])) * rotary(key, torch.tensor([key_at + by]))).sum()

    torch.testing.assert_close(score(0), score(shift), **EXACT)


def test_rotations_keep_lengths_and_begin_with_none() -> None:
    rotary = RotaryPositions(6).double()
    x = torch.randn(2, 3, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(rotary(x).norm(dim=-1), x.norm(dim=-1), **EXACT)
    assert torch.equal(rotary(x)[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(rotary(x), rotary(x, torch.arange(5)), **EXACT)
    ragged = torch.stack([torch.arange(5), torch.arange(5) + 3])
    torch.testing.assert_close(rotary(x, ragged)[1], rotary(x[1:], torch.arange(3, 8))[0], **EXACT)


def test_rotations_are_those_of_llama() -> None:
    llama = pytest.importorskip("transformers.models.llama.modeling_llama")
    config = llama.LlamaConfig(hidden_size=24, num_attention_heads=3, head_dim=8)
    query, key = torch.randn(2, 2, 3, 5, 8, dtype=torch.float64)
    positions = torch.randint(0, 400, (2, 5))
    rotary = RotaryPositions(8).double()
    found = rotary(query, positions), rotary(key, positions)
    # their tables are computed in float32
    cos, sin = llama.LlamaRotaryEmbedding(config)(query, positions)
    torch.testing.assert_close(rotary.cos[positions], cos, atol=1e-4, rtol=0)
    torch.testing.assert_close(rotary.sin[positions], sin, atol=1e-4, rtol=0)
    for a, b in zip(found, llama.apply_rotary_pos_emb(query, key, cos, sin), strict=True):
        torch.testing.assert_close(a, b, atol=1e-3, rtol=0)
    # the rotation itself, with the same tables, to the last digits
    cos, sin = rotary.cos[positions], rotary.sin[positions]
    for a, b in zip(found, llama.apply_rotary_pos_emb(query, key, cos, sin), strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_rotations_need_pairs() -> None:
    with pytest.raises(ValueError, match="even head width, got 5"):
        RotaryPositions(5)

"""Looking changes nothing, and sees what was there."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.attention import (
    Additive,
    ALiBi,
    KeyValueCache,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    Scoring,
    T5Bias,
    entmax15,
    record,
)

EXACT = {"atol": 1e-10, "rtol": 0.0}
D, H = 12, 4
SCORINGS: dict[str, Callable[[], Scoring]] = {
    "plain": Scoring,
    "rotary": lambda: Scoring(position=RotaryPositions(D // H + 1, fraction=0.9)),
    "T5": lambda: Scoring(position=T5Bias(H, bidirectional=True)),
    "ALiBi, entmax": lambda: Scoring(normaliser=entmax15, position=ALiBi(H)),
    "additive": lambda: Scoring(Additive(H, D // H + 1)),
}


class Two(nn.Module):
    """Self-attention and cross-attention one after the other."""

    def __init__(self, scoring: Scoring):
        super().__init__()
        widths: dict[str, Any] = {"head_dim": D // H + 1, "num_kv_heads": 2}
        self.self_attention = MultiHeadAttention(D, H, scoring=scoring, **widths)
        self.cross_attention = MultiHeadAttention(D, H, **widths)

    def forward(self, x: Tensor, memory: Tensor, mask: Mask, memory_mask: Mask) -> Tensor:
        x = self.self_attention(x, mask=mask)
        return self.cross_attention(x, self.cross_attention.project_memory(memory), memory_mask)


def make(kind: str) -> tuple[Two, tuple[Any, ...]]:
    model = Two(SCORINGS[kind]()).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    x = torch.randn(4, 5, D, dtype=torch.float64, requires_grad=True)
    memory = torch.randn(2, 7, D, dtype=torch.float64)  # each row for two of x
    return model, (x, memory, Mask.causal() & Mask.window(3, 0), Mask.padding(torch.tensor([4, 7])))


@pytest.mark.parametrize("kind", SCORINGS)
def test_looking_changes_nothing_and_sees_the_weights(kind: str) -> None:
    model, given = make(kind)
    before = model(*given)
    with record(model) as seen:
        after = model(*given)
    assert torch.equal(before, after)
    assert seen.names == list(seen) == ["self_attention", "cross_attention"]
    x, memory, mask, memory_mask = given
    middle = model.self_attention(x, mask=mask)
    expected = {
        "self_attention": model.self_attention.weights(x, mask=mask),
        "cross_attention": model.cross_attention.weights(
            middle, model.cross_attention.project_memory(memory), memory_mask
        ),
    }
    for name, whole in expected.items():
        look = seen[name]
        assert look.shape == whole.shape
        torch.testing.assert_close(look.weights(), whole, **EXACT)
        torch.testing.assert_close(look.weights(heads=2), whole[:, 2:3], **EXACT)
        torch.testing.assert_close(look.weights(queries=slice(1, 4), heads=[3, 0]), whole[:, [3, 0], 1:4], **EXACT)
        some = look.weights(rows=[-1, 1], queries=[4, 2])
        torch.testing.assert_close(some, whole[[3, 1]][:, :, [4, 2]], **EXACT)
    model(*given)
    assert len(seen.passes("self_attention")) == 1  # afterwards nothing is recorded
    assert model.self_attention.watcher is None


def test_weights_can_be_differentiated() -> None:
    model, given = make("plain")
    with record(model, "self_*") as seen:
        model(*given)
    assert seen.names == ["self_attention"]
    weights = seen["self_attention"].weights(rows=1, heads=1, queries=4)
    (gradient,) = torch.autograd.grad(weights[0, 0, 0, 3], given[0])
    assert (gradient[1, 1:] != 0).any()
    assert (gradient[[0, 2, 3]] == 0).all()
    assert not seen["self_attention"].weights(differentiable=False).requires_grad


def test_each_step_of_a_decoding_is_a_pass() -> None:
    model, (x, *_) = make("T5")
    attention = model.self_attention
    cache = KeyValueCache.empty(4, 2, 9, attention.head_dim, attention.head_dim, dtype=x.dtype, device=x.device)
    whole = attention.weights(x, mask=Mask.causal())
    with torch.no_grad(), record(model) as seen:
        for column in range(5):
            attention(x[:, column : column + 1], mask=Mask.causal(), cache=cache)
        cache.select(torch.tensor([1, 0, 3, 2]))  # beams that change places change no record
    for column, look in enumerate(seen.passes("self_attention")):
        torch.testing.assert_close(look.weights()[:, :, 0], whole[:, :, column, : column + 1], **EXACT)
    seen.clear()
    assert not seen.passes("self_attention")


def test_nothing_grows_with_the_square_of_the_length() -> None:
    """What is kept are the tensors that were there anyway."""
    attention = MultiHeadAttention(D, H)
    x = torch.randn(1, 300, D)
    with torch.no_grad(), record(attention) as seen:
        attention(x, mask=Mask.causal())
    look = seen[""]
    assert look.query.numel() == look.key.numel() == 300 * D
    assert look.weights(queries=7, heads=0).shape == (1, 1, 1, 300)


def test_mistakes() -> None:
    model, given = make("plain")
    with pytest.raises(ValueError, match="Linear has no MultiHeadAttention to record"):
        record(nn.Linear(2, 2))
    with pytest.raises(ValueError, match=r"no attention is called 'cross_atention'. Did you mean 'cross_attention'\?"):
        record(model, "cross_atention")
    with record(model) as seen:
        pass
    with pytest.raises(KeyError, match="'self_attention' did not run while it was recorded"):
        seen["self_attention"]
    with pytest.raises(KeyError, match=r"was not recorded\. Did you mean 'self_attention'"):
        seen["self_atention"]
    with record(model) as seen:
        model(*given)
    with pytest.raises(IndexError, match="there is no head 4: this pass had 4"):
        seen["self_attention"].weights(heads=4)


def test_an_error_ends_the_recording() -> None:
    model, _ = make("plain")
    with pytest.raises(RuntimeError, match="stop"), record(model):
        raise RuntimeError("stop")
    assert model.cross_attention.watcher is None

"""The fused cross-entropy against PyTorch's, value and gradients."""

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from regard.data.batch import Batch, collate
from regard.model import ModelConfig, Transformer, loss
from regard.model.loss import cross_entropy

EXACT = {"atol": 1e-10, "rtol": 1e-12}
TOKENS, D, W = 11, 5, 13


def problem(tokens: int = TOKENS, vocab: int = W, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, output projection and targets; logits have a standard deviation of about 4."""
    hidden = 2 * torch.randn(tokens, D)
    weight = torch.randn(vocab, D)
    leaves = [t.to(dtype).requires_grad_() for t in (hidden, weight)]
    return leaves[0], leaves[1], torch.randint(vocab, (tokens,))


def plain(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    return F.cross_entropy(hidden @ weight.t(), targets, reduction="sum", label_smoothing=smoothing)


def compare(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float, **tolerance: float) -> None:
    """Value and gradients, scaled as in training, against float64."""
    found = cross_entropy(hidden, weight, targets, smoothing)
    gradients = torch.autograd.grad(found / 7, [hidden, weight])
    exact = [t.detach().double().requires_grad_() for t in (hidden, weight)]
    expected = plain(*exact, targets, smoothing)
    torch.testing.assert_close(found.double(), expected, **tolerance)
    for a, b, leaf in zip(gradients, torch.autograd.grad(expected / 7, exact), (hidden, weight), strict=True):
        assert a.dtype == leaf.dtype
        torch.testing.assert_close(a.double(), b, **tolerance)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [
        (torch.float64, EXACT),
        (torch.float32, {"atol": 1e-5, "rtol": 1e-5}),
        (torch.bfloat16, {"atol": 8e-2, "rtol": 2e-2}),
    ],
    ids=str,
)
def test_equals_pytorch(dtype: torch.dtype, tolerance: dict[str, float], smoothing: float) -> None:
    compare(*problem(dtype=dtype), smoothing, **tolerance)


def test_kinds_of_numbers() -> None:
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        assert cross_entropy(*problem(dtype=dtype)).dtype == wide


@settings(deadline=None, max_examples=50)  # the first call loads things
@given(st.integers(0, 6), st.integers(1, 6), st.sampled_from([0.0, 0.3]))
def test_any_size(tokens: int, vocab: int, smoothing: float) -> None:
    compare(*problem(tokens, vocab), smoothing, **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_gradcheck(smoothing: float) -> None:
    hidden, weight, targets = problem()
    assert torch.autograd.gradcheck(lambda h, w: cross_entropy(h, w, targets, smoothing), (hidden, weight))


@pytest.mark.parametrize("tokens", [1, 255, 256, 257, 512, 600])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_chunks(tokens: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    """The smallest chunk has 256 rows."""
    hidden, weight, targets = problem(tokens, dtype=dtype)
    whole = cross_entropy(hidden, weight, targets, 0.1)
    expected = torch.autograd.grad(whole, [hidden, weight])
    monkeypatch.setattr(loss, "CHUNK_ELEMENTS", 1)
    chunked = cross_entropy(hidden, weight, targets, 0.1)
    tolerance = EXACT if dtype == torch.float64 else {"atol": 2e-1, "rtol": 1e-2}
    torch.testing.assert_close(chunked, whole, **tolerance)
    for a, b in zip(torch.autograd.grad(chunked, [hidden, weight]), expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_a_probability_that_underflows(dtype: torch.dtype) -> None:
    """The right piece is 2,000 below the best: its probability is 0, its logarithm is not."""
    hidden = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    weight = torch.tensor([[0.0, 1.0], [2000.0, 1.0], [1000.0, -6.0]], dtype=dtype, requires_grad=True)
    targets = torch.tensor([0, 2])
    found = cross_entropy(hidden, weight, targets)
    assert float(found.detach()) == pytest.approx(2000 + 7 + float(torch.tensor(2 + torch.e**-7).log()), rel=1e-3)
    for gradient in torch.autograd.grad(found, [hidden, weight]):
        assert gradient.isfinite().all()
    if dtype in (torch.float64, torch.float32):
        compare(hidden, weight, targets, 0.2, atol=1e-3, rtol=1e-6)


def test_float16_probabilities_are_exact_though_few_digits_are_left() -> None:
    """p = e^-15 has three bits in float16: taking its logarithm would be wrong by some percent."""
    hidden, weight = torch.ones(1, 1).half(), torch.tensor([[0.0], [15.0]]).half()
    assert float(cross_entropy(hidden, weight, torch.tensor([0]))) == pytest.approx(15, abs=1e-3)


@pytest.mark.parametrize(("of_hidden", "of_weight"), list(itertools.product([True, False], repeat=2)))
def test_only_the_wanted_gradients(of_hidden: bool, of_weight: bool) -> None:
    hidden, weight, targets = problem()
    expected = torch.autograd.grad(plain(hidden, weight, targets, 0.1), [hidden, weight])
    leaves = [hidden.detach().requires_grad_(of_hidden), weight.detach().requires_grad_(of_weight)]
    found = cross_entropy(*leaves, targets, 0.1)
    assert found.requires_grad == (of_hidden or of_weight)
    if found.requires_grad:
        found.backward()
    for leaf, gradient in zip(leaves, expected, strict=True):
        if leaf.requires_grad:
            torch.testing.assert_close(leaf.grad, gradient, **EXACT)
        else:
            assert leaf.grad is None


def test_no_second_derivative() -> None:
    hidden, weight, targets = problem()
    gradient = torch.autograd.grad(cross_entropy(hidden, weight, targets).square(), hidden, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_errors_say_what_is_wanted() -> None:
    hidden, weight, targets = problem()
    with pytest.raises(ValueError, match="targets are pieces below 13, got 13"):
        cross_entropy(hidden, weight, torch.full((TOKENS,), W))
    with pytest.raises(ValueError, match="leave padding out instead of marking it"):
        cross_entropy(hidden, weight, targets.index_fill(0, torch.tensor([3]), -100))
    with pytest.raises(ValueError, match="one target a row"):
        cross_entropy(hidden, weight, targets[:-1])
    with pytest.raises(ValueError, match="one target a row"):
        cross_entropy(hidden[None], weight, targets)


# ---- in a model

PAD, BOS, EOS = 0, 2, 3


def make_model(tie: Any = "all") -> Transformer:
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
    config = ModelConfig(W, W, **sizes, tie=tie, dropout=0.0)  # type: ignore[arg-type]
    model = Transformer(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def make_batch(lengths: list[tuple[int, int]]) -> Batch:
    sources, targets = ([torch.randint(4, W, (n,)).numpy() for n in side] for side in zip(*lengths, strict=True))
    return collate(sources, targets, pad_id=PAD, bos_id=BOS, eos_id=EOS)


def plain_model_loss(model: Transformer, batch: Batch, smoothing: float) -> Tensor:
    """Logits of the padded batch, and a loss that ignores padding."""
    memory, mask = model.encode(batch.source, batch.source_lengths)
    logits = model.logits(model.decode_full(batch.target_inputs, memory, mask))
    targets = torch.full(batch.target_inputs.shape, -100).flatten()
    targets[slice(None) if batch.target_index is None else batch.target_index] = batch.targets
    return F.cross_entropy(logits.flatten(0, 1), targets, ignore_index=-100, reduction="sum", label_smoothing=smoothing)


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
@pytest.mark.parametrize("lengths", [[(3, 4), (6, 1), (1, 6)], [(3, 3), (3, 3)], [(0, 0), (2, 5)]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_loss_of_a_model(tie: Any, lengths: list[tuple[int, int]], smoothing: float) -> None:
    """Padding counts for nothing, and a tied matrix gets the gradients of both its uses."""
    model, batch = make_model(tie), make_batch(lengths)
    parameters = list(model.parameters())
    found = model(batch, smoothing)
    gradients = torch.autograd.grad(found, parameters)
    expected = plain_model_loss(model, batch, smoothing)
    torch.testing.assert_close(found, expected, **EXACT)
    for a, b in zip(gradients, torch.autograd.grad(expected, parameters), strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    assert batch.num_tokens == sum(n + 1 for _, n in lengths)


def test_gradients_of_parts_add_up() -> None:
    """Micro-batches, padded differently, give the sum that the whole batch gives."""
    model, lengths = make_model(), [(3, 4), (6, 1), (1, 6), (2, 2)]
    sources = [torch.randint(4, W, (n,)).numpy() for n, _ in lengths]
    targets = [torch.randint(4, W, (n,)).numpy() for _, n in lengths]

    def add(rows: list[int]) -> int:
        batch = collate([sources[i] for i in rows], [targets[i] for i in rows], pad_id=PAD, bos_id=BOS, eos_id=EOS)
        model(batch, 0.1).backward()
        return batch.num_tokens

    whole = add([0, 1, 2, 3])
    expected = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    assert add([0, 2]) + add([3]) + add([1]) == whole
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[name], **EXACT)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_bias_equals_pytorch(smoothing: float) -> None:
    hidden, weight, targets = problem()
    bias = torch.randn(W, dtype=torch.float64, requires_grad=True)
    expected = F.cross_entropy(hidden @ weight.t() + bias, targets, reduction="sum", label_smoothing=smoothing)
    found = cross_entropy(hidden, weight, targets, smoothing, bias)
    torch.testing.assert_close(found, expected, **EXACT)
    leaves = [hidden, weight, bias]
    gradients = torch.autograd.grad(expected, leaves)
    for a, b in zip(torch.autograd.grad(found, leaves), gradients, strict=True):
        torch.testing.assert_close(a, b, **EXACT)
    alone = cross_entropy(hidden.detach(), weight.detach(), targets, smoothing, bias)
    torch.testing.assert_close(torch.autograd.grad(alone, bias)[0], gradients[2], **EXACT)


def test_targets_of_any_integer_type() -> None:
    hidden, weight, targets = torch.randn(6, 32), torch.randn(50, 32), torch.randint(0, 50, (6,))
    expected = cross_entropy(hidden, weight, targets, 0.1)
    for dtype in (torch.int32, torch.int16, torch.uint8):
        assert torch.equal(cross_entropy(hidden, weight, targets.to(dtype), 0.1), expected)

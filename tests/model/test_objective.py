import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from regard.attention.dropout import offsets_from
from regard.data.batch import Batch, collate
from regard.model import ModelConfig, Transformer
from regard.model.disagreement import disagreement
from regard.model.layers import kept
from regard.model.objective import Adversarial, CrossEntropy, RDrop, twice
from regard.model.transformer import Shifts

EXACT = {"rtol": 1e-10, "atol": 1e-10}
WORDS = 17


def make(**settings: object) -> Transformer:
    torch.manual_seed(1)
    usual = {"d_model": 12, "d_ff": 20, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(WORDS, WORDS, **{**usual, **settings})).double()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(autouse=True)
def _small_pools(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of real trainings take longer to draw than the tests."""
    monkeypatch.setattr("regard.attention.dropout.POOL_SIZE", 1 << 16)
    monkeypatch.setattr("regard.attention.dropout._pools", {})


@pytest.fixture
def batch() -> Batch:
    sources, targets = [[5, 6, 7, 8, 9], [10, 11], [12, 13, 14]], [[6, 5, 9], [11, 10, 12, 15], [14]]
    return collate(sources, targets, pad_id=0, bos_id=2, eos_id=3)


def gradients(loss: Tensor, model: Transformer) -> list[Tensor]:
    return list(torch.autograd.grad(loss, list(model.parameters()), allow_unused=True, materialize_grads=True))


def log_probabilities(model: Transformer, states: Tensor, batch: Batch) -> Tensor:
    """By the plain formula: tokens×W."""
    assert batch.target_index is not None
    return F.log_softmax(F.linear(states.flatten(0, 1)[batch.target_index], model.head.weight), dim=-1)


def test_the_plain_objective_is_the_plain_loss(batch: Batch) -> None:
    model = make()
    torch.testing.assert_close(model(batch, objective=CrossEntropy(0.1)), model(batch, 0.1), **EXACT)


@pytest.mark.parametrize("full", [False, True])
def test_twice_is_the_batch_and_again(batch: Batch, full: bool) -> None:
    if full:
        batch = collate([[5, 6], [7, 8]], [[6, 5], [9, 9]], pad_id=0, bos_id=2, eos_id=3)
        assert batch.target_index is None
    model = make()
    torch.testing.assert_close(model(twice(batch)), 2 * model(batch), **EXACT)
    assert twice(batch).num_tokens == 2 * batch.num_tokens


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_r_drop_is_half_of_the_papers_equation(batch: Batch, smoothing: float) -> None:
    """½ [CE₁ + CE₂ + α ½ (KL₁₂ + KL₂₁)] and its gradient, with dropout masks drawn alike."""
    model, alpha = make(dropout=0.3), 0.7
    with offsets_from(5):
        states = model.states(twice(batch))
    p, q = (log_probabilities(model, half, batch) for half in states.chunk(2))
    divergence = (
        F.kl_div(q, p, reduction="sum", log_target=True) + F.kl_div(p, q, reduction="sum", log_target=True)
    ) / 2
    plain = sum(F.nll_loss(side, batch.targets, reduction="sum") * (1 - smoothing) for side in (p, q))
    plain = plain - smoothing * sum(side.mean(-1).sum() for side in (p, q))
    expected = (plain + alpha * divergence) / 2
    assert divergence > 0.01  # the masks did differ
    with offsets_from(5):
        found = model(batch, objective=RDrop(smoothing, alpha))
    torch.testing.assert_close(found, expected, **EXACT)
    for one, other in zip(gradients(found, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def test_r_drop_without_dropout_is_the_usual_loss(batch: Batch) -> None:
    model = make()
    torch.testing.assert_close(model(batch, objective=RDrop(0.1, 5.0)), model(batch, 0.1), **EXACT)


def test_disagreement_in_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole or 64 tokens at a time, it is the plain formula, and so is its gradient."""
    shapes = (300, 12), (300, 12), (WORDS, 12), (WORDS,)
    leaves = [torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    one, other, weight, bias = leaves
    p, q = (F.log_softmax(F.linear(hidden, weight, bias), dim=-1) for hidden in (one, other))
    expected = ((p.exp() - q.exp()) * (p - q)).sum() / 2
    for chunk in (1 << 22, 1):
        monkeypatch.setattr("regard.model.disagreement.CHUNK_ELEMENTS", chunk)
        found = disagreement(*leaves)
        torch.testing.assert_close(found, expected, **EXACT)
        exact = torch.autograd.grad(expected, leaves, retain_graph=True)
        for a, b in zip(torch.autograd.grad(found, leaves), exact, strict=True):
            torch.testing.assert_close(a, b, **EXACT)


def test_embeddings_move_up_the_gradient(batch: Batch) -> None:
    """Each sentence pair by ``size``, source and target together, in the direction in which its loss grows fastest."""
    model, size = make(), 0.05
    seen: list[Shifts | None] = []

    class Watched(CrossEntropy):
        def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
            seen.append(shifts)
            return super().__call__(model, batch, shifts)

    found = model(batch, objective=Adversarial(Watched(0.1), size))
    moved = seen[1]
    assert moved is not None
    norms = sum(shift.square().sum((1, 2)) for shift in moved)
    assert isinstance(norms, Tensor)
    torch.testing.assert_close(norms.sqrt(), torch.full((3,), size, dtype=torch.float64), **EXACT)
    real = torch.arange(batch.source.shape[1])[None] < batch.source_lengths[:, None]
    assert not moved.source[~real].any()  # padding stays where it is
    # by differences: along the gradient the loss of each pair grows by size · ‖g‖, and no direction has more
    zeros = Shifts(*(torch.zeros_like(shift).requires_grad_() for shift in moved))
    clean = CrossEntropy(0.1)(model, batch, zeros)
    slope = torch.autograd.grad(clean, list(zeros))
    for shift, gradient in zip(moved, slope, strict=True):
        cosine = F.cosine_similarity(shift.flatten(1), gradient.flatten(1))
        torch.testing.assert_close(cosine, torch.ones(3, dtype=torch.float64), **EXACT)
    expected = (model(batch, 0.1) + CrossEntropy(0.1)(model, batch, moved)) / 2
    torch.testing.assert_close(found, expected, **EXACT)
    assert found > model(batch, 0.1)
    for one, other in zip(gradients(found, model), gradients(expected, model), strict=True):
        torch.testing.assert_close(one, other, **EXACT)  # r counts as a constant


def test_they_go_into_one_another(batch: Batch) -> None:
    model = make(dropout=0.2)
    with offsets_from(3):
        found = model(batch, objective=Adversarial(RDrop(0.1, 1.0), 0.1))
    assert found.isfinite()
    assert all(g.isfinite().all() for g in gradients(found, model))


@pytest.mark.parametrize("rate", [0.25, 0.6])
def test_layers_are_left_out_at_their_rate(rate: float) -> None:
    """In training only; a pass without a layer is a pass through the others."""
    model = make(layer_drop=rate)
    with offsets_from(1):
        count = sum(len(kept(model.encoder, model)) for _ in range(1000))
    assert abs(count / 2000 - (1 - rate)) < 4 * (rate * (1 - rate) / 2000) ** 0.5
    assert len(kept(model.decoder, model.eval())) == 2


def test_without_layers_gradients_are_missing_and_no_harm(batch: Batch) -> None:
    model = make(layer_drop=0.99)
    with offsets_from(1):
        found = model(batch)
    whole = make(layer_drop=0.0)
    embedded = whole.encoder_norm(whole.source_embedder(batch.source))
    states = whole.decoder_norm(whole.target_embedder(batch.target_inputs))
    assert embedded.shape[1] == batch.source.shape[1]
    log_p = log_probabilities(whole, states, batch)
    torch.testing.assert_close(found, F.nll_loss(log_p, batch.targets, reduction="sum"), **EXACT)

import torch
from torch import nn
from torch.nn import functional as F

from regard.data.batch import collate
from regard.model import ModelConfig, Transformer
from regard.model.folder import quantise_rows
from regard.model.rounded import RoundedEmbedding, RoundedLinear, round_products, round_rows

EXACT = {"rtol": 1e-12, "atol": 1e-12}


def test_rows_take_255_levels_and_gradients_go_through() -> None:
    x = torch.randn(5, 40, dtype=torch.float64, requires_grad=True)
    rounded = round_rows(x)
    scale = x.detach().abs().amax(1, keepdim=True) / 127
    torch.testing.assert_close(rounded, torch.round(x / scale) * scale, **EXACT)
    assert ((rounded - x).abs() <= scale / 2 + 1e-12).all()
    weight = torch.randn_like(x)
    (gradient,) = torch.autograd.grad((rounded * weight).sum(), [x])
    torch.testing.assert_close(gradient, weight, **EXACT)
    assert not round_rows(torch.zeros(2, 3)).any()


def test_weights_are_those_that_are_stored() -> None:
    weight = torch.randn(30, 50)
    ints, scale = quantise_rows(weight)
    torch.testing.assert_close(round_rows(weight), ints.float() * scale[:, None])


def test_a_layer_multiplies_integers() -> None:
    """x̂ Ŵᵀ + b is the integer product times both scales; its gradient is that of the plain product at the rounded."""
    layer = nn.Linear(24, 7).double()
    x = torch.randn(4, 24, dtype=torch.float64, requires_grad=True)
    round_products(layer)
    assert type(layer) is RoundedLinear
    (a, s), (b, t) = (quantise64(value) for value in (x.detach(), layer.weight.detach()))
    torch.testing.assert_close(layer(x), (a @ b.T) * s * t.T + layer.bias, **EXACT)
    found = torch.autograd.grad(layer(x).square().sum(), [x, layer.weight])
    rounded_x, rounded_w = (a * s).requires_grad_(), (b * t).requires_grad_()
    loss = F.linear(rounded_x, rounded_w, layer.bias).square().sum()
    for one, other in zip(found, torch.autograd.grad(loss, [rounded_x, rounded_w]), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


def quantise64(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale = x.abs().amax(1, keepdim=True) / 127
    return torch.round(x / scale), scale


def test_a_whole_model_rounds_and_stays_the_same_parameters() -> None:
    """Every product is rounded, that with the vocabulary too; and what is rounded already changes no more."""
    torch.manual_seed(0)
    model = Transformer(
        ModelConfig(19, 19, d_model=12, d_ff=20, num_heads=3, encoder_layers=1, decoder_layers=1)
    ).double()
    batch = collate([[5, 6, 7], [8, 9]], [[6, 5], [9, 8, 4]], pad_id=0, bos_id=2, eos_id=3)
    before = dict(model.named_parameters())
    plain = model.eval()(batch)
    round_products(model)
    assert all(before[name] is parameter for name, parameter in model.named_parameters())
    kinds = {type(module) for module in model.modules() if isinstance(module, nn.Linear | nn.Embedding)}
    assert kinds == {RoundedLinear, RoundedEmbedding}
    rounded = model(batch)
    assert 0 < (rounded - plain).abs() < 0.05 * plain
    hidden = model.states(batch).flatten(0, 1)[batch.target_index]
    logits = model.logits(hidden)
    torch.testing.assert_close(rounded, F.cross_entropy(logits, batch.targets, reduction="sum"), rtol=1e-10, atol=1e-10)
    (gradient,) = torch.autograd.grad(rounded, [model.head.weight])
    assert gradient.abs().sum() > 0

"""Layer normalisation: the compiled kernel against PyTorch in float64."""

import pytest
import torch
from torch.nn import functional as F

from regard.base.kernels import training_kernel
from regard.model.norm import LayerNorm

CLOSE = {torch.bfloat16: {"rtol": 2**-7, "atol": 2**-7}, torch.float32: {"rtol": 1e-5, "atol": 1e-5}}


@pytest.mark.parametrize("shape", [(3, 7, 32), (2, 96), (5, 1, 512), (4, 40), (0, 32)])
@pytest.mark.parametrize(
    ("compiled", "dtype"),
    [pytest.param(True, torch.bfloat16, marks=pytest.mark.avx512), (False, torch.bfloat16), (False, torch.float32)],
)
def test_it_is_pytorch_s(
    shape: tuple[int, ...], compiled: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    if compiled and training_kernel("layer_norm_forward", dtype) is None:
        pytest.skip("the compiled kernels were not built: no C++ compiler?")
    if not compiled:
        monkeypatch.setattr("regard.model.norm.training_kernel", lambda name, dtype: None)
    layer = LayerNorm(shape[-1]).to(dtype)
    torch.nn.init.normal_(layer.weight)
    torch.nn.init.normal_(layer.bias)
    x = (torch.randn(shape) * 3 + 1).to(dtype).requires_grad_()
    found, slope = layer(x), torch.randn(shape).to(dtype)
    exact = [t.detach().double().requires_grad_() for t in (x, layer.weight, layer.bias)]
    expected = F.layer_norm(exact[0], shape[-1:], exact[1], exact[2], layer.eps)
    torch.testing.assert_close(found.double(), expected, **CLOSE[dtype])
    gradients = torch.autograd.grad(found, (x, layer.weight, layer.bias), slope)
    for mine, right in zip(gradients, torch.autograd.grad(expected, exact, slope.double()), strict=True):
        assert mine.dtype == dtype
        scale = max(1.0, float(right.abs().max())) if right.numel() else 1.0
        torch.testing.assert_close(mine.double() / scale, right / scale, **CLOSE[dtype])


def test_rows_that_are_not_side_by_side(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = LayerNorm(32).bfloat16()
    x = torch.randn(32, 6).bfloat16().t().requires_grad_()
    torch.testing.assert_close(layer(x), layer(x.detach()), **CLOSE[torch.bfloat16])
    (gradient,) = torch.autograd.grad(layer(x).sum(), x)
    assert gradient.abs().max() < 1e-2  # a sum of normalised rows does not depend on them


def test_without_gradients_and_in_other_precisions_it_is_pytorch_itself() -> None:
    layer, x = LayerNorm(32), torch.randn(4, 32)
    assert torch.equal(layer(x), F.layer_norm(x, (32,), layer.weight, layer.bias))
    assert torch.equal(layer.double()(x.double().requires_grad_()), layer(x.double()))


def test_what_the_kernel_cannot_read_is_pytorch_s() -> None:
    x = torch.randn(4, 64).bfloat16().requires_grad_()
    with pytest.raises(RuntimeError, match="normalized_shape"):
        LayerNorm(32).bfloat16()(x)
    over_both, narrow = LayerNorm((4, 64)).bfloat16(), LayerNorm(64).bfloat16()
    assert torch.equal(over_both(x), F.layer_norm(x, (4, 64), over_both.weight, over_both.bias))
    assert LayerNorm(64, elementwise_affine=False)(x).shape == LayerNorm(64, bias=False).bfloat16()(x).shape
    narrow.weight = torch.nn.Parameter(torch.randn(128).bfloat16()[::2])
    torch.testing.assert_close(narrow(x), F.layer_norm(x, (64,), narrow.weight, narrow.bias), **CLOSE[torch.bfloat16])


def test_float32_can_be_differentiated_twice() -> None:
    x = torch.randn(3, 32, requires_grad=True)
    (slope,) = torch.autograd.grad(LayerNorm(32)(x).pow(3).sum(), x, create_graph=True)
    assert torch.autograd.grad(slope.square().sum(), x)[0].abs().sum() > 0

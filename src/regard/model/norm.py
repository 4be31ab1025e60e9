"""Layer normalisation (Ba et al. 2016), in one pass each way where a compiled kernel can do it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from regard.base.kernels import training_kernel

#: Widths that the kernel takes are multiples of this.
_WIDTHS = 32


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm``; training in bf16 on a CPU takes the compiled kernel, where it is for the last dimension.

    In float32 PyTorch's own is about as fast, and can be differentiated twice.
    """

    def forward(self, input: Tensor) -> Tensor:
        """…×D to …×D."""
        if not input.requires_grad or input.dtype != torch.bfloat16 or input.device.type != "cpu":
            return super().forward(input)
        if not self._fits(input) or torch.compiler.is_compiling():
            return super().forward(input)
        if training_kernel("layer_norm_forward", input.dtype) is None:
            return super().forward(input)
        return _LayerNorm.apply(input, self.weight, self.bias, self.eps)  # type: ignore[return-value]

    def _fits(self, input: Tensor) -> bool:
        """Whether the kernel can read it all: a weight and a bias for the last dimension, of one type, side by side."""
        if self.normalized_shape != (input.shape[-1],) or input.shape[-1] % _WIDTHS:
            return False
        given = (self.weight, self.bias)
        return all(p is not None and p.dtype == input.dtype and p.is_contiguous() for p in given)


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float) -> Tensor:  # type: ignore[override]
        x = x.contiguous()
        rows, width = x.numel() // x.shape[-1], x.shape[-1]
        output, statistics = torch.empty_like(x), torch.empty(rows, 2, dtype=torch.float32)
        _run("layer_norm_forward", x.dtype, rows, width, epsilon, x, weight, bias, output, statistics)
        ctx.save_for_backward(x, weight, statistics)
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, statistics = ctx.saved_tensors
        gradient, sums = torch.empty_like(x), torch.empty(2, x.shape[-1], dtype=torch.float32)
        tensors = (x, weight, statistics, output_gradient.contiguous(), gradient, *sums)
        _run("layer_norm_backward", x.dtype, len(statistics), x.shape[-1], *tensors)
        return gradient, *sums.to(weight.dtype), None


def _run(name: str, dtype: torch.dtype, *arguments: Any) -> None:
    """Call a kernel with the addresses of tensors, which live until it returns."""
    kernel = training_kernel(name, dtype)
    assert kernel is not None
    kernel(*(x.data_ptr() if isinstance(x, Tensor) else x for x in arguments))

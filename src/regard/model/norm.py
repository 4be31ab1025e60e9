"""Layer normalisation (Ba et al. 2016), in one pass each way where a compiled kernel can do it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from regard.base.kernels import training_kernels

#: Widths that the kernel takes are multiples of this.
_WIDTHS = 32


class LayerNorm(nn.LayerNorm):
    """``nn.LayerNorm`` over the last dimension; training in bf16 on a CPU takes the compiled kernel."""

    def forward(self, input: Tensor) -> Tensor:
        """…×D to …×D."""
        kernels = training_kernels() if input.requires_grad and input.device.type == "cpu" else None
        if kernels is None or input.shape[-1] % _WIDTHS or torch.compiler.is_compiling():
            return super().forward(input)
        if not input.dtype == self.weight.dtype == self.bias.dtype == torch.bfloat16:
            return super().forward(input)
        return _LayerNorm.apply(input, self.weight, self.bias, self.eps, kernels)  # type: ignore[return-value]


class _LayerNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, epsilon: float, kernels: Any) -> Tensor:  # type: ignore[override]
        x = x.contiguous()
        rows = x.numel() // x.shape[-1]
        output, statistics = torch.empty_like(x), torch.empty(rows, 2)
        tensors = (x, weight, bias, output, statistics)
        kernels.layer_norm_forward(rows, x.shape[-1], epsilon, *(tensor.data_ptr() for tensor in tensors))
        ctx.save_for_backward(x, weight, statistics)
        ctx.kernels = kernels
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, output_gradient: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        x, weight, statistics = ctx.saved_tensors
        gradient = torch.empty_like(x)
        sums = torch.empty(2, x.shape[-1])
        tensors = (x, weight, statistics, output_gradient.contiguous(), gradient, sums[0], sums[1])
        ctx.kernels.layer_norm_backward(len(statistics), x.shape[-1], *(tensor.data_ptr() for tensor in tensors))
        return gradient, *sums.to(weight.dtype), None, None

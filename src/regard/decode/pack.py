"""A model made ready for decoding: weights in the fastest precision and layout for this machine.

A decoding step multiplies one row, or a few, with every weight matrix. PyTorch's
``F.linear`` lays the weights out anew in each call or takes a slow path (output
projection of 10,000 × 256 for one row on two Zen 4 cores: 1,026 µs in float32); oneDNN's
packed layout, computed once, takes 105 µs in float32 and 74 µs in bf16.
"""

import copy

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import MultiHeadAttention
from regard.base.device import has_fast_bf16
from regard.base.errors import ConfigError
from regard.decode.choice import Precision
from regard.model import Transformer
from regard.model.layers import DecoderLayer, EncoderLayer

#: A single row times a float32 matrix up to this many elements: MKL's matrix-vector product is faster
#: than a call of oneDNN (256 × 256: 7 µs against 21; 1,024 × 256: 28 both; 10,000 × 256: 1,026 against 105).
SMALL = 1 << 18


class PackedLinear(nn.Module):
    """A linear layer whose weights oneDNN has laid out for few rows; inference only."""

    def __init__(self, weight: Tensor, bias: Tensor | None):
        super().__init__()
        self.in_features = weight.shape[1]
        weight = weight.detach().contiguous()
        self.packed = torch.ops.mkldnn._reorder_linear_weight(weight, None)
        self.bias = None if bias is None else bias.detach()
        self.small = weight if weight.dtype == torch.float32 and weight.numel() < SMALL else None

    def forward(self, x: Tensor) -> Tensor:
        """…×in to …×out."""
        if self.small is not None and x.numel() == self.in_features:
            return F.linear(x, self.small, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, "none", [], "")


def _joint(attention: MultiHeadAttention) -> PackedLinear | None:
    """Query, key and value projections as one layer; None where one of them is adapted."""
    layers = (attention.query, attention.key, attention.value)
    if any(type(layer) is not nn.Linear for layer in layers):
        return None
    bias = None if layers[0].bias is None else torch.cat([layer.bias for layer in layers])
    return PackedLinear(torch.cat([layer.weight for layer in layers]), bias)


def can_pack(device: torch.device) -> bool:
    """Whether this build of PyTorch has oneDNN's packed layers."""
    return (
        device.type == "cpu" and torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
    )


def choose_precision(precision: Precision, device: torch.device) -> torch.dtype:
    """bf16 where the hardware multiplies it, unless told otherwise."""
    if precision == "int8":
        raise ConfigError("the PyTorch engine has no int8: use precision fp32 or bf16, or the native engine.")
    if precision == "auto":
        return torch.bfloat16 if has_fast_bf16(device) else torch.float32
    return torch.bfloat16 if precision == "bf16" else torch.float32


def pack(model: Transformer, precision: Precision, device: torch.device) -> Transformer:
    """A copy of ``model`` for inference on ``device``."""
    model = copy.deepcopy(model).to(device, choose_precision(precision, device)).eval().requires_grad_(False)
    if can_pack(device):
        for layer in model.modules():
            if isinstance(layer, EncoderLayer | DecoderLayer):
                layer.self_attention.joint = _joint(layer.self_attention)
        for parent in list(model.modules()):
            for name, child in list(parent.named_children()):
                if type(child) is nn.Linear:  # and not one that computes in another way
                    setattr(parent, name, PackedLinear(child.weight, child.bias))
    return model

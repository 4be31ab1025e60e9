"""How alike a query and a key are: the first of the four choices that make an attention.

All but the additive one are a dot product of queries and keys that were changed one by one,
which is what the fast kernels multiply.
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Similarity(nn.Module, ABC):
    """Scores B×H×T×S of queries B×H×T×K and keys B×H×S×K."""

    #: Whether :meth:`as_product` gives the scores, so that fused kernels can compute them.
    is_product: ClassVar[bool] = False
    #: Whether queries and keys are compared by q·k alone, so that terms such as q·r may be added to it.
    is_plain_product: ClassVar[bool] = False

    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float] | None:
        """Query, key and a factor on their dot product that give the scores; None where nothing does."""
        return None

    def factor(self, query: Tensor) -> float:
        """What q·k is multiplied with, where it is a plain product."""
        return 1.0

    @abstractmethod
    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The scores."""


class _Product(Similarity):
    """A similarity that is a dot product after all."""

    is_product = True

    @abstractmethod
    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float]:
        """Query, key and factor."""

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The scores."""
        query, key, scale = self.as_product(query, key)
        return scale * torch.einsum("bhtk,bhsk->bhts", query, key)


class ScaledDot(_Product):
    """scale · q·k, by default with K^-½ (Vaswani et al. 2017, equation 1)."""

    is_plain_product = True

    def __init__(self, scale: float | None = None):
        super().__init__()
        self.scale = scale

    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float]:
        """They are as they are."""
        return query, key, self.factor(query)

    def factor(self, query: Tensor) -> float:
        """The scale."""
        return query.shape[-1] ** -0.5 if self.scale is None else self.scale

    def extra_repr(self) -> str:
        return "" if self.scale is None else f"scale={self.scale}"


class Dot(ScaledDot):
    """q·k (Luong et al. 2015, equation 8)."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def extra_repr(self) -> str:
        return ""


class Cosine(_Product):
    """τ · cos(q, k), with a learned τ for each head (Liu et al. 2022, Swin Transformer V2, equation 2)."""

    #: The highest τ, as in the paper (1/τ there is not below 0.01).
    LIMIT = 100.0

    def __init__(self, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.log_scale = nn.Parameter(torch.full((num_heads,), 10.0).log())

    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float]:
        """Directions, those of the queries as long as τ."""
        scale = self.log_scale.clamp(max=math.log(self.LIMIT)).exp()
        return F.normalize(query, dim=-1) * scale[:, None, None].to(query.dtype), F.normalize(key, dim=-1), 1.0


class Bilinear(_Product):
    """q·W k, with a W of K×K for each head (Luong et al. 2015, equation 8, "general"), times K^-½."""

    def __init__(self, num_heads: int, head_dim: int):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Begin as the scaled dot product, with some noise."""
        with torch.no_grad():
            self.weight.normal_(std=0.02).diagonal(dim1=-2, dim2=-1).add_(1.0)

    def as_product(self, query: Tensor, key: Tensor) -> tuple[Tensor, Tensor, float]:
        """Queries through W."""
        return torch.einsum("bhtk,hkj->bhtj", query, self.weight), key, query.shape[-1] ** -0.5


class Additive(Similarity):
    """v·tanh(q + k), with a v for each head (Bahdanau et al. 2015, appendix A.1.2).

    The paper's W and U are the projections that the queries and the keys come from.
    """

    def __init__(self, num_heads: int, head_dim: int):
        super().__init__()
        self.num_heads, self.head_dim = num_heads, head_dim
        self.weight = nn.Parameter(torch.empty(num_heads, head_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """A uniform vector, as for a linear layer to one number."""
        bound = (3 / self.weight.shape[1]) ** 0.5
        nn.init.uniform_(self.weight, -bound, bound)

    def forward(self, query: Tensor, key: Tensor) -> Tensor:
        """The scores."""
        hidden = torch.tanh(query[:, :, :, None] + key[:, :, None])  # B×H×T×S×K
        return torch.einsum("bhtsk,hk->bhts", hidden, self.weight)

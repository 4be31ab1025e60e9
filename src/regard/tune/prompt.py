"""Prompt tuning (Lester et al. 2021): learned vectors in front of the source's embeddings.

The encoder reads them with every sentence; the decoder attends to the sentence only, so that search and alignment see
no columns without a word. An adapter that has not learned does change the model: its vectors are those of pieces
drawn at random, as in the paper.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from regard.attention import Mask
from regard.base.errors import ConfigError
from regard.model import Transformer
from regard.model.adapted import Switch
from regard.tune.infront import InFront, present_adapters, side_by_side
from regard.tune.method import Method


@dataclass(frozen=True)
class PromptTuning(Method):
    """Learned vectors in front of the source."""

    name: ClassVar[str] = "prompt"

    length: int = 20
    """How many."""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ConfigError(f"length is {self.length}; it must be at least 1.")

    def attach(self, model: Transformer, adapter: str) -> None:
        """See :meth:`Method.attach`."""
        if model.prompt is None:
            model.prompt = Prompts(model.adapters)
        table = model.source_embedder.tokens.weight.detach()
        drawn = torch.randint(len(table), (self.length,)).to(table.device)
        model.prompt.adapters[adapter] = Prompt(table[drawn] * model.source_embedder.scale)  # type: ignore[union-attr]


class Prompt(nn.Module):
    """One adapter's vectors, P×D."""

    def __init__(self, vectors: Tensor):
        super().__init__()
        self.vectors = nn.Parameter(vectors)


class Prompts(nn.Module):
    """The prompts of all adapters."""

    def __init__(self, switch: Switch):
        super().__init__()
        self.switch = switch
        self.adapters = nn.ModuleDict()

    def forward(self, x: Tensor, mask: Mask) -> tuple[Tensor, Mask]:
        """Embeddings B×S×D behind the prompts, B×(P+S)×D, and the mask for both."""
        rows, fronts, present = len(x), [], []
        for prompt, has in present_adapters(self.adapters, self.switch, rows):
            vectors = prompt.vectors
            assert isinstance(vectors, Tensor)
            fronts.append(vectors.to(x.dtype).expand(rows, -1, -1))
            present.append(has[:, None].expand(-1, len(vectors)))
        if not fronts:
            return x, mask
        return torch.cat([*fronts, x], dim=1), InFront(side_by_side(present), mask)

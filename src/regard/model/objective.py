"""What training makes small, in place of the plain cross-entropy: losses that make a model robust.

Each is a value that is called with a model and a batch, and several go into one another::

    Adversarial(RDrop(label_smoothing=0.1, alpha=1.0), size=1.0)
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from regard.data.batch import Batch
from regard.model.disagreement import disagreement
from regard.model.head import predicting, vocabulary_loss
from regard.model.loss import wide_type
from regard.model.rounded import inputs_of
from regard.model.transformer import Shifts, Transformer


class Objective(ABC):
    """A loss summed over the target pieces of a batch."""

    @abstractmethod
    def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """The sum, in nats, with ``shifts`` added to the embeddings."""


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """Label-smoothed cross-entropy."""

    label_smoothing: float = 0.0
    """ε."""

    def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """See :class:`Objective`."""
        hidden = model.states(batch, shifts)
        return vocabulary_loss(model, hidden, batch.targets, batch.target_index, self.label_smoothing)


@dataclass(frozen=True)
class RDrop(Objective):
    """Two passes with other dropout masks should say the same (R-Drop, Wu et al. 2021): half of their equation 4.

    ::

        ½ (-log p₁ - log p₂) + ½ α · ½ (KL(p₁ ‖ p₂) + KL(p₂ ‖ p₁))

    Half, so that with α = 0 it is the usual loss.
    """

    label_smoothing: float = 0.0
    """ε of the cross-entropy."""
    alpha: float = 1.0
    """α: the paper takes 5 for translation and 1 for fine-tuning."""

    def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """See :class:`Objective`."""
        both = twice(batch)
        shifts = None if shifts is None else Shifts(*(torch.cat([shift, shift]) for shift in shifts))
        hidden = model.states(both, shifts)
        loss = vocabulary_loss(model, hidden, both.targets, both.target_index, self.label_smoothing)
        first, second = (predicting(half, batch.target_index) for half in hidden.chunk(2))
        read, weight = inputs_of(model.head, torch.cat([first, second]))
        first, second = read.chunk(2)
        return (loss + self.alpha * disagreement(first, second, weight, model.head.bias)) / 2


@dataclass(frozen=True)
class Adversarial(Objective):
    """Half of the loss where embeddings are moved to where it grows fastest (Miyato et al. 2017, equation 5).

    ::

        ½ L(x) + ½ L(x + r)         r = size · g / ‖g‖, g = ∇ₓ L(x)

    x are the embeddings of one sentence pair, source and target together, as they enter the layers; r is a constant.
    """

    inner: Objective
    """L."""
    size: float = 1.0
    """‖r‖, in the units of the embeddings that enter the layers."""

    def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """See :class:`Objective`."""
        if shifts is None:
            width, weight = model.config.d_model, model.head.weight
            zeros = (weight.new_zeros(*ids.shape, width) for ids in (batch.source, batch.target_inputs))
            shifts = Shifts(*(zero.requires_grad_() for zero in zeros))
        clean = self.inner(model, batch, shifts)
        gradients = torch.autograd.grad(clean, list(shifts), retain_graph=True)
        norm = sum(gradient.to(wide_type(gradient)).square().sum((1, 2)) for gradient in gradients)
        assert isinstance(norm, Tensor)
        factor = (self.size / norm.sqrt().clamp_min(1e-12))[:, None, None]
        worst = (shift.detach() + factor.to(g.dtype) * g for shift, g in zip(shifts, gradients, strict=True))
        return (clean + self.inner(model, batch, Shifts(*worst))) / 2


def twice(batch: Batch) -> Batch:
    """The rows of ``batch``, and once more."""
    names = ("source", "source_lengths", "target_inputs", "targets")
    doubled = {name: torch.cat([getattr(batch, name)] * 2) for name in names}
    index = batch.target_index
    if index is not None:
        index = torch.cat([index, index + batch.target_inputs.numel()])
    return replace(batch, **doubled, target_index=index)

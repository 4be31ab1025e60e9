"""From hidden states to the loss of the pieces that they are to predict: the same in every family."""

from typing import Protocol

from torch import Tensor, nn

from regard.model.config import ModelConfig
from regard.model.layers import mean_span
from regard.model.loss import cross_entropy
from regard.model.rounded import inputs_of


class HasVocabularyHead(Protocol):
    """A model that ends in a vocabulary."""

    config: ModelConfig
    head: nn.Linear
    training: bool


def vocabulary_loss(
    model: HasVocabularyHead, hidden: Tensor, targets: Tensor, index: Tensor | None, label_smoothing: float
) -> Tensor:
    """The cross-entropy in nats, summed over the targets, with the penalty for long spans where spans are learned.

    Args:
        model: its head gives the logits.
        hidden: B×T×D.
        targets: the right pieces.
        index: where in the flattened B×T the targets are predicted; None: everywhere.
        label_smoothing: ε.
    """
    hidden, weight = inputs_of(model.head, predicting(hidden, index))
    loss = cross_entropy(hidden, weight, targets, label_smoothing, model.head.bias)
    penalty = model.config.attention.span_penalty
    if penalty and model.training:
        assert isinstance(model, nn.Module)
        loss = loss + penalty * len(targets) * mean_span(model)
    return loss


def predicting(hidden: Tensor, index: Tensor | None) -> Tensor:
    """The tokens×D hidden states that predict something, of B×T×D: all, or those at ``index`` of the flattened B×T."""
    hidden = hidden.flatten(0, 1)
    # drop the others before the largest matrix product
    return hidden if index is None else hidden.index_select(0, index)

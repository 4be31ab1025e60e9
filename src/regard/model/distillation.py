"""How far a student's distribution over the vocabulary lies from its teachers', fused with the output projections.

Word-level knowledge distillation (Hinton et al. 2015, section 2; Kim and Rush 2016, section 3.1): the student learns
the whole distribution q that its teachers give at each place, and not the right piece alone. Like those of
:mod:`regard.model.loss`, the logits of student and teachers exist a chunk of rows at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from regard.data.batch import Batch
from regard.model.head import predicting, vocabulary_loss
from regard.model.loss import over_chunks, wide_type
from regard.model.objective import Objective
from regard.model.rounded import inputs_of
from regard.model.transformer import Shifts, Transformer

#: Logits held at a time, in elements. Less than for the cross-entropy: several tables of float32 are at work on them.
CHUNK_ELEMENTS = 1 << 22


@dataclass(frozen=True, eq=False)
class Distilled(Objective):
    """Labels and teachers together: (1 - λ) · cross-entropy + λ · τ² · KL(teachers ‖ student), at temperature τ."""

    teachers: tuple[Transformer, ...]
    """Models with the student's vocabulary, in evaluation mode; they learn nothing. The mean of their distributions
    counts."""
    label_smoothing: float = 0.0
    """ε of the cross-entropy."""
    share: float = 0.5
    """λ in (0, 1]."""
    temperature: float = 1.0
    """τ, above 0."""

    def __call__(self, model: Transformer, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """See :class:`Objective`; with ``shifts``, the student's embeddings are moved, and not the teachers'."""
        with torch.no_grad():
            lessons = [
                Lesson(predicting(t.states(batch), batch.target_index), t.head.weight, t.head.bias)
                for t in self.teachers
            ]
        states = model.states(batch, shifts)
        hidden, weight = inputs_of(model.head, predicting(states, batch.target_index))
        loss = divergence(hidden, weight, model.head.bias, lessons, self.temperature)
        loss = self.share * self.temperature**2 * loss
        if self.share == 1:
            return loss
        labels = vocabulary_loss(model, states, batch.targets, batch.target_index, self.label_smoothing)
        return loss + (1 - self.share) * labels


@dataclass(frozen=True)
class Lesson:
    """What a teacher has to say of a batch: its logits are ``hidden @ weight.T + bias``."""

    hidden: Tensor
    """tokens×D, D being the teacher's width."""
    weight: Tensor
    """W×D output projection."""
    bias: Tensor | None = None
    """W, added to the logits."""


def divergence(
    hidden: Tensor, weight: Tensor, bias: Tensor | None, lessons: Sequence[Lesson], temperature: float = 1.0
) -> Tensor:
    """Sum over tokens of KL(q ‖ p), where p = softmax(z / τ) and q is the mean of the teachers' softmax(z / τ).

    Its gradient with respect to the student's logits z is (p - q) / τ: a loss of fixed weight at any temperature is
    τ² times this (Hinton et al. 2015, section 2). The teachers get no gradient.

    Args:
        hidden: tokens×D of the student, without padding.
        weight: W×D output projection of the student.
        bias: W, added to its logits.
        lessons: of one teacher or several, for the same tokens.
        temperature: τ, above 0; larger ones show more of what the teachers think of unlikely pieces.

    Returns:
        The sum, a float32 (float64 for float64 input) scalar that carries gradients to ``hidden``, ``weight`` and
        ``bias`` (once: it cannot be differentiated twice).

    Raises:
        ValueError: no lessons, or one for another number of tokens or pieces.
    """
    if not lessons:
        raise ValueError("there is nothing to learn from: want a lesson at least")
    for lesson in lessons:
        if (len(lesson.hidden), len(lesson.weight)) != (len(hidden), len(weight)):
            raise ValueError(
                f"want a lesson of {len(hidden)} tokens and {len(weight)} pieces, "
                f"got one of {len(lesson.hidden)} and {len(lesson.weight)}"
            )
    return _FusedDivergence.apply(hidden, weight, bias, tuple(lessons), temperature)  # type: ignore[return-value]


class _FusedDivergence(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, lessons: tuple[Lesson, ...], temperature: float
    ) -> Tensor:
        wide = wide_type(hidden)

        def judge(logits: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
            wanted = _mean_distribution(lessons, rows, temperature, wide)
            log_p = torch.log_softmax(logits.to(wide) / temperature, dim=-1)
            loss = torch.xlogy(wanted, wanted).sub_(wanted * log_p).sum()
            return log_p.exp_().sub_(wanted).div_(temperature).to(logits.dtype), loss

        rows = max(64, CHUNK_ELEMENTS // len(weight))
        total, *gradients = over_chunks(hidden, weight, bias, rows, judge, ctx.needs_input_grad[:3])
        ctx.save_for_backward(
            *(
                None if gradient is None or leaf is None else gradient.to(leaf.dtype)
                for gradient, leaf in zip(gradients, (hidden, weight, bias), strict=True)
            )
        )
        return total

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[override]
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        hidden_grad, weight_grad, bias_grad = (
            None if grad is None else grad * grad_outputs[0].to(grad.dtype) for grad in ctx.saved_tensors
        )
        return hidden_grad, weight_grad, bias_grad, None, None


def _mean_distribution(lessons: Sequence[Lesson], rows: slice, temperature: float, wide: torch.dtype) -> Tensor:
    """rows×W: the mean over the teachers of softmax(z / τ)."""
    total: Tensor | None = None
    for lesson in lessons:
        logits = torch.nn.functional.linear(lesson.hidden[rows], lesson.weight, lesson.bias)
        probabilities = torch.softmax(logits.to(wide) / temperature, dim=-1)
        total = probabilities if total is None else total.add_(probabilities)
    assert total is not None
    return total.div_(len(lessons))

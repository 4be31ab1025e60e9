"""Word-level distillation against the formula written out, value and gradients."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from regard.data.batch import Batch, collate
from regard.model import ModelConfig, Transformer, distillation
from regard.model.distillation import Distilled, Lesson, divergence
from regard.model.objective import Adversarial

TOKENS, D, W = 11, 5, 13
EXACT = {"atol": 1e-10, "rtol": 1e-12}


def leaves(dtype: torch.dtype = torch.float64, tokens: int = TOKENS) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden states, projection and bias of a student; logits have a standard deviation of about 4."""
    found = 2 * torch.randn(tokens, D), torch.randn(W, D), torch.randn(W)
    return tuple(t.to(dtype).requires_grad_() for t in found)  # type: ignore[return-value]


def lesson(width: int, bias: bool, tokens: int = TOKENS) -> Lesson:
    """Of a teacher with another width than the student."""
    return Lesson(
        2 * torch.randn(tokens, width).double(),
        torch.randn(W, width).double(),
        torch.randn(W).double() if bias else None,
    )


def by_hand(logits: Tensor, lessons: list[Lesson], temperature: float) -> Tensor:
    """Σ over tokens and pieces of q · (log q - log p)."""
    tables = [one.hidden @ one.weight.t() + (0 if one.bias is None else one.bias) for one in lessons]
    q = sum((table / temperature).exp() / (table / temperature).exp().sum(-1, keepdim=True) for table in tables)
    assert isinstance(q, Tensor)
    q = q / len(lessons)
    p = (logits / temperature).exp() / (logits / temperature).exp().sum(-1, keepdim=True)
    return (q * (q.log() - p.log())).sum()


@pytest.mark.parametrize("temperature", [1.0, 0.5, 4.0])
@pytest.mark.parametrize("teachers", [1, 2, 3])
def test_equals_the_formula(teachers: int, temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distillation, "CHUNK_ELEMENTS", 1)  # 64 rows a chunk
    hidden, weight, bias = leaves(tokens=150)
    lessons = [lesson(3 + i, bias=bool(i % 2), tokens=150) for i in range(teachers)]
    found = divergence(hidden, weight, bias, lessons, temperature)
    expected = by_hand(hidden @ weight.t() + bias, lessons, temperature)
    torch.testing.assert_close(found, expected, **EXACT)
    got, want = (torch.autograd.grad(loss / 7, [hidden, weight, bias]) for loss in (found, expected))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, **EXACT)


def test_gradcheck() -> None:
    hidden, weight, bias = leaves(tokens=4)
    lessons = [lesson(3, True, 4), lesson(7, False, 4)]
    assert torch.autograd.gradcheck(lambda *student: divergence(*student, lessons, 2.0), (hidden, weight, bias))


def test_the_teachers_learn_nothing() -> None:
    hidden, weight, _ = leaves()
    taught = lesson(3, True)
    assert taught.bias is not None
    for tensor in (taught.hidden, taught.weight, taught.bias):
        tensor.requires_grad_()
    divergence(hidden, weight, None, [taught]).backward()
    assert hidden.grad is not None
    assert all(tensor.grad is None for tensor in (taught.hidden, taught.weight, taught.bias))


def test_a_student_that_agrees_has_no_loss_and_no_gradient() -> None:
    hidden, weight, bias = leaves()
    own = Lesson(hidden.detach(), weight.detach(), bias.detach())
    loss = divergence(hidden, weight, bias, [own, own], 3.0)
    assert float(loss.detach()) == pytest.approx(0, abs=1e-12)
    assert all(g.abs().max() < 1e-12 for g in torch.autograd.grad(loss, [hidden, weight, bias]))


def test_a_teacher_that_is_certain() -> None:
    """Where q is 0, q · log q is 0 too; the rest is the cross-entropy of the piece that it is certain of."""
    hidden, weight, _ = leaves()
    sure = torch.zeros(W, 1).double()
    sure[4] = 4000
    found = divergence(hidden, weight, None, [Lesson(torch.ones(TOKENS, 1).double(), sure)])
    expected = F.cross_entropy(hidden @ weight.t(), torch.full((TOKENS,), 4), reduction="sum")
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 4e-2)], ids=str)
def test_other_precisions(dtype: torch.dtype, tolerance: float) -> None:
    hidden, weight, bias = leaves(dtype)
    wide = lesson(3, True)
    assert wide.bias is not None
    taught = Lesson(wide.hidden.to(dtype), wide.weight.to(dtype), wide.bias.to(dtype))
    found = divergence(hidden, weight, bias, [taught])
    assert found.dtype == torch.float32
    exact = [leaf.detach().double() for leaf in (hidden, weight, bias)]
    same = Lesson(
        taught.hidden.double(), taught.weight.double(), taught.bias.double() if taught.bias is not None else None
    )
    expected = by_hand(exact[0] @ exact[1].t() + exact[2], [same], 1.0)
    torch.testing.assert_close(found.double(), expected, rtol=tolerance, atol=tolerance)
    assert [g.dtype for g in torch.autograd.grad(found, [hidden, weight, bias])] == [dtype] * 3


def test_lessons_that_do_not_fit() -> None:
    hidden, weight, _ = leaves()
    with pytest.raises(ValueError, match="nothing to learn"):
        divergence(hidden, weight, None, [])
    with pytest.raises(ValueError, match="lesson of 11 tokens and 13 pieces, got one of 10 and 13"):
        divergence(hidden, weight, None, [lesson(3, False, 10)])


# ---- with models


def model(width: int, seed: int) -> Transformer:
    torch.manual_seed(seed)
    config = ModelConfig(W, W, d_model=width, d_ff=16, num_heads=2, encoder_layers=1, decoder_layers=1, dropout=0.0)
    made = Transformer(config).double()
    for parameter in made.parameters():
        parameter.data += 0.5 * torch.randn_like(parameter)
    return made


def pairs() -> Batch:
    return collate([[5, 6, 7], [8, 9]], [[7, 6], [9, 8, 10, 11]], pad_id=0, bos_id=2, eos_id=3)


def logits_of(made: Transformer, batch: Batch) -> Tensor:
    """tokens×W, one sentence at a time."""
    tables = []
    for source, inputs in zip(([5, 6, 7, 3], [8, 9, 3]), ([2, 7, 6], [2, 9, 8, 10, 11]), strict=True):
        memory, mask = made.encode(torch.tensor([source]), torch.tensor([len(source)]))
        tables.append(made.logits(made.decode_full(torch.tensor([inputs]), memory, mask))[0])
    return torch.cat(tables)


@pytest.mark.parametrize(("share", "temperature", "smoothing"), [(0.5, 1.0, 0.1), (0.25, 2.0, 0.0), (1.0, 3.0, 0.1)])
def test_labels_and_teachers_together(share: float, temperature: float, smoothing: float) -> None:
    """(1 - λ) CE + λ τ² KL, with two teachers of other widths; gradients reach the student alone."""
    batch, student = pairs(), model(8, 0)
    teachers = tuple(model(width, seed).eval().requires_grad_(False) for width, seed in ((12, 1), (4, 2)))
    loss = student(batch, smoothing, Distilled(teachers, smoothing, share, temperature))
    lessons = [Lesson(logits_of(t, batch), torch.eye(W).double()) for t in teachers]
    logits = logits_of(student, batch)
    labels = F.cross_entropy(logits, batch.targets, reduction="sum", label_smoothing=smoothing)
    expected = (1 - share) * labels + share * temperature**2 * by_hand(logits, lessons, temperature)
    torch.testing.assert_close(loss, expected, **EXACT)
    names = dict(student.named_parameters())
    got, want = (torch.autograd.grad(value, list(names.values())) for value in (loss, expected))
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, atol=1e-9, rtol=1e-9)


def test_within_another_objective() -> None:
    """With no move at all, adversarial training of it is itself."""
    batch, student, teacher = pairs(), model(8, 0), model(12, 1).eval().requires_grad_(False)
    plain = Distilled((teacher,), 0.1)
    torch.testing.assert_close(Adversarial(plain, size=0.0)(student, batch), plain(student, batch), **EXACT)

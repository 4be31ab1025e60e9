"""Distillation: a student, mostly a small model, learns from what its teachers think of every piece of its corpus.

This is the word level (Kim and Rush 2016, section 3.1), as a section ``distill`` of a preset. At the sequence level the
student trains on the teachers' own translations, which :mod:`regard.tasks.synthesis` writes as an ordinary corpus.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.base.errors import ConfigError
from regard.data.tokenizer import Tokenizer
from regard.model import Transformer
from regard.model.distillation import Distilled
from regard.model.folder import load_config, load_model
from regard.tasks.vocabulary import load_tokenizers


@dataclass(frozen=True)
class DistillConfig:
    """Who teaches, and how much of the loss that is."""

    teachers: list[Path]
    """Model folders, all with one vocabulary, which the student takes over; the mean of their distributions counts."""
    share: float = 0.5
    """λ: the loss is (1 - λ) times that of the labels and λ times that of the teachers."""
    temperature: float = 1.0
    """τ: in the teachers' part, logits are divided by this; above 1, unlikely pieces count for more (Hinton et al.
    2015)."""

    def __post_init__(self) -> None:
        if not self.teachers:
            raise ConfigError("teachers is empty; name a model folder at least.")
        if not 0 < self.share <= 1:
            raise ConfigError(f"share is {self.share}; it must lie in (0, 1].")
        if not 0 < self.temperature < math.inf:
            raise ConfigError(f"temperature is {self.temperature}; it must be positive.")


def load_objective(
    config: DistillConfig, directions: Sequence[tuple[str, str]], vocabulary: Path, label_smoothing: float
) -> Distilled:
    """The loss with its teachers, in float32 on the CPU.

    Args:
        config: who teaches.
        directions: what the student is to translate.
        vocabulary: the model folder whose vocabulary the student has.
        label_smoothing: ε of the labels' part.

    Raises:
        ConfigError: a teacher lacks a direction or has another vocabulary.
        ModelError: a teacher cannot be read.
    """
    tokenizers = load_tokenizers(vocabulary)
    for folder in config.teachers:
        _check(folder, directions, tokenizers, vocabulary)
    teachers = tuple(load_model(folder)[0].requires_grad_(False) for folder in config.teachers)
    return Distilled(teachers, label_smoothing, config.share, config.temperature)


def follow(objective: Distilled, student: Transformer) -> None:
    """Bring the teachers to where the student is, and to its precision."""
    parameter = next(student.parameters())
    for teacher in objective.teachers:
        teacher.to(parameter.device, parameter.dtype)


def _check(
    folder: Path, directions: Sequence[tuple[str, str]], tokenizers: tuple[Tokenizer, Tokenizer], vocabulary: Path
) -> None:
    _, task = load_config(folder)
    if task.get("name") != "translation":
        raise ConfigError(f"distill.teachers: {folder} is a model for {task.get('name')}, not translation.")
    if task.get("tagged") == "both":
        raise ConfigError(
            f"distill.teachers: {folder} begins both sides of a pair with a tag, as M2M-100 does, and its student "
            "would not. Have it learn from the teacher's translations (regard distill --level sequence)."
        )
    known = [(source, target) for source, target in task["directions"]]
    for source, target in directions:
        if (source, target) not in known:
            has = ", ".join(f"{s}→{t}" for s, t in known)
            raise ConfigError(f"distill.teachers: {folder} does not translate {source}→{target}. It has {has}.")
    for side, own, other in zip(("source", "target"), load_tokenizers(folder), tokenizers, strict=True):
        if not have_same_pieces(own, other):
            raise ConfigError(
                f"distill.teachers: {folder} has another {side} vocabulary than {vocabulary}, so that their "
                "distributions cannot be compared. Give teachers that share one; or have the student learn from a "
                "teacher's translations instead (regard distill --level sequence)."
            )


def have_same_pieces(one: Tokenizer, other: Tokenizer) -> bool:
    """Whether each id stands for the same piece in both."""
    size = one.vocab_size
    return size == other.vocab_size and one.pieces(range(size)) == other.pieces(range(size))

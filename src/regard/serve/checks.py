"""What may be wrong with a translation, found by rules: a person looks first where one of them speaks."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from regard.data.chinese import HAN
from regard.serve.terms import Wanted, missing_in
from regard.tasks import integrity

Severity = Literal["error", "warning"]

#: What a translation did not keep: what is worse than a warning.
_SEVERITY: dict[str, Severity] = {"placeholder": "error", "markup": "error"}
_WORD = re.compile(rf"[{HAN}]|[^\W\d_]+")
# Part of a word, four times on end: hahahaha.
_STUTTER = re.compile(r"([^\W\d_]{2,4})\1{3}")
#: A Chinese character says about as much as this many letters.
_WIDE = 2.5


@dataclass(frozen=True)
class Check:
    """One thing that may be wrong."""

    kind: str
    severity: Severity
    message: str
    value: str = ""
    """What it is about, such as the number that is missing."""


def check(source: str, text: str, *, finished: bool = True) -> list[Check]:
    """What speaks against ``text`` as a translation of ``source``, beside what its integrity says.

    Args:
        source: what was translated.
        text: its translation.
        finished: False where the translation was cut off.
    """
    found = []
    if not finished:
        found.append(Check("truncated", "error", "the translation reached the limit on its length and is cut off"))
    if is_odd_length(source, text):
        found.append(Check("length", "warning", "the lengths of source and translation do not go together"))
    if repeated := repetition(source, text):
        found.append(Check("repetition", "warning", f"'{repeated}' is said again and again", repeated))
    if is_copy(source, text):
        found.append(Check("untranslated", "warning", "the translation is the source"))
    return found


def of_problem(problem: integrity.Problem) -> Check:
    """What a translation did not keep, as a check."""
    return Check(problem.kind, _SEVERITY.get(problem.kind, "warning"), problem.detail, problem.value)


def check_written(source: str, text: str, terms: Iterable[Wanted] = ()) -> list[Check]:
    """What speaks against a translation that a person wrote, in which there should be ``terms``."""
    found = [*map(of_problem, integrity.check(source, text)), *check(source, text)]
    return found + (missing_terms(terms, text) if text.strip() else [])


def missing_terms(terms: Iterable[Wanted], text: str) -> list[Check]:
    """Terms of glossaries that a translation lacks."""
    return [
        Check("term", "error", f"'{term.target}' is not in the translation", term.target)
        if not term.kept_in(text)
        else Check("term", "error", f"'{term.target}' is in the translation less often than it should be", term.target)
        for term in missing_in(terms, text)
    ]


def is_odd_length(source: str, text: str) -> bool:
    """Whether one side is far longer than the other, Chinese characters counted for what they say."""
    a, b = _weight(source), _weight(text)
    return max(a, b) > 12 and (a > 3 * b or b > 3 * a)


def repetition(source: str, text: str) -> str:
    """Words of ``text`` that follow each other three times and more, where those of ``source`` do not; or nothing."""
    found = _repeated(text)
    return found if found and not _repeated(source) else ""


def is_copy(source: str, text: str) -> bool:
    """Whether a text of several words came back as it was."""
    words = _WORD.findall(source.lower())
    return len(words) >= 4 and words == _WORD.findall(text.lower())


def _repeated(text: str) -> str:
    if syllables := _STUTTER.search(text.lower()):
        return syllables[1]
    words = _WORD.findall(text.lower())
    if len(set(words)) == len(words):
        return ""
    for size in (1, 2, 3, 4):
        for i in range(len(words) - 3 * size + 1):
            run = words[i : i + size]
            if run == words[i + size : i + 2 * size] == words[i + 2 * size : i + 3 * size]:
                return " ".join(run)
    return ""


def _weight(text: str) -> float:
    wide = len(re.findall(f"[{HAN}]", text))
    return len(text) - wide + _WIDE * wide

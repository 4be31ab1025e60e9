"""Which language a text is in: by script where that decides, else by its character n-grams."""

import re
import threading
from dataclasses import dataclass
from functools import cache
from typing import Any

from regard.data.chinese import HAN, HANGUL, KANA

#: What stands in every language alike and would only mislead.
_NEUTRAL = re.compile(r"https?://\S+|\S+@\S+\.\S+|[\d_]+")
_LETTER = re.compile(r"[^\W\d_]")
_HAN = re.compile(f"[{HAN}]")
_KANA_OR_HANGUL = re.compile(f"[{KANA}{HANGUL}]")
#: n-grams of more than this say nothing new.
_ENOUGH = 2000
_lock = threading.Lock()


@dataclass(frozen=True)
class Detection:
    """A language and how sure we are."""

    language: str
    confidence: float
    """0 to 1."""


def detect(text: str, languages: list[str]) -> list[Detection]:
    """Languages of ``text``, best first; empty where it has no letters.

    Args:
        text: any text; the beginning of a long one decides.
        languages: codes to choose among.
    """
    text = _NEUTRAL.sub(" ", text[: 4 * _ENOUGH])[:_ENOUGH]
    letters = len(_LETTER.findall(text))
    if not letters:
        return []
    han = len(_HAN.findall(text))
    # A Chinese character says about as much as two letters of an alphabet.
    share = 2 * han / (2 * han + letters - han)
    if "zh" in languages and share >= 0.3 and not _KANA_OR_HANGUL.search(text):
        return [Detection("zh", round(0.5 + share / 2, 4))]
    with _lock:  # the identifier's choice of languages is a state of its own
        identifier, labels = _identifier()
        identifier.set_languages([code for code in languages if code in labels])
        ranked = identifier.rank(text)
    return [Detection(code, round(float(p), 4)) for code, p in ranked if p >= 0.01]


@cache
def _identifier() -> tuple[Any, frozenset[str]]:
    """Naive Bayes over byte n-grams (Lui and Baldwin 2012) as py3langid ships it, and the languages it knows."""
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    return identifier, frozenset(identifier.labels)

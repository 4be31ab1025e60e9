"""Which corrections teach something: the others are kept and shown, but not used until a person says so."""

from regard.serve.checks import is_odd_length, repetition
from regard.serve.detection import detect
from regard.tasks.integrity import lost_numbers

#: Shorter texts say too little about their language.
_LEAST_FOR_LANGUAGE = 20
_SURE = 0.9


def reasons_against(source_text: str, text: str, target: str, languages: list[str]) -> list[str]:
    """Why a correction is not to be used; empty where it is.

    Args:
        source_text: what was translated.
        text: the translation that a person gave.
        target: the language it should be in.
        languages: those it may be mistaken for.

    Returns:
        Any of empty, same_as_source, length, language, numbers, repetition.
    """
    if not text.strip():
        return ["empty"]
    found = []
    same = " ".join(source_text.split()).casefold() == " ".join(text.split()).casefold()
    if same and len(source_text.split()) > 3:  # names and labels are the same in both
        found.append("same_as_source")
    if is_odd_length(source_text, text):
        found.append("length")
    if len(text) >= _LEAST_FOR_LANGUAGE and not same:
        seen = detect(text, languages)
        if seen and seen[0].language != target and seen[0].confidence >= _SURE:
            found.append("language")
    if lost_numbers(source_text, text):
        found.append("numbers")
    if repetition(source_text, text):
        found.append("repetition")
    return found

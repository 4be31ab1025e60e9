"""A translated sentence's punctuation and first letter, as its source and the target language want them."""

import re

from regard.base.patterns import lazily
from regard.data.chinese import HAN, KANA
from regard.tasks.integrity import begins_protected

_UNSPACED = frozenset({"zh", "ja"})
_WIDE = {
    "，": ", ",
    "、": ", ",
    "。": ". ",
    "．": ".",
    "！": "! ",
    "？": "? ",
    "；": "; ",
    "：": ": ",
    "（": " (",
    "）": ") ",
    "％": "%",
}
_WIDE |= {
    "“": "“",
    "”": "”",
    "《": "“",
    "》": "”",
    "「": "“",
    "」": "”",
    "『": "“",
    "』": "”",
    "【": "[",
    "】": "]",
    "～": "~",
    "　": " ",
}
_WIDE_TEXT = lazily("[" + "".join(_WIDE) + "]")
_NARROW = {",": "，", ".": "。", "!": "！", "?": "？", ";": "；", ":": "：", "(": "（", ")": "）"}
_CJK = f"{HAN}{KANA}"
# Between or after Chinese characters, not within a number, a Latin word or a row of dots.
_NARROW_TEXT = lazily(
    rf"(?<=[{_CJK}”’》」）])\s?([,.!?;:])(?![.\w])\s*|(?<=[{_CJK}”’》」）])([,!?;:])(?=[{_CJK}“‘《「（])"
    rf"|(?<=[A-Za-z0-9])([,;!?])\s*(?=[{_CJK}“‘《「（])"
    rf"|\s?(\()(?=[{_CJK}])|(?<=[{_CJK}])(\))\s?"
)
# A word with a capital that is neither I nor an acronym.
_CAPITALISED = re.compile(r"(?!I\b)[^\W\d_](?:[^\W\d_A-Z]|\W|$)")
_FINAL = re.compile(r"[.!?。！？…:：;；][\"'”’»」』）)\]]*\s*$")
_QUESTION = re.compile(r"[?？][\"'”’»」』）)\]]*\s*$")
_EXCLAMATION = re.compile(r"[!！][\"'”’»」』）)\]]*\s*$")


def polish(source: str, translation: str, source_language: str, target_language: str) -> str:
    """A translation with the punctuation of its language, ended as its source is.

    - In Chinese and Japanese full-width marks, elsewhere none of them.
    - A question, an exclamation or a statement stays one; a heading without a stop gets none.
    - The first letter is a capital where that of the source is; in English and French only there.

    Args:
        source: one sentence.
        translation: what a model made of it.
        source_language: such as en.
        target_language: such as zh.
    """
    if not translation.strip():
        return translation
    wide = target_language in _UNSPACED
    translation = _widen(translation) if wide else _narrow(translation)
    translation = _ended(source, translation, wide, target_language)
    if wide or begins_protected(translation):
        return translation
    first = next((c for c in source if c.isalpha()), "")
    if first.isupper() and translation[0].islower() and not translation[1:2].isupper():
        translation = translation[0].upper() + translation[1:]
    elif first.islower() and target_language in ("en", "fr") and _CAPITALISED.match(translation):
        translation = translation[0].lower() + translation[1:]
    return translation


def _widen(text: str) -> str:
    for _ in range(2):  # a stop behind a bracket, once that is wide
        text = _NARROW_TEXT.sub(lambda match: _NARROW[next(filter(None, match.groups()))], text)
    return text


def _narrow(text: str) -> str:
    if not _WIDE_TEXT.search(text) or re.search(f"[{_CJK}]", text):
        return text  # what was left in Chinese keeps its marks
    text = _WIDE_TEXT.sub(lambda match: _WIDE[match[0]], text)
    text = re.sub(r" +", " ", text)
    return re.sub(r" (?=[.,!?;:)\]”])|(?<=[(\[“]) ", "", text).strip()


def _ended(source: str, translation: str, wide: bool, language: str) -> str:
    if not _FINAL.search(source):
        # "Save" is no sentence: a single stop that the model adds is taken away again.
        return (
            re.sub(r"(?<=[^.。\s])[.。]$", "", translation) if not re.search(r"\.\w+\.$", translation) else translation
        )
    if _FINAL.search(translation):
        return translation
    space = " " if language == "fr" else ""
    if _QUESTION.search(source):
        return translation + ("？" if wide else f"{space}?")
    if _EXCLAMATION.search(source):
        return translation + ("！" if wide else f"{space}!")
    if re.search(r"[.。]\s*$", source) and translation[-1].isalnum():
        return translation + ("。" if wide else ".")
    return translation

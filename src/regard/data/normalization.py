"""Text as a tokenizer sees it: one line, one form of each character, Chinese split where that is asked for."""

import re
import unicodedata

from regard.base.patterns import lazily
from regard.data.chinese import segment_characters, segment_words
from regard.data.tokenizer_config import TokenizerConfig

# Control characters that are not white space; white space is what str.split() splits at.
_CONTROL = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
_SURROGATE = r"\ud800-\udfff"
# U+2581 is SentencePiece's own sign for a space.
_UNSAFE = lazily(f"[{_CONTROL}{_SURROGATE}\u2581]")
# Soft hyphen, zero-width space, word joiner, byte-order mark. Joiners (U+200C, U+200D) and
# direction marks stay: emoji and several scripts are written with them.
_INVISIBLE = re.compile("[\u00ad\u200b\u2060\ufeff]")
_FULL_WIDTH = re.compile("[０-９Ａ-Ｚａ-ｚ]")


def one_line(text: str) -> str:
    """Return ``text`` without what no piece can stand for: line ends, control characters, U+2581."""
    if _UNSAFE.search(text):
        text = _UNSAFE.sub(_replace_unsafe, text)
    return " ".join(text.split())


def _replace_unsafe(match: re.Match[str]) -> str:
    character = match.group()
    if character == "\u2581":
        return "_"
    return "\ufffd" if "\ud800" <= character <= "\udfff" else ""


def normalize(text: str, config: TokenizerConfig) -> str:
    """``text`` on one line, in the form that ``config.normalization`` names."""
    if config.normalization != "identity":
        text = _INVISIBLE.sub("", text)
    text = one_line(text)
    if config.lowercase:
        text = text.lower()
    if config.normalization == "light":
        text = _FULL_WIDTH.sub(lambda match: chr(ord(match.group()) - 0xFEE0), text)
        return unicodedata.normalize("NFC", text)
    if config.normalization == "nfkc":
        # Some compatibility characters decompose into a space and a mark.
        return " ".join(unicodedata.normalize("NFKC", text).split())
    return text


def segment(text: str, config: TokenizerConfig) -> str:
    """``text`` with the Chinese split as ``config.segment`` says."""
    if config.segment == "char":
        return segment_characters(text)
    if config.segment == "word":
        return segment_words(text)
    return text

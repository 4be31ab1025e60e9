"""Chinese text, which is written without spaces: finding it, splitting it, joining it again.

Spaces are put only between two characters that are both written without spaces (Chinese
characters and full-width punctuation), never beside a Latin letter or a digit. So
:func:`unsegment` can take exactly those spaces away again::

    unsegment(segment_characters(text)) == unsegment(text)     for every text
"""

from collections.abc import Callable
from functools import cache

from regard.base.errors import ConfigError
from regard.base.patterns import lazily

# Han: the number zero 〇 and the iteration mark 々, the unified ideographs with their
# extensions A to J, and both compatibility blocks.
HAN = "\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Chinese characters, as the inside of a regular expression's ``[...]``."""
KANA = "\u3040-\u30ff\u31f0-\u31ff"
"""The two Japanese syllabaries, likewise."""
HANGUL = "\u1100-\u11ff\uac00-\ud7af"
"""Korean syllables and their parts, likewise."""
# CJK symbols and punctuation (without the ideographic space), vertical and full-width forms
# (without the full-width letters and digits).
_PUNCTUATION = (
    "\u3001-\u3004\u3006\u3008-\u301f\u3030\ufe10-\ufe19\ufe30-\ufe4f"
    "\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
)

_HAN_CHARACTER = lazily(f"[{HAN}]")
_KANA_OR_HANGUL = lazily(f"[{KANA}{HANGUL}]")
_RUN = lazily(f"[{HAN}{_PUNCTUATION}]{{2,}}")
_INNER_SPACE = lazily(f"(?<=[{HAN}{_PUNCTUATION}])[ \\t\\u3000]+(?=[{HAN}{_PUNCTUATION}])")


def is_han(character: str) -> bool:
    """True for a Chinese character, which Japanese and Korean use too. Errors: none."""
    return _HAN_CHARACTER.fullmatch(character) is not None


def contains_han(text: str) -> bool:
    """True where ``text`` has at least one Chinese character. Errors: none."""
    return _HAN_CHARACTER.search(text) is not None


def is_chinese(text: str) -> bool:
    """True where ``text`` has Chinese characters and neither kana nor hangul.

    Latin words among them do not matter: a Chinese sentence may name many. Japanese
    without any kana cannot be told from Chinese by its characters. Errors: none.
    """
    return contains_han(text) and _KANA_OR_HANGUL.search(text) is None


def segment_characters(text: str) -> str:
    """Return ``text`` with a space between every two neighbouring Chinese characters. Errors: none."""
    return _RUN.sub(lambda match: " ".join(match.group()), text)


def segment_words(text: str) -> str:
    """Return ``text`` with a space between every two Chinese words, as jieba finds them.

    Raises:
        ConfigError: jieba is not installed.
    """
    cut = _jieba_cut()
    return _RUN.sub(lambda match: " ".join(cut(match.group())), text)


def unsegment(text: str) -> str:
    """Return ``text`` without the spaces between Chinese characters or punctuation. Errors: none."""
    return _INNER_SPACE.sub("", text)


@cache
def _jieba_cut() -> Callable[[str], list[str]]:
    """Load jieba's dictionary (about a second, once a process) and return its splitting function."""
    import logging
    import tempfile
    import warnings

    try:
        with warnings.catch_warnings():
            # Its source has escapes that newer Pythons warn about, and it looks for pkg_resources.
            warnings.simplefilter("ignore")
            import jieba  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            "splitting Chinese into words needs jieba. Install it with: pip install 'regard[zh]', "
            "or split into characters instead (segment: char)."
        ) from error
    jieba.setLogLevel(logging.WARNING)
    tokenizer = jieba.Tokenizer()
    # By default it unmarshals a cache from the shared temporary folder, where anyone may put one.
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.tmp_dir = folder  # pyright: ignore[reportAttributeAccessIssue]
        tokenizer.initialize()
    return tokenizer.lcut

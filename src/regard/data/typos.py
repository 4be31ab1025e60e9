"""Typing errors as people make them, so that a model that trains on them forgives them (Belinkov and Bisk 2018).

A share of the words gets one error each: two letters swapped, a letter left out, doubled, or the key beside it hit.
What lies beside a key depends on the language's keyboard. Only words of Latin letters change: numbers, addresses,
names in code and other scripts are typed in other ways, or must stay as they are.
"""

import random
import re

from regard.base.errors import ConfigError

_KEYBOARDS = {
    "qwerty": ("qwertyuiop", "asdfghjkl", "zxcvbnm"),
    "qwertz": ("qwertzuiopü", "asdfghjklöä", "yxcvbnm"),
    "azerty": ("azertyuiop", "qsdfghjklm", "wxcvbn"),
}
_KEYBOARD_OF = {"de": "qwertz", "fr": "azerty"}
#: Typed through an input method, whose errors are whole words.
_NO_KEYBOARD = frozenset({"zh", "ja", "ko"})

# A word between spaces, with quotation marks or brackets around it and punctuation behind.
_WORD = re.compile(
    r"(?<!\S)(?P<before>[\"'“„«(\[¿¡]*)(?P<word>[A-Za-zÀ-ÖØ-öø-ɏ]{3,})(?P<after>[\"'”“»)\].,;:!?…]*)(?!\S)"
)


class TypingNoise:
    """Puts typing errors into texts of one language."""

    def __init__(self, rate: float, language: str):
        """
        Args:
            rate: share of the words of three and more letters that get an error.
            language: such as ``de``; its keyboard is taken, or the American one.

        Raises:
            ConfigError: the rate is not in 0 to 1.
        """
        if not 0 <= rate <= 1:
            raise ConfigError(f"the rate of typing errors is {rate}; it must lie in 0 to 1.")
        self.rate = 0.0 if language in _NO_KEYBOARD else rate
        self._beside = neighbours(_KEYBOARDS[_KEYBOARD_OF.get(language, "qwerty")])

    def __call__(self, text: str, generator: random.Random) -> str:
        """``text`` with errors drawn from ``generator``; the same for the same state of it."""
        if not self.rate:
            return text

        def maybe(match: re.Match[str]) -> str:
            if generator.random() >= self.rate:
                return match.group()
            return match["before"] + self._mistype(match["word"], generator) + match["after"]

        return _WORD.sub(maybe, text)

    def _mistype(self, word: str, generator: random.Random) -> str:
        """Another word, one error away."""
        possible = {
            "swap": [i for i in range(len(word) - 1) if word[i] != word[i + 1]],
            "drop": range(len(word)),
            "double": range(len(word)),
            "beside": [i for i, letter in enumerate(word) if letter.lower() in self._beside],
        }
        kind = generator.choice([kind for kind, places in possible.items() if places])
        i = generator.choice(possible[kind])
        letter = word[i]
        if kind == "swap":
            return word[:i] + word[i + 1] + letter + word[i + 2 :]
        if kind == "drop":
            return word[:i] + word[i + 1 :]
        if kind == "double":
            return word[:i] + letter + word[i:]
        hit = generator.choice(self._beside[letter.lower()])
        return word[:i] + (hit.upper() if letter.isupper() else hit) + word[i + 1 :]


def neighbours(rows: tuple[str, ...]) -> dict[str, str]:
    """The keys that touch each key: each row of a keyboard stands half a key to the right of the one above it."""
    found = {}
    for r, row in enumerate(rows):
        for c, key in enumerate(row):
            places = ((r, c - 1), (r, c + 1), (r - 1, c), (r - 1, c + 1), (r + 1, c - 1), (r + 1, c))
            found[key] = "".join(rows[y][x] for y, x in places if 0 <= y < len(rows) and 0 <= x < len(rows[y]))
    return found

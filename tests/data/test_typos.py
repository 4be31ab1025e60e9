import random
from collections import Counter

import pytest

from regard.base.errors import ConfigError
from regard.data.typos import TypingNoise, neighbours

TEXT = "every morning seven geese walk slowly across the frozen pond behind the old mill"


def edits(word: str, other: str) -> str:
    """Which single error makes ``other`` of ``word``."""
    if len(other) == len(word) - 1:
        assert any(word[:i] + word[i + 1 :] == other for i in range(len(word)))
        return "drop"
    if len(other) == len(word) + 1:
        assert any(word[: i + 1] + word[i:] == other for i in range(len(word)))
        return "double"
    different = [i for i in range(len(word)) if word[i] != other[i]]
    if len(different) == 2:
        i, j = different
        assert j == i + 1
        assert (word[i], word[j]) == (other[j], other[i])
        return "swap"
    assert len(different) == 1
    return "beside"


@pytest.mark.parametrize("rate", [0.1, 0.4])
def test_rate_and_kinds(rate: float) -> None:
    """So many words get an error, one each, and the four kinds are equally frequent."""
    noise, generator, words, kinds = TypingNoise(rate, "en"), random.Random(1), TEXT.split(), Counter[str]()
    for _ in range(1000):
        for word, other in zip(words, noise(TEXT, generator).split(), strict=True):
            if word != other:
                kinds[edits(word, other)] += 1
    count, errors = 1000 * len(words), sum(kinds.values())
    assert abs(errors / count - rate) < 4 * (rate * (1 - rate) / count) ** 0.5
    for kind in ("swap", "drop", "double", "beside"):
        assert abs(kinds[kind] / errors - 0.25) < 4 * (0.25 * 0.75 / errors) ** 0.5


def test_the_same_state_gives_the_same_errors() -> None:
    noise = TypingNoise(0.5, "en")
    assert noise(TEXT, random.Random(4)) == noise(TEXT, random.Random(4)) != noise(TEXT, random.Random(5))


@pytest.mark.parametrize(
    "text",
    [
        "水壶在响，没有人听。",
        "write to geese@example.org or see https://example.org/pond",
        "version 3.11b of file_name and x-ray: 48 of 1000",
        "is it on or at us",
        "кот спит на окне",
    ],
)
def test_what_is_no_word_stays(text: str) -> None:
    generator = random.Random(2)
    kept = [word for word in text.split() if not word.strip(".,:").isalpha() or not word.isascii() or len(word) < 3]
    for _ in range(20):
        noisy = TypingNoise(1.0, "en")(text, generator).split()
        assert [word for word in noisy if word in kept] == kept


def test_punctuation_and_capitals_stay() -> None:
    generator = random.Random(3)
    for _ in range(50):
        noisy = TypingNoise(1.0, "de")("„Wohin“, fragte GERDA (leise)?", generator)
        first, second, third, fourth = noisy.split(" ")
        assert (first[0], first[-2:]) == ("„", "“,")
        assert second.islower()
        assert third.isupper()
        assert (fourth[0], fourth[-2:]) == ("(", ")?")


def test_chinese_is_left_alone() -> None:
    assert TypingNoise(1.0, "zh")("用 Python 写的 programme 很多", random.Random(0)) == "用 Python 写的 programme 很多"


def test_keyboards_differ() -> None:
    assert set(neighbours(("qwertyuiop", "asdfghjkl", "zxcvbnm"))["g"]) == set("fhtyvb")
    generator = random.Random(0)
    beside = {}
    for language in ("en", "de", "fr"):
        noise = TypingNoise(1.0, language)
        words = {noise("aaa", generator) for _ in range(300)}
        beside[language] = {letter for word in words if len(word) == 3 for letter in word} - {"a"}
    assert beside == {"en": set("qwsz"), "de": set("qwsy"), "fr": set("zq")}


def test_a_rate_is_a_share() -> None:
    with pytest.raises(ConfigError, match="must lie in 0 to 1"):
        TypingNoise(1.5, "en")

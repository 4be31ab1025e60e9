"""Splitting Chinese and joining it again; the law holds for every text."""

import importlib.util
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError
from regard.data import chinese
from regard.data.chinese import (
    contains_han,
    is_chinese,
    is_han,
    segment_characters,
    segment_words,
    unsegment,
)

MIXED = st.lists(
    st.sampled_from(
        ["我", "们", "，", "。", "「", "𠀀", "々", "か", "한", "a", "B", "7", " ", "  ", "\u3000", "“", "\n"]
    )
    | st.text(max_size=3),
    max_size=15,
).map("".join)


def test_which_characters_are_chinese() -> None:
    assert all(map(is_han, "我一龥㐀𠀀〇々豈"))
    assert not any(map(is_han, ["", "我们", "a", "，", "。", "か", "한", "ー", " ", "1"]))
    assert contains_han("ok 好")
    assert not contains_han("ok, かな")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("我用 Python", True), ("Python", False), ("食べる", False), ("韓國 한국", False), ("。，", False), ("", False)],
)
def test_which_texts_are_chinese(text: str, expected: bool) -> None:
    assert is_chinese(text) is expected


def test_characters_are_split_and_latin_words_are_not() -> None:
    assert segment_characters("我用Python写，你呢？ 好 7天") == "我 用Python写 ， 你 呢 ？ 好 7天"
    assert segment_characters("no Chinese here") == "no Chinese here"


def test_spaces_are_removed_between_chinese_only() -> None:
    assert unsegment("我 用 Python 写 ， 你\u3000呢 ？ a , b 7 天") == "我用 Python 写，你呢？a , b 7 天".replace(
        "？a", "？ a"
    )
    assert unsegment("我\n们") == "我\n们"


@settings(deadline=None)
@given(MIXED)
def test_splitting_is_undone(text: str) -> None:
    assert unsegment(segment_characters(text)) == unsegment(text)
    assert unsegment(unsegment(text)) == unsegment(text)
    assert segment_characters(text).replace(" ", "") == text.replace(" ", "")


@pytest.fixture
def fresh_jieba() -> Iterator[None]:
    chinese._jieba_cut.cache_clear()
    yield
    chinese._jieba_cut.cache_clear()


@pytest.mark.usefixtures("fresh_jieba")
def test_without_jieba_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "jieba", None)
    with pytest.raises(ConfigError, match=r"pip install 'regard\[zh\]'"):
        segment_words("今天下雨")


@pytest.mark.usefixtures("fresh_jieba")
def test_words_are_split_by_jieba() -> None:
    if importlib.util.find_spec("jieba") is None:
        pytest.skip("jieba (the extra regard[zh]) is not installed")
    before = set(Path(tempfile.gettempdir()).iterdir())
    assert segment_words("我们今天用Python写代码。") == "我们 今天 用Python写 代码 。"
    assert set(Path(tempfile.gettempdir()).iterdir()) <= before, "jieba left its cache behind"
    text = "北京的天气很好，𠀀好！ok 我们走吧"
    assert unsegment(segment_words(text)) == text
    assert segment_words("no Chinese here") == "no Chinese here"

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.explain.svg import escape, shorten, tag, text_width


@given(st.text(st.characters(exclude_categories=())), st.text())
def test_any_text_is_safe(text: str, value: str) -> None:
    element = ElementTree.fromstring(tag("text", escape(text), title=value))
    assert len(element) == 0
    if text.isprintable():
        assert (element.text or "") == text


def test_markup_is_text() -> None:
    assert escape('<b> & "c"\x00\ud800') == "&lt;b&gt; &amp; &quot;c&quot;\ufffd\ufffd"


def test_tags() -> None:
    assert tag("rect", x=1.50, font_size=2.0, class_="a") == '<rect x="1.5" font-size="2" class="a"/>'
    assert tag("g", tag("a"), id="x") == '<g id="x"><a/></g>'


def test_widths_go_by_the_kind_of_character() -> None:
    assert text_width("", 10) == 0
    assert text_width("ill", 10) < text_width("sea", 10) < text_width("MWM", 10) < text_width("北京市", 10)
    assert text_width("e\u0301", 10) == text_width("e", 10)
    assert text_width("北", 10) >= 10
    assert text_width("abc", 20) == pytest.approx(2 * text_width("abc", 10))


@given(st.text(max_size=40), st.floats(15, 200))
def test_shortened_text_fits(text: str, room: float) -> None:
    short = shorten(text, 12, room)
    assert text_width(short, 12) <= room
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))

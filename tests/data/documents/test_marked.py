import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.errors import DataError
from regard.data.documents import Marked, Tag

PIECES = st.lists(
    st.sampled_from(["a", " ", "<1>", "</1>", "<2/>", "\\", "\\\\", "<", ">", "/", "1", "</2/>", "é", "\n"])
)


@given(PIECES.map("".join), st.lists(st.integers(0, 30)), st.data())
def test_what_is_written_is_read_back(text: str, places: list[int], data: st.DataObject) -> None:
    """Whatever the text looks like, and wherever tags stand in it."""
    tags: list[Tag] = []
    stack: list[str] = []
    for number, place in enumerate(sorted(min(place, len(text)) for place in places), 1):
        kinds = ["alone", "open", *(["close"] if stack else [])]
        kind = data.draw(st.sampled_from(kinds))
        name = stack.pop() if kind == "close" else str(number)
        stack += [name] * (kind == "open")
        tags.append(Tag(place, name, kind))
    tags += [Tag(len(text), name, "close") for name in reversed(stack)]
    marked = Marked(text, tuple(tags))
    assert Marked.parse(str(marked)) == marked


@given(st.text(alphabet="ab<>/\\12"))
def test_any_string_is_read_or_refused(written: str) -> None:
    try:
        marked = Marked.parse(written)
    except DataError:
        return
    assert Marked.parse(str(marked)) == marked


def test_how_it_looks() -> None:
    marked = Marked("Press Save now.", (Tag(6, "1", "open"), Tag(10, "1", "close"), Tag(15, "2", "alone")))
    assert str(marked) == "Press <1>Save</1> now.<2/>"
    assert str(Marked("a <1> b")) == r"a \<1> b"
    assert Marked.parse("a<3/>b", Marked("ab", (Tag(1, "3", "alone", "\n"),))).tags[0].reads == "\n"


@pytest.mark.parametrize(
    ("written", "message"),
    [("<1>a", "never closed"), ("a</1>", "not open"), ("<1>a<2></1></2>", "not open"), ("<1/><1/>", "twice")],
)
def test_tags_that_do_not_nest_are_refused(written: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        Marked.parse(written)


def test_tags_out_of_the_text_are_refused() -> None:
    with pytest.raises(DataError, match="outside"):
        Marked("ab", (Tag(3, "1", "alone"),))
    with pytest.raises(DataError, match="out of order"):
        Marked("ab", (Tag(2, "1", "alone"), Tag(1, "2", "alone")))


def test_a_translation_is_mended() -> None:
    source = Marked.parse("a <1>b</1><2/>")
    assert str(Marked.parse("x <3>y</3>").mended(source)) == "x y<2/>"
    assert str(Marked.parse("<2/>x <1>y</1>").mended(source)) == "<2/>x <1>y</1>"

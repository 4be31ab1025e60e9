"""What must not change does not, whatever a model makes of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.tasks import integrity
from regard.tasks.integrity import Mask, check, has_words, mask, outside, restore


@pytest.mark.parametrize(
    ("text", "originals"),
    [
        ("Hello {name}, you have %d of %(all)s, %1$s and %-5.2f%%.", ["{name}", "%d", "%(all)s", "%1$s", "%-5.2f"]),
        (
            "See https://example.com/a?b=1&c=(d). Then www.example.org!",
            ["https://example.com/a?b=1&c=(d", "www.example.org"],
        ),
        ("请访问https://example.com/页。谢谢", ["https://example.com/"]),
        ("Write to ann.b+c@example.co.uk.", ["ann.b+c@example.co.uk"]),
        ('The [X12X] and <x id="1"/> in <b class="y">bold</b>', ["[X12X]", '<x id="1"/>', '<b class="y">', "</b>"]),
        ("{{ user }} has ${total} and $HOME, #{x}", ["{{ user }}", "${total}", "$HOME", "#{x}"]),
        ("Tom &amp; Ann &#39;&#x27;", ["&amp;", "&#39;", "&#x27;"]),
        ("Set max_length in do_it().", ["max_length", "do_it()"]),
        ("I ❤️ 👩🏽‍🚀 and 🇩🇪 1️⃣", ["❤️", "👩🏽‍🚀", "🇩🇪", "1️⃣"]),
        ("It cost 1,234.56 on 2024-05-06 at 12:30 for 20 people", ["1,234.56", "2024-05-06", "12:30"]),
        ("50% discount, 5 % off, a < b and c > d, 3 {a b} 1990s", []),
        ("$5 or 3.50 €, 80 m², -5 °C, 1½ and ½ cup", ["$5", "3.50 €", "80 m²", "-5 °C", "1½", "½"]),
        ("See WWW.EXAMPLE.ORG and HTTPS://a.example/B", ["WWW.EXAMPLE.ORG", "HTTPS://a.example/B"]),
        ("Costs 100% sure", ["100"]),
    ],
)
def test_what_is_masked(text: str, originals: list[str]) -> None:
    masked = mask(text)
    assert list(masked.originals) == originals
    assert restore(masked.text, masked, lambda _: None) == (text, ())
    for number, original in enumerate(originals, 1):
        assert f"{{{number}}}" in masked.text or original == f"{{{number}}}"


@given(
    st.lists(
        st.sampled_from(["{", "}", "1", "12", "%s", " ", "a", "@b.c", "http://", "x_y", "<b>", "😀", "\u200d", "."])
    )
)
def test_masks_can_always_be_taken_off(pieces: list[str]) -> None:
    text = "".join(pieces)
    masked = mask(text)
    assert restore(masked.text, masked, lambda _: None) == (text, ())


@given(
    st.lists(st.sampled_from(["{name}", "%s", "👍", "a@b.cd", "{1}"]), max_size=4),
    st.lists(st.sampled_from(["Wort", " ", "{1}", "{2}", "{9}", "｛1｝", "{ 2 }", "。", "."])),
    st.integers(0, 20),
)
def test_every_original_is_there_once(originals: list[str], said: list[str], place: int) -> None:
    """Whatever the model says, whatever place the alignment gives."""
    masked, translation = Mask("", tuple(originals)), "".join(said)
    text, problems = restore(translation, masked, lambda _: min(place, len(translation)))
    for original in set(originals):
        assert text.count(original) == originals.count(original)
    assert len(problems) <= len(originals)
    assert all(problem.kind == "placeholder" for problem in problems)


def test_where_a_lost_one_goes() -> None:
    masked = Mask("{1}, you have {2}.", ("{name}", "%d"))
    text, problems = restore("du hast Post.", masked, lambda number: {1: 0, 2: 7}[number])
    assert text == "{name} du hast %d Post."
    assert [problem.detail for problem in problems] == [
        "{name} was lost, and put where it seems to belong",
        "%d was lost, and put where it seems to belong",
    ]
    assert restore("Post.", Mask("", ("%d",)), lambda _: None)[0] == "Post %d."


def test_what_a_translation_was_made_to_begin_with_is_not_put_twice() -> None:
    assert restore("Hallo {name}, du", Mask("Hello {1}, you", ("{name}",)), lambda _: None) == ("Hallo {name}, du", ())


@pytest.mark.parametrize(
    ("source", "translation", "details"),
    [
        ("Hello {name}!", "Hallo {name}!", []),
        ("Hello {name}!", "Hallo!", ["{name} is missing"]),
        ("%s and %s", "%s", ["%s is missing"]),
        ("Hello", "Hallo {name}", ["{name} is not in the source"]),
        ("1,234.56 euros", "1.234,56 Euro", []),
        ("20 people", "zweihundert", ["20 is missing"]),
        ("20 people", "200 Leute", ["20 is missing", "200 is not in the source"]),
        ("20 and 20", "20", ["20 is missing"]),
        ("20万", "200,000", []),
        ("5 million", "5000000", []),
        ("See www.example.org/1", "Siehe www.example.org/1", []),
    ],
)
def test_what_is_checked(source: str, translation: str, details: list[str]) -> None:
    assert [problem.detail for problem in check(source, translation)] == details


def test_words_beside_placeholders() -> None:
    assert has_words("Hi {name}")
    assert not has_words("https://example.com {name} %d a@b.cd 42")
    assert outside("delete {Name} now", str.upper) == "DELETE {Name} NOW"


@pytest.mark.parametrize("unit", ["a", "1", "a_", "{", "@", "a.", "<a ", "http://", "%", "&a", "1,", "😀\u200d", "$"])
def test_long_text_is_no_trouble(unit: str) -> None:
    text = unit * (50_000 // len(unit))
    assert restore(mask(text).text, mask(text), lambda _: None)[0] == text


@given(st.text() | st.text(alphabet=st.sampled_from("aZéß你。，.,;!?'\"’-–… ❶🄁①↵☺©²٣_@%&$w./:<{[#*")))
def test_the_quick_look_misses_nothing(text: str) -> None:
    if integrity._is_plain(text):
        assert integrity._MASKED_WITH_NUMBERS.search(text) is None
        assert integrity._MASKED_TEXT.search(text) is None


def test_half_a_stand_in_is_made_whole_in_its_place() -> None:
    masked = mask("It costs 1,234.56 today, not 99,000.")
    assert masked.originals == ("1,234.56", "99,000")
    text, problems = restore("Es kostet heute 1}, nicht {2}.", masked, lambda _: 0)
    assert (text, problems) == ("Es kostet heute 1,234.56, nicht 99,000.", ())


@pytest.mark.parametrize(
    ("source", "translation", "lost"),
    [
        ("He paid €5.", "Er zahlte 5.", ["€"]),
        ("He paid €5.", "Er zahlte 5 €.", []),
        ("80 m² or ½", "80 m oder ½", ["²"]),
        ("It is 5 °C.", "Es sind 5 C.", ["°"]),
    ],
)
def test_signs_are_missed(source: str, translation: str, lost: list[str]) -> None:
    assert [problem.value for problem in check(source, translation) if problem.kind == "sign"] == lost

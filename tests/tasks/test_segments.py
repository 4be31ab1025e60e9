"""A text taken apart is all there, and put together again it is the text."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.tasks.segments import Segment, cut, put_together, take_apart

LANGUAGES = ["en", "de", "fr", "zh", "xx"]


def again(text: str, language: str) -> str:
    """Take apart and put together without translating."""
    return put_together([(segment, segment.core) for segment in take_apart(text, language)], language, language)


def cores(text: str, language: str = "en") -> list[str]:
    return [segment.core for segment in take_apart(text, language) if segment.core]


def translated(text: str, source: str, target: str, words: dict[str, str]) -> str:
    return put_together([(s, words[s.core] if s.core else "") for s in take_apart(text, source)], source, target)


SAMPLES = [
    *("", " ", "\n\n", "Yes.", "ok", "42", "3,50 €", "👍", "👨‍👩‍👧 🇩🇪 1️⃣", "...", "?!", "→ ←", "• one • two"),
    "The kettle sings. Nobody listens! Why?\n\n\tA new paragraph — “quoted.” (Done.)  ",
    "Der Kessel singt. Am 3. Mai, z. B. um 9.30 Uhr, hört ihm Dr. Weiß zu. ☕️ Schön!",
    "« Il pleut », dit-elle. Et alors ? Rien… ❤️",
    "水壶在响。没有人听！为什么？“因为……”他说。",
    "a\u2028b\r\nc\u00a0d\x0be",
]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("text", SAMPLES)
def test_samples_come_back(text: str, language: str) -> None:
    assert again(text, language) == text


CHARACTERS = st.one_of(
    st.sampled_from(
        [*"aeinrst .,!?\n\t\"'()0123", "Mr. ", "。", "！", "北", "京", "👍", "\ufe0f", "\u200d", "•", "→", "1️⃣"]
    ),
    st.characters(exclude_categories=("Cs",)),
)


@given(st.lists(CHARACTERS, max_size=60).map("".join), st.sampled_from(LANGUAGES))
def test_whatever_is_not_shouted_comes_back(text: str, language: str) -> None:
    segments = take_apart(text, language)
    if not any(segment.shouted for segment in segments):
        assert again(text, language) == text
    for segment in segments:  # copied, or with something to translate in it
        assert segment.core == "" or any(character.isalpha() for character in segment.core)
        assert segment.core == segment.core.strip()


@given(st.lists(CHARACTERS, min_size=1, max_size=60).map("".join), st.sampled_from(LANGUAGES), st.integers(1, 20))
def test_cutting_loses_nothing(text: str, language: str, size: int) -> None:
    for segment in take_apart(text, language):
        if not segment.core:
            continue
        pieces = cut(segment, language, size)
        parts = [(piece, piece.core) for piece in pieces]
        assert put_together(parts, language, language) == put_together([(segment, segment.core)], language, language)
        assert all(len(piece.core) <= size for piece in pieces)
        assert all(piece.core == "" or any(c.isalpha() for c in piece.core) for piece in pieces)


@pytest.mark.parametrize("text", ["42", "3.14 + 2 = 5.14", "👍", "❤️❤️❤️", "—", "+49 30 1234-567", "😀 12:30 😀", "   "])
def test_what_has_no_words_is_copied(text: str) -> None:
    assert cores(text) == []
    assert translated(text, "en", "zh", {}) == text


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("👍 Well done!", "Well done!"),
        ("Well done! 🎉🎉", "Well done!"),
        ("👩🏽‍🚀Fly me there.👩🏽‍🚀", "Fly me there."),
        ("🇫🇷 France", "France"),
        ("→ Go on ←", "Go on"),
        ("2️⃣ Mix the flour", "Mix the flour"),
        ("• Mix the flour", "Mix the flour"),
        ("`Mix the flour`", "Mix the flour"),
        ("$5 is enough", "$5 is enough"),
        ("¿Quién?", "¿Quién?"),
    ],
)
def test_symbols_around_a_sentence_stay_around_it(text: str, core: str) -> None:
    assert cores(text) == [core]
    assert translated(text, "en", "de", {core: "*"}) == text.replace(core, "*")


@pytest.mark.parametrize(
    ("text", "core"),
    [
        ("WHO LEFT THE GATE OPEN?", "Who left the gate open?"),
        ("I THINK I KNOW", "I think I know"),
        ("NATO", "NATO"),  # an acronym
        ("OK, FINE", "Ok, fine"),
        ("Who left the GATE open?", "Who left the GATE open?"),
        ("MADE IN 中国", "MADE IN 中国"),
    ],
)
def test_shouting_is_calmed(text: str, core: str) -> None:
    assert cores(text) == [core]


def test_shouting_is_shouted_again() -> None:
    words = {"Who left the gate open?": "Wer hat das Tor offen gelassen?"}
    assert translated("🐄 WHO LEFT THE GATE OPEN?", "en", "de", words) == "🐄 WER HAT DAS TOR OFFEN GELASSEN?"


def test_each_sentence_of_a_line_is_shouted_by_itself() -> None:
    text = "STOP THAT AT ONCE! It is late."
    assert (
        translated(text, "en", "fr", {"Stop that at once!": "Arrête !", "It is late.": "Il est tard."})
        == "ARRÊTE ! Il est tard."
    )


def test_spaces_go_in_chinese_and_come_from_it() -> None:
    words = {"It rains.": "下雨了。", "We stay.": "我们不走。", "Bye": "再见"}
    back = {after: before for before, after in words.items()}
    assert translated("It rains. We stay.", "en", "zh", words) == "下雨了。我们不走。"
    assert translated("It rains.\n\nWe stay.", "en", "zh", words) == "下雨了。\n\n我们不走。"
    assert translated("下雨了。我们不走。", "zh", "en", back) == "It rains. We stay."
    assert translated("下雨了。\n我们不走。", "zh", "en", back) == "It rains.\nWe stay."


def test_pieces_of_a_cut_sentence_keep_what_surrounds_it() -> None:
    segment = Segment("👍 ", "one two three four", " 👎", "\n", shouted=True)
    pieces = cut(segment, "en", 9)
    assert len(pieces) > 1
    assert all(piece.shouted for piece in pieces)
    assert put_together([(piece, piece.core) for piece in pieces], "en", "en") == "👍 ONE TWO THREE FOUR 👎\n"


def test_numbers_cut_out_of_a_long_sentence_are_copied() -> None:
    pieces = cut(Segment("", "call, 123456789012345, now", "", ""), "en", 16)
    assert [piece.core for piece in pieces if piece.before] == [""]
    assert put_together([(piece, piece.core) for piece in pieces], "en", "en") == "call, 123456789012345, now"


@pytest.mark.parametrize("unit", ["a", "好", "word ", "😀", ". ", "A. ", "1 ", "\n", "（", "\"'"])
def test_very_long_input_is_no_trouble(unit: str) -> None:
    text = unit * (60_000 // len(unit))
    assert again(text, "en") == text
    for segment in take_apart(text, "zh"):
        if segment.core:
            segment = replace(segment, before="", after="", separator="", shouted=False)
            assert (
                "".join(piece.before + piece.core + piece.separator for piece in cut(segment, "zh", 100))
                == segment.core
            )

"""Where sentences end, language by language, and that no character is ever lost."""

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError
from regard.data.sentences import Span, split_long, split_sentences

# "|" stands where the text must be split; the space after it is the separator.
CASES = {
    "en": [
        "It rains. | We stay in. | Is that all? | Yes!",
        "Mr. Hill met Dr. J. R. Moss and Mrs. Ada Lake. | They talked.",
        "Ask e.g. Ann, i.e. my aunt. | She knows.",
        "It costs 3.50 or 1,200.75 dollars. | Cheap!",
        "See No. 5, Fig. 3 and pp. 10 to 12. | No. | I will not.",
        "The U.S. Navy left the U.S. | The rest stayed at Moss Inc. | We did not.",
        "Be there at 5 p.m. | The door closes. | John comes at 6 p.m. Monday.",
        'He said "Wait!" and left. | "Go on." | Then she laughed. | (All did.) | End.',
        "“Stop!” he cried. | “Never.” | She ran.",
        "Well... maybe not. | It ended... | Then nothing.",
        "Read https://a.example/b.c?d=e. | Then write to x.y@b.example. | Open main.py.",
        "What?! | No!! | Yes...?",
        "1. Open the box. | 2. Close it. a) Rest.",
        "So do I. | Tom does not. | I. M. Reed built it.",
        "Solve for x. | The answer is 4. | 30 people knew.",
        "iPads sell. | iPods do not. | yes they do.".replace("| yes", "yes"),
        "He is 6 ft. tall. | Vitamin C. | It helps.",
        "Keep [..] and (...) Inside. | Done.",
        "我来了。 | It rains.",
    ],
    "de": [
        "Am 3. Mai regnet es. | Im 19. Jahrhundert auch. | Er ist 30. | Sie ist 25.",
        "Ludwig XIV. König war er. | Das ist z.B. Brot, d.h. Essen, z. B. Die Zeit.",
        "Prof. Dr. Klein liest Nr. 5 usw. im Haus. | Danach geht er.",
        "Sie kauft Äpfel, Birnen usw. | Dann geht sie.",
        "Wen ich mag. | Tom kommt. | Ich bin Max. | Tom auch.",
        "„Halt!“, rief er. | „Komm mit.“ | Sie ging. | »Nein.« | Gut.",
        "Das war 1999. | Es war warm. | In der Str. 7 wohnt Ing. Mag. Huber.",
    ],
    "fr": [
        "M. Roux et Mme. Brun arrivent. | Il pleut.",
        "« Bonjour ! » | Il part. | « Quoi ? » dit-elle.",
        "Quoi ?! | Oui ! | C'est bien… | L'eau monte.",
        "Voir p. 12, p. ex. ici, etc. | Elle lit. | J.-C. Brun aussi.",
    ],
    "zh": [
        "你好。|我来了！|真的吗？！|是；|不是。",
        "“走吧！”他笑着说。|“走吧！”|我们一起走。|「好。」|（完。）|下一句",
        "他……走了。|“可是……”|她不懂。",
        "我用 Python 3.5 写。|好!|好吗?|他来了.|我走了。",
        '他说："来。"|我来。|"好。"|完',
        "第一段。|\n|第二段。".replace("|\n|", "|\n"),
    ],
    "ja": ["雨だ。|「はい。」と言った。|元気ですか？|はい"],
    "ru": ["Привет. | Как дела? | Это А. П. Чехов."],
    "xx": ["Foo bar. | Baz? | J. R. Hill."],
    "hi": ["राम घर गया। | वह खुश है।"],
}


@pytest.mark.parametrize(("language", "marked"), [(k, text) for k, texts in CASES.items() for text in texts])
def test_sentence_ends(language: str, marked: str) -> None:
    if language in ("zh", "ja"):
        expected = [part.strip() for part in marked.split("|")]
        text = marked.replace("|", "")
    else:
        expected = marked.split(" | ")
        text = marked.replace(" | ", " ")
    spans = split_sentences(text, language)
    assert [span.text for span in spans] == expected
    assert rejoined(spans) == text


def rejoined(spans: list[Span]) -> str:
    return "".join(span.text + span.separator_after for span in spans)


@pytest.mark.parametrize("code", ["de", "DE", "de-AT", "de_CH", "deu", "ger"])
def test_language_codes(code: str) -> None:
    assert len(split_sentences("Am 3. Mai war es z.B. Nacht.", code)) == 1
    assert len(split_sentences("Am 3. Mai war es z.B. Nacht.", "sv")) > 1


def test_white_space_is_kept_apart() -> None:
    text = " \t It rains.\u00a0\u2003We stay.\r\n\r\n  New line\nno stop. \n"
    assert split_sentences(text, "en") == [
        Span("", " \t "),
        Span("It rains.", "\u00a0\u2003"),
        Span("We stay.", "\r\n\r\n  "),
        Span("New line", "\n"),
        Span("no stop.", " \n"),
    ]
    assert split_sentences("", "en") == []
    assert split_sentences(" \n ", "zh") == [Span("", " \n ")]


WORDS = ". ... … ! ? 。 ！ ； “ ” « » ( ) Mr Dr. 3. 12 I x A The die Die 他 说 好 と ， - e\u0301 https://a.example/b"
FRAGMENTS = st.sampled_from(WORDS.split()) | st.sampled_from(
    [" ", "  ", "\n", "\r\n", "\u00a0", "\u3000", '"', " »", "z. B.", ", ", ": ", "👩\u200d👩\u200d👧"]
)
TEXTS = st.lists(FRAGMENTS | st.text(max_size=4), max_size=40).map("".join)
LANGUAGES = st.sampled_from(["en", "de", "fr", "zh", "ja", "xx", ""])


@settings(deadline=None, max_examples=300)
@given(text=TEXTS, language=LANGUAGES)
def test_sentences_lose_no_character(text: str, language: str) -> None:
    spans = split_sentences(text, language)
    assert rejoined(spans) == text
    check_shape(spans)
    assert not any("\n" in span.text for span in spans)


@settings(deadline=None, max_examples=300)
@given(text=TEXTS, language=LANGUAGES, limit=st.integers(1, 60))
def test_cutting_loses_no_character(text: str, language: str, limit: int) -> None:
    spans = split_long(text, language, limit)
    assert rejoined(spans) == text
    check_shape(spans)
    assert all(len(span.text) <= limit for span in spans)


def check_shape(spans: list[Span]) -> None:
    for number, span in enumerate(spans):
        assert span.text == span.text.strip()
        assert span.separator_after.strip() == ""
        assert span.text or (number == 0 and span.separator_after)


def test_cuts_come_at_clauses_then_spaces_then_anywhere() -> None:
    def pieces(text: str, language: str, limit: int) -> list[str]:
        return [span.text for span in split_long(text, language, limit)]

    assert pieces("short enough", "en", 12) == ["short enough"]
    assert pieces("The old boat, which was green, lay on the sand.", "en", 30) == [
        "The old boat, which was green,",
        "lay on the sand.",
    ]
    # Commas of numbers are none of clauses.
    assert pieces("They sold 1,000 of the 2,000 boats in there", "en", 25) == [
        "They sold 1,000 of the",
        "2,000 boats in there",
    ]
    assert pieces("我来了，他走了，我们不知道。", "zh", 9) == ["我来了，他走了，", "我们不知道。"]
    assert pieces("我来了,他走了,我们不知道。", "zh", 9) == ["我来了,他走了,", "我们不知道。"]
    assert pieces("abcdefghij", "en", 4) == ["abcd", "efg", "hij"]
    assert pieces("xxxe\u0301e\u0301e\u0301", "en", 4) == ["xxx", "e\u0301", "e\u0301e\u0301"]
    assert pieces("  " + "word " * 4, "en", 9) == ["", "word word", "word word"]


def test_a_limit_that_is_not_positive_is_an_error() -> None:
    with pytest.raises(ConfigError, match="max_characters is 0"):
        split_long("text", "en", 0)


@pytest.mark.parametrize(
    "unit", [". A ", "a. ", "。", "!”说", '。"说', ". . ", " »", "…", "(", " ", "\n", "A. B. ", "x" * 50 + ". "]
)
def test_time_grows_with_length_and_not_its_square(unit: str) -> None:
    def seconds(count: int) -> float:
        text = unit * (count // len(unit))
        start = time.process_time()
        for language in ("fr", "zh"):
            assert re.fullmatch(r"\s*", text) or split_sentences(text, language)
            split_long(text, language, 100)
        return time.process_time() - start

    # Eight times the text: linear is 8 times the time, quadratic 64 times. Small times are noise.
    assert seconds(40_000) < 24 * seconds(5_000) + 0.2

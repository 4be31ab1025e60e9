"""What a model thinks of a translation that is given."""

from collections.abc import Callable
from pathlib import Path

import pytest

from regard import Translator
from regard.tasks.fluency import MAX_PIECES, Fluency, fluency, say

Judge = Callable[[str, str], Fluency]


@pytest.fixture(scope="module")
def translator(shipped_model: Path) -> Translator:
    return Translator.from_pretrained(shipped_model)


@pytest.fixture(scope="module")
def judge(translator: Translator) -> Judge:
    def ask(text: str, translation: str) -> Fluency:
        prepared = say(translator, text, translation, "en", "de")
        assert prepared is not None
        answer = translator.engine.translate(prepared.requests)[0]
        return fluency(prepared, translator.sentence(prepared, 0, answer), translation)

    return ask


@pytest.mark.parametrize("text", ["The bread is still warm.", "Where is the station, and who has the keys?"])
def test_of_its_own_translation_a_model_thinks_what_it_thought(translator: Translator, judge: Judge, text: str) -> None:
    sentence = translator.translate(text, "en", "de", beam=1).sentences[0]
    own = sentence.log_probs[: len(sentence.pieces)]
    assert judge(text, sentence.text).score == pytest.approx(sum(own) / len(own), abs=1e-3)


def test_an_odd_word_stands_out(judge: Judge) -> None:
    text = "My brother works in a hospital."
    good, odd = judge(text, "Mein Bruder arbeitet in einem Krankenhaus."), "Mein Bruder arbeitet in einem Gemüse."
    found = judge(text, odd)
    assert found.score < good.score - 0.5
    worst = min(found.words, key=lambda word: word.score)
    assert odd[worst.place.start : worst.place.stop] == "Gemüse"


def test_placeholders_are_neither_odd_nor_in_the_way(judge: Judge) -> None:
    found = judge("Open {file} now.", "Öffnen Sie {file} jetzt.")
    assert [word.text for word in found.words][-1] == "."
    assert found.score > -6


def test_what_is_empty_or_too_long_is_not_judged(translator: Translator) -> None:
    for text, translation in [("", "Ja."), ("Yes.", ""), ("Yes.", "ja " * MAX_PIECES * 2), ("yes " * 300, "Ja.")]:
        assert say(translator, text, translation, "en", "de") is None

"""Directions in two steps."""

from pathlib import Path

import numpy as np
import pytest

from regard import Translator
from regard.base.errors import ConfigError
from regard.tasks.pivot import language_between


@pytest.fixture(scope="module")
def translator(shipped_model: Path) -> Translator:
    return Translator.from_pretrained(shipped_model)


@pytest.mark.parametrize(
    ("directions", "between"),
    [
        ("fr-en en-de", "en"),
        ("fr-en en-de fr-de", "en"),
        ("fr-es es-de fr-it it-de", "es"),
        ("fr-es es-de fr-en en-de", "en"),
        ("fr-en de-en", None),
        ("", None),
    ],
)
def test_the_language_between(directions: str, between: str | None) -> None:
    pairs = [(pair.split("-")[0], pair.split("-")[1]) for pair in directions.split()]
    assert language_between(pairs, "fr", "de") == between
    assert language_between(pairs, "fr", "fr") is None


def test_two_steps_give_what_the_two_give_one_after_the_other(translator: Translator) -> None:
    text = "Où sont les clés ? Le pain est encore chaud."
    found = translator.translate(text, "fr", "de")
    assert len(found.sentences) == 2
    for sentence in found.sentences:
        english = translator.translate(sentence.source, "fr", "en")
        german = translator.translate(english.text, "en", "de").sentences[0]
        assert (sentence.pivot, sentence.text) == (english.text, german.text)
        assert sentence.score == pytest.approx(english.score + german.score, abs=1e-3)
    assert translator.translate("The bread is warm.", "en", "de").sentences[0].pivot is None


def test_attention_goes_through_the_words_between(translator: Translator) -> None:
    sentence = translator.translate("Le pain est encore chaud.", "fr", "de", alignment=True).sentences[0]
    assert sentence.attention is not None
    assert sentence.attention.shape == (len(sentence.pieces), len(sentence.source_pieces))
    assert np.allclose(sentence.attention.sum(axis=1), 1, atol=1e-5)
    bread = next(i for i, piece in enumerate(sentence.pieces) if "Brot" in piece)
    assert "pain" in sentence.source_pieces[int(sentence.attention[bread].argmax())]


def test_what_must_not_change_comes_through_both_steps(translator: Translator) -> None:
    found = translator.translate("Bonjour {nom}, il y a 12345 messages sur https://example.org/a?b=1 !", "fr", "zh")
    for part in ("{nom}", "12345", "https://example.org/a?b=1"):
        assert part in found.text
    assert not [problem for problem in found.problems if not problem.repaired]


def test_options_are_meant_for_the_last_step(translator: Translator) -> None:
    sentence = translator.translate("Le pain est chaud.", "fr", "de", prefix="Unser Brot", num_hypotheses=3).sentences[
        0
    ]
    assert sentence.text.startswith("Unser Brot")
    assert len(sentence.alternatives) == 2


def test_where_there_is_no_way_it_is_said(translator: Translator) -> None:
    with pytest.raises(ConfigError, match="does not translate de→es"):
        translator.translate("Hallo.", "de", "es")

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.tasks.alignment import Word, links, word_attention, word_spans, words_of


def texts(pieces: str | list[str]) -> list[str]:
    return [word.text for word in words_of(pieces.split() if isinstance(pieces, str) else pieces)]


@pytest.mark.parametrize(
    ("pieces", "words"),
    [
        ("▁The ▁light house ▁keep er", ["The", "lighthouse", "keeper"]),
        ("▁at ▁ 9 : 4 5 .", ["at", "9:45", "."]),  # within a word punctuation belongs to it
        ("▁don ' t ▁( stop ) !", ["don't", "(", "stop", ")!"]),
        ("▁“ ▁Hi !”", ["“", "Hi", "!”"]),
        ("▁我 明天 去 北 京 。", ["我", "明天", "去", "北", "京", "。"]),
        ("▁用 P ython 写", ["用", "Python", "写"]),
        ("▁カ メラ だ", ["カ", "メラ", "だ"]),
        ("▁ <0xE5> <0x90> <0x83> 了", ["吃", "了"]),
        ("▁a <0xF0> <0x9F> <0x91> <0x8D>", ["a👍"]),
        ("▁a <0xFF> <0xE5>", ["a��"]),  # bytes that spell nothing
        ("▁a <0x00> <0x0A>", ["a��"]),  # or what cannot be shown
        ("▁", [""]),
        ("▁ ▁ a", ["a"]),
        (". ▁", ["."]),
        ([], []),
    ],
)
def test_words(pieces: str | list[str], words: list[str]) -> None:
    assert texts(pieces) == words


ALPHABET = ["▁", "▁the", "ing", ".", "▁(", "“", "3", "北", "▁京都", "か", "<0xE5>", "<0x90>", "<0x83>", "<0x41>", "'"]


@given(st.lists(st.sampled_from(ALPHABET), max_size=12))
def test_every_piece_is_in_one_word(pieces: list[str]) -> None:
    words = words_of(pieces)
    assert [i for word in words for i in word.pieces] == list(range(len(pieces)))
    assert all(len(word.pieces) > 0 for word in words)
    assert len(words) < 2 or all(word.text for word in words)


def test_attention_is_summed_over_the_source_and_averaged_over_the_target() -> None:
    pieces = np.array([[0.1, 0.3, 0.6], [0.5, 0.1, 0.4]])
    source = [Word("ab", range(0, 2)), Word("c", range(2, 3))]
    target = [Word("xy", range(0, 2))]
    assert word_attention(pieces, source, target) == pytest.approx(np.array([[0.5, 0.5]]))


@given(
    st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=8),
    st.lists(st.sampled_from(ALPHABET), min_size=1, max_size=8),
)
def test_rows_stay_distributions(source: list[str], target: list[str]) -> None:
    attention = np.random.default_rng(len(source)).dirichlet(np.ones(len(source)), size=len(target))
    table = word_attention(attention, words_of(source), words_of(target))
    assert table.shape == (len(words_of(target)), len(words_of(source)))
    assert table.sum(axis=1) == pytest.approx(np.ones(len(table)))


def test_without_attention_there_is_no_link() -> None:
    words = words_of(["▁a", "▁b"])
    table = word_attention(np.zeros((2, 2)), words, words)
    assert table == pytest.approx(np.zeros((2, 2)))
    assert links(table) == []


def test_links_are_the_strongest_and_whatever_is_strong() -> None:
    table = np.array([[0.4, 0.35, 0.25], [0.1, 0.2, 0.7], [0.2, 0.2, 0.6]])
    assert links(table) == [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]
    assert links(table, threshold=0.65) == [(0, 0), (2, 1), (2, 2)]
    assert links(np.zeros((0, 0))) == []


def test_a_word_whose_ending_was_taken_away_is_still_found() -> None:
    words = [Word("Das", range(0, 1)), Word("Krustenlaibt", range(1, 3)), Word("ist", range(3, 4))]
    assert word_spans("Das Krustenlaib ist", words) == [range(0, 3), range(4, 15), range(16, 19)]
    assert not word_spans("Das Brot ist", words)[1]

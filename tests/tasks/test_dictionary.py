"""Dictionaries learnt from parallel text: what is kept, how a word is found, files."""

import gzip
from pathlib import Path

import pytest

from regard.base.errors import DataError
from regard.cli.main import main
from regard.data.corpus import Pair
from regard.tasks import dictionary
from regard.tasks.dictionary import Dictionary, Entry, keys_for, learn, read_dictionary, shipped_dictionary, words_of

ANIMALS = [("dog", "Hund"), ("cat", "Katze"), ("horse", "Pferd"), ("bird", "Vogel"), ("mouse", "Maus")]
PAIRS = [
    Pair(f"The {size} {animal} {does}.", f"Der {groß} {tier} {tut}.")
    for animal, tier in ANIMALS
    for size, groß in [("big", "große"), ("small", "kleine"), ("old", "alte")]
    for does, tut in [("sleeps", "schläft"), ("eats", "frisst")]
]


def test_words_and_their_translations_are_learnt() -> None:
    there, back = learn(PAIRS, "en", "de")
    for english, german in ANIMALS:
        assert [entry.senses for entry in there.lookup([english])] == [((german, 6),)]
        assert [entry.word for entry in back.lookup([german.lower()])] == [german]
    assert there.lookup(["small"])[0].senses[0][0] == "kleine"
    assert there.lookup(["tiger"]) == []


def test_chinese_is_divided_into_words() -> None:
    pytest.importorskip("jieba", reason="jieba is not installed (the extra 'zh')")
    english = ["I like coffee", "He likes tea", "We like music", "She likes coffee", "They like tea", "You like music"]
    chinese = ["我喜欢咖啡", "他喜欢茶", "我们喜欢音乐", "她喜欢咖啡", "他们喜欢茶", "你喜欢音乐"]
    pairs = [Pair(*pair) for pair in zip(english, chinese, strict=True)] * 3
    there, back = learn(pairs, "en", "zh")
    assert [entry.senses[0][0] for entry in there.lookup(["coffee"])] == ["咖啡"]
    assert [entry.senses[0][0] for entry in back.lookup(["音乐"])] == ["music"]


def test_words_have_no_marks_and_french_ones_no_articles() -> None:
    assert words_of("It's 5 o'clock: wake up!", "en") == ["It's", "o'clock", "wake", "up"]
    assert words_of("L’homme n’a qu’un ami aujourd’hui.", "fr") == [
        *("L'", "homme", "n'", "a", "qu'", "un", "ami", "aujourd'hui")
    ]


def test_forms_of_a_translation_count_as_one() -> None:
    found = dictionary._chosen("big", [("große", 10), ("großen", 6), ("dick", 4), ("großes", 2), ("x", 1)], "de")
    assert found == (("große", 18), ("dick", 4))


def test_a_phrase_is_no_other_word_for_a_part_of_it() -> None:
    drink, coffee = Entry("喝咖啡", (("coffee", 10),)), Entry("咖啡", (("coffee", 73),))
    father, old = Entry("父亲", (("father", 90),)), Entry("父", (("father", 4),))
    assert dictionary._without_phrases([drink, coffee, father, old]) == [coffee, father, old]


def test_names_and_program_text_are_left_out() -> None:
    assert dictionary._chosen("Tom", [("Tom", 90)], "fr") == ()
    assert not dictionary._is_word("useState", "en")
    assert not dictionary._is_word("state", "zh")
    assert dictionary._is_word("Arbeit", "de")


@pytest.mark.parametrize(
    ("word", "language", "context", "first"),
    [
        ("Houses", "en", "", ["houses", "house"]),
        ("running", "en", "", ["running", "runn", "runne", "run"]),
        ("行", "zh", "他在银行工作", ["他在银行工作"]),
        ("行", "zh", "", ["行"]),
        ("不在", "zh", "他在", ["不在"]),
    ],
)
def test_where_a_word_may_stand(word: str, language: str, context: str, first: list[str]) -> None:
    assert keys_for(word, language, context)[: len(first)] == first


def test_the_longest_word_around_a_character_is_found() -> None:
    known = Dictionary([Entry("银行", (("bank", 9),)), Entry("行", (("go", 3),))])
    assert [e.word for e in known.lookup(keys_for("行", "zh", "他在银行工作。"))] == ["银行"]
    assert [e.word for e in known.lookup(keys_for("行", "zh", "不行。"))] == ["行"]
    assert [e.word for e in known.lookup(keys_for("行", "zh"))] == ["行"]


def test_a_long_context_asks_for_no_more_than_it_should() -> None:
    long = "".join(f"的{chr(0x4E00 + i)}" for i in range(2000))
    assert len(keys_for("的", "zh", long)) < 150
    assert "银行" in keys_for("行", "zh", "他" * 300 + "在银行。")


def test_files_come_back_and_bad_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Dictionary([Entry("bank", (("Bank", 12), ("Ufer", 3))), Entry("a", (("ein", 4),))])
    path = tmp_path / "en-de.tsv.gz"
    dictionary.write_dictionary(path, made)
    assert read_dictionary(path.read_bytes()).entries == made.entries[::-1]
    assert made.entries[0].shares == [0.8, 0.2]
    for bad in (b"bank\tBank=3", gzip.compress(b"bank\tBank"), gzip.compress(b"bank\n"), path.read_bytes()[:-9]):
        with pytest.raises(DataError, match="regard dictionary"):
            read_dictionary(bad)
    monkeypatch.setattr(dictionary, "_MOST_BYTES", 10)
    with pytest.raises(DataError, match="unpacks to more"):
        read_dictionary(path.read_bytes())


def test_the_command_writes_both_directions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.tsv"
    corpus.write_text("".join(f"{source}\t{target}\n" for source, target in PAIRS), encoding="utf-8")
    command = ["dictionary", "--data", str(corpus), "--source", "en", "--target", "de", "--output", str(tmp_path)]
    assert main(command) == 0
    assert "words" in capsys.readouterr().out
    assert read_dictionary((tmp_path / "de-en.tsv.gz").read_bytes()).lookup(["hund"])[0].senses == (("dog", 6),)


@pytest.mark.parametrize(
    ("direction", "word", "sense"),
    [
        ("en-de", "water", "Wasser"),
        ("de-en", "wasser", "water"),
        ("en-fr", "house", "maison"),
        ("fr-en", "maison", "house"),
        ("en-zh", "coffee", "咖啡"),
        ("zh-en", "咖啡", "coffee"),
    ],
)
def test_a_dictionary_comes_with_the_model(direction: str, word: str, sense: str) -> None:
    known = shipped_dictionary(*direction.split("-"))
    assert known is not None
    assert len(known.entries) > 4000
    assert sense in [text for entry in known.lookup([word]) for text, _ in entry.senses]
    assert shipped_dictionary("de", "fr") is None

"""Every reason to drop a pair, on its own and counted."""

import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError
from regard.data.clean import (
    REASONS,
    CleanConfig,
    CleanReport,
    clean,
    length_in_letters,
    length_in_words,
    overlap_key,
)
from regard.data.corpus import Pair

GOOD = Pair("The goat eats the hedge.", "Die Ziege frisst die Hecke.")


def reason(pair: Pair, held_out: list[Pair] | None = None, **settings: Any) -> str:
    """Return why ``pair`` is dropped, or "kept"."""
    report = CleanReport()
    kept = list(clean([pair], CleanConfig(**settings), held_out or [], report))
    assert kept == [pair] * report.kept
    return next(iter(report.dropped), "kept")


@pytest.mark.parametrize(
    ("pair", "settings", "expected"),
    [
        (GOOD, {}, "kept"),
        (Pair("", "Ja."), {}, "empty"),
        (Pair("Yes.", " \t\u3000"), {"min_length": 0}, "empty"),
        (Pair("Yes.", "Ja doch."), {"min_length": 2}, "too short"),
        (Pair("Yes, yes.", "Ja doch."), {"min_length": 2}, "kept"),
        (Pair("One two three.", "Eins zwei drei vier."), {"max_length": 3}, "too long"),
        (Pair("One two three.", "Eins zwei drei."), {"max_length": 3}, "kept"),
        # Without spaces a Chinese sentence is not one word.
        (Pair("I like it", "我很喜欢这个东西"), {"max_length": 7}, "too long"),
        (Pair("I like it", "我很喜欢这个东西"), {"max_length": 8}, "kept"),
        (Pair("Yes.", "Das ist eine sehr lange Antwort auf diese Frage."), {}, "ratio"),
        (Pair("Das ist eine sehr lange Antwort auf diese Frage.", "Yes."), {}, "ratio"),
        (Pair("Yes.", "Das ist eine sehr lange Antwort auf diese Frage."), {"max_ratio": 0}, "kept"),
        # Few letters, but as much said.
        (
            Pair("The weather has been very pleasant for several days now.", "这几天天气一直很宜人。"),
            {"max_ratio": 2},
            "kept",
        ),
        (Pair("OK", "OK"), {}, "identical"),
        (Pair("OK  then", " OK then"), {}, "identical"),
        (Pair("OK", "OK"), {"drop_identical": False}, "kept"),
    ],
)
def test_each_reason(pair: Pair, settings: dict[str, Any], expected: str) -> None:
    assert reason(pair, **settings) == expected


@pytest.mark.parametrize(
    ("held_out", "expected"),
    [
        (Pair("the GOAT  eats the hedge", "etwas ganz anderes"), "overlap"),
        (Pair("something else", "»Die Ziege frisst die Hecke!«"), "overlap"),
        # A set given in the other direction.
        (Pair("Die Ziege frisst die Hecke.", "x"), "overlap"),
        (Pair("The goat eats the hedge today.", "Heute frisst die Ziege die Hecke."), "kept"),
    ],
)
def test_overlap_with_held_out_sentences(held_out: Pair, expected: str) -> None:
    assert reason(GOOD, [held_out]) == expected
    assert reason(GOOD, [held_out], drop_overlap=False) == "kept"


def test_casefolding_finds_the_other_spelling() -> None:
    assert reason(Pair("Big street", "Große Straße"), [Pair("x", "GROSSE STRASSE")]) == "overlap"


def test_sentences_without_words_do_not_overlap() -> None:
    assert overlap_key("...!?") == ""
    assert reason(Pair("...", "？！"), [Pair("!!!", "。")]) == "kept"


def test_duplicates_keep_the_first_and_other_translations() -> None:
    other = Pair(GOOD.source, "Die Geiß frisst die Hecke.")
    swapped = Pair(GOOD.target, GOOD.source)
    spaced = Pair(f" {GOOD.source} ", GOOD.target)
    report = CleanReport()
    assert list(clean([GOOD, other, GOOD, swapped, spaced], CleanConfig(), report=report)) == [GOOD, other, swapped]
    assert report.dropped == {"duplicate": 2}
    assert list(clean([GOOD, GOOD], CleanConfig(drop_duplicates=False))) == [GOOD, GOOD]


def test_sides_are_not_run_together() -> None:
    pairs = [Pair("ab", "c"), Pair("a", "bc")]
    assert list(clean(pairs, CleanConfig())) == pairs


def test_a_dropped_pair_is_no_original_of_a_duplicate() -> None:
    report = CleanReport()
    list(clean([Pair("OK", "OK"), Pair("OK", "OK")], CleanConfig(), report=report))
    assert report.dropped == {"identical": 2}


def test_cleaning_is_a_stream() -> None:
    def pairs() -> Iterator[Pair]:
        yield GOOD
        raise RuntimeError("read too far")

    cleaned = clean(pairs(), CleanConfig())
    assert next(cleaned) == GOOD
    with pytest.raises(RuntimeError, match="read too far"):
        next(cleaned)


def test_memory_holds_hashes_and_not_sentences() -> None:
    pairs = (Pair(f"{i} " + "word " * 100, f"{i} " + "Wort " * 100) for i in range(3_000))
    tracemalloc.start()
    try:
        assert sum(1 for _ in clean(pairs, CleanConfig())) == 3_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 600_000  # the sentences are 3 MB


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), max_size=20))
def test_every_pair_is_kept_or_counted(sides: list[tuple[str, str]]) -> None:
    pairs = [Pair(*both) for both in sides]
    report = CleanReport()
    kept = list(clean(pairs, CleanConfig(max_length=5, min_length=2), pairs[:2], report))
    assert report.kept == len(kept)
    assert report.total == len(pairs)
    assert set(report.dropped) <= set(REASONS)
    remaining = iter(pairs)
    assert all(pair in remaining for pair in kept), "unchanged and in order"


def test_the_report_is_a_table() -> None:
    report = CleanReport()
    list(clean([GOOD] * 3 + [Pair("", "")], CleanConfig(), report=report))
    assert str(report).splitlines() == [
        "read                4  100.0%",
        "kept                1   25.0%",
        "dropped: empty      1   25.0%",
        "dropped: duplicate  2   50.0%",
    ]
    assert str(CleanReport()).splitlines()[0].split() == ["read", "0", "0.0%"]


def test_lengths() -> None:
    assert length_in_words("I use Python, 我也用 Python。") == 3 + 3 + 1
    assert length_in_words(" ") == 0
    assert length_in_letters("ab 我") == 3 + 3
    assert length_in_letters("ab かé") == 3 + 2 + 1


@pytest.mark.parametrize(
    "settings",
    [{"min_length": -1}, {"max_length": 0}, {"min_length": 9, "max_length": 8}, {"max_ratio": 0.5}, {"max_ratio": -1}],
)
def test_configuration_is_checked(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=list(settings)[-1]):
        CleanConfig(**settings)  # type: ignore[arg-type]


def test_configuration_survives_a_file() -> None:
    config = CleanConfig(max_ratio=0, drop_overlap=False)
    assert from_dict(CleanConfig, to_dict(config)) == config

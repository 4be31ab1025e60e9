"""Corpora made by a model: whole, in order, and the same however often the run was stopped."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, read_pairs
from regard.tasks import synthesis
from regard.tasks.synthesis import SynthesisConfig, synthesise, why_not
from regard.tasks.translated import Sentence, Translation
from regard.tasks.translation import Translator

BACK = SynthesisConfig("de", "en", max_ratio=0, search={"sample": True, "seed": 3, "max_length": 12})
WORDS = "a cat sees the red house and the old river".split()
TEXT = [f"{WORDS[i % 9]} {WORDS[i * 5 % 9]} {WORDS[i * 7 % 9]} {'very ' * (i % 4)}small." for i in range(23)]


@pytest.fixture(scope="module")
def translator(two_way_model: Path) -> Translator:
    return Translator.from_pretrained(two_way_model, engine="torch", device="cpu", precision="fp32")


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(synthesis, "CHUNK", 4)
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


class Killed(BaseException):
    """What no ``except Exception`` sees."""


def stopping(texts: list[str], after: int) -> Iterator[str]:
    """The texts, and a kill in their midst."""
    yield from texts[:after]
    raise Killed


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_back_translation(translator: Translator, tmp_path: Path) -> None:
    """What people wrote is the target side, in its order, and any reader takes the file."""
    output = tmp_path / "made.tsv"
    report = synthesise(translator, TEXT, output, BACK)
    made = rows(output)
    assert report.total == len(TEXT)
    assert len(made) == report.kept > len(TEXT) / 2
    positions = [TEXT.index(target) for _, target, _ in made]
    assert positions == sorted(positions)
    assert all(source and source != target and float(score) < 0 for source, target, score in made)
    assert [list(pair) for pair in read_pairs(CorpusConfig("de", "en", path=str(output)))] == [r[:2] for r in made]
    assert [path.name for path in tmp_path.iterdir()] == ["made.tsv"]


def test_forward_translation(translator: Translator, tmp_path: Path) -> None:
    output = tmp_path / "made.tsv"
    synthesise(
        translator,
        TEXT,
        output,
        SynthesisConfig("en", "de", forward=True, max_ratio=0, search={"beam": 2, "max_length": 12}),
    )
    sources = [source for source, _, _ in rows(output)]
    assert sources
    assert set(sources) <= set(TEXT)
    expected = translator.translate(sources[0], "en", "de", beam=2, max_length=12)
    assert rows(output)[0][1:] == [" ".join(expected.text.split()), f"{expected.score:.4f}"]


@pytest.mark.parametrize(
    ("stops", "search"),
    [
        ([1], BACK.search),
        ([5, 9, 22], BACK.search),
        ([3, 3, 3], BACK.search),
        ([9], {"beam": 2, "max_length": 12}),
    ],
)
def test_a_stopped_run_goes_on(
    translator: Translator, tmp_path: Path, stops: list[int], search: dict[str, Any]
) -> None:
    """Byte for byte what a run without a break makes, and the same counts: nothing lost, nothing twice."""
    config = replace(BACK, search=search)
    whole, parts = tmp_path / "whole.tsv", tmp_path / "parts.tsv"
    expected = synthesise(translator, TEXT, whole, config)
    for stop in stops:
        with pytest.raises(Killed):
            synthesise(translator, stopping(TEXT, stop), parts, config)
        assert not parts.exists()
    report = synthesise(translator, TEXT, parts, config)
    assert parts.read_bytes() == whole.read_bytes()
    assert (report.kept, report.dropped) == (expected.kept, expected.dropped)


def test_what_a_kill_left_half_written_is_cut_off(translator: Translator, tmp_path: Path) -> None:
    """The corpus may be ahead of the state: rows were written and the kill came before the state was."""
    whole, parts = tmp_path / "whole.tsv", tmp_path / "parts.tsv"
    synthesise(translator, TEXT, whole, BACK)
    with pytest.raises(Killed):
        synthesise(translator, stopping(TEXT, 9), parts, BACK)
    with open(tmp_path / "parts.tsv.partial", "a") as file:
        file.write("half a sen")
    synthesise(translator, TEXT, parts, BACK)
    assert parts.read_bytes() == whole.read_bytes()


def test_a_run_that_cannot_go_on_says_so(translator: Translator, tmp_path: Path) -> None:
    output = tmp_path / "made.tsv"
    with pytest.raises(Killed):
        synthesise(translator, stopping(TEXT, 9), output, BACK, about={"model": "one"})
    begun = (tmp_path / "made.tsv.partial").read_bytes()
    for config, about in ((replace(BACK, max_words=9), {"model": "one"}), (BACK, {"model": "another"})):
        with pytest.raises(ConfigError, match=r"begun with other settings: (max_words was 100|model was 'one') and is"):
            synthesise(translator, TEXT, output, config, about=about)
    for text in (["another beginning.", *TEXT[1:]], TEXT[:3]):
        with pytest.raises(DataError, match=r"not what it was .*: its first 8 lines differ"):
            synthesise(translator, text, output, BACK, about={"model": "one"})
    assert (tmp_path / "made.tsv.partial").read_bytes() == begun
    (tmp_path / "made.tsv.partial").write_bytes(begun[:5])
    with pytest.raises(DataError, match="shorter than it was"):
        synthesise(translator, TEXT, output, BACK, about={"model": "one"})


def test_sentences_are_drawn_each_for_itself(translator: Translator) -> None:
    """From one seed all would be drawn at the same quantiles; yet the same sentence is drawn alike in any company."""
    prepared = translator.prepare(TEXT, "en", "de", sample=True, seed=3)
    seeds = [request.options.seed for request in prepared.requests]
    assert len(set(seeds)) == len(set(TEXT))
    alone = translator.prepare(TEXT[5:6], "en", "de", sample=True, seed=3).requests[0].options.seed
    assert alone == seeds[prepared.cores.index(TEXT[5])]
    assert seeds != [r.options.seed for r in translator.prepare(TEXT, "en", "de", sample=True, seed=4).requests]


def test_lines_that_give_no_pair_are_counted(translator: Translator, tmp_path: Path) -> None:
    text = ["a cat.", "", "  \t ", "word " * 12, "♥ ♥ ♥", "the\thouse\u2028and the river."]
    config = replace(BACK, max_words=9)
    report = synthesise(translator, text, tmp_path / "made.tsv", config)
    assert report.dropped["empty"] == 2
    assert report.dropped["too long"] >= 1
    assert report.dropped["no words"] == 1
    assert report.total == len(text)
    assert "dropped: no words" in str(report)
    assert all(len(row) == 3 for row in rows(tmp_path / "made.tsv"))


def test_loops_and_translations_without_an_end_are_no_pairs() -> None:
    def made(pieces: str, finished: bool = True) -> Translation:
        found = tuple(pieces.split())
        sentence = Sentence("a b", pieces, -1.0, ("a", "b"), found, (-1.0,) * len(found), finished)
        return Translation("a b", pieces, -1.0, (sentence,))

    assert why_not(made("x y z")) == ""
    assert why_not(made("x y x y x y x y")) == "loop"
    assert why_not(made("x y z", finished=False)) == "cut off"


def test_nothing_to_make_pairs_of(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mono.en is empty"):
        synthesise(translator, [], tmp_path / "made.tsv", BACK, name="mono.en")
    with pytest.raises(DataError, match=r"no pair that is fit for training:(.|\n)*empty"):
        synthesise(translator, ["", " "], tmp_path / "made.tsv", BACK)
    assert list(tmp_path.iterdir()) == []


def test_a_language_that_the_model_does_not_know(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"does not translate en→fr. It has en→de, de→en"):
        synthesise(translator, TEXT, tmp_path / "made.tsv", SynthesisConfig("fr", "en"))
    assert list(tmp_path.iterdir()) == []


def test_the_state_is_readable(translator: Translator, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        synthesise(translator, stopping(TEXT, 9), tmp_path / "made.tsv", BACK)
    state = json.loads((tmp_path / "made.tsv.partial.json").read_text())
    assert state["lines"] == 8
    assert state["size"] == (tmp_path / "made.tsv.partial").stat().st_size

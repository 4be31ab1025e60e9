import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.errors import DataError
from regard.cli import translate
from regard.cli.main import BROKEN_PIPE
from regard.cli.main import main as regard
from regard.cli.translate import chunks, one_line

TypeIn = Callable[[str | bytes], None]


@pytest.fixture
def run(tiny_model: Path, type_in: TypeIn, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Translate ``text`` en→de with the tiny model; returns status, output and messages."""

    def run_(text: str | bytes, *arguments: str) -> tuple[int, str, str]:
        type_in(text)
        options = ["--source", "en", "--target", "de", "--model", str(tiny_model), "--precision", "fp32", *arguments]
        status = regard(["translate", *options])
        return status, *capsys.readouterr()

    return run_


Run = Callable[..., tuple[int, str, str]]

NASTY = [
    "The kettle sings.",
    "",
    "   \t",
    "The kettle sings. Who left the gate open?",
    "The kettle sings.\u2028Nobody listens.\x0bWho?\x0c\x85",
    "a\rb. C\r",
    "42 👍",
    "THE GARDEN GATE IS OPEN",
    "The kettle sings.",
    "水壶在响。",
    "<2de> <s> ▁",
]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_line_out_for_each_line_in(run: Run, end: str, last: bool) -> None:
    status, out, _ = run(end.join(NASTY) + (end if last else ""), "--beam", "1")
    assert status == 0
    lines = out.split("\n")
    assert len(lines) == len(NASTY) + 1
    assert out.splitlines() == lines[:-1]  # no reader finds more
    assert "\r" not in out
    assert [i for i, line in enumerate(lines[:-1]) if not line] == [1, 2]
    assert lines[6] == "42 👍"
    assert lines[0] == lines[8]


def test_nothing_in_nothing_out(run: Run) -> None:
    assert run("")[:2] == (0, "")
    assert run("\n")[:2] == (0, "\n")


def test_chunks_change_nothing(run: Run) -> None:
    text = "\n".join(NASTY)
    assert run(text, "--beam", "1", "--chunk", "2")[1] == run(text, "--beam", "1")[1]


def test_files(run: Run, tmp_path: Path) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "new" / "out.txt"
    source.write_text("\n".join(NASTY), encoding="utf-8", newline="")
    _, expected, _ = run("\n".join(NASTY), "--beam", "1")
    status, out, _ = run("", "--beam", "1", "--input", str(source), "--output", str(target))
    assert (status, out) == (0, "")
    assert target.read_bytes().decode() == expected
    # a file may become its own translation
    assert run("", "--beam", "1", "--input", str(source), "--output", str(source))[0] == 0
    assert source.read_bytes().decode() == expected


def test_invalid_utf8_is_named_and_nothing_half_written(run: Run, tmp_path: Path) -> None:
    target = tmp_path / "out.txt"
    target.write_text("before")
    text = b"The kettle sings.\nWho?\nna\xefve\nlost"
    status, _, err = run(text, "--output", str(target))
    assert status == 1
    assert "standard input, line 3: byte 0xef" in err
    assert target.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == ["out.txt"]
    # standard output has what came before the line
    status, out, _ = run(text)
    assert status == 1
    assert len(out.splitlines()) == 2


def read_json(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.split("\n")[:-1]]


def test_json(run: Run) -> None:
    status, out, _ = run("\n".join(NASTY), "--format", "json", "--num-hypotheses", "3", "--beam", "2")
    assert status == 0
    assert out.splitlines() == out.split("\n")[:-1]
    values = read_json(out)
    assert [value["source"] for value in values] == [line.removesuffix("\r") for line in NASTY]
    assert [value["translation"] for value in values] == run("\n".join(NASTY), "--beam", "3")[1].split("\n")[:-1]
    assert values[1] == {"source": "", "translation": "", "score": 0.0, "finished": True, "sentences": []}
    assert values[6]["sentences"] == []
    first, second = values[3]["sentences"]
    assert (first["source"], second["source"]) == ("The kettle sings.", "Who left the gate open?")
    for sentence in (first, second):
        assert len(sentence["alternatives"]) == 2
        assert all(set(a) == {"translation", "score"} for a in sentence["alternatives"])
        assert len(sentence["log_probs"]) == len(sentence["pieces"]) + sentence["finished"]
        assert sentence["score"] == pytest.approx(sum(sentence["log_probs"]) / len(sentence["log_probs"]), abs=1e-3)
        table = sentence["alignment"]
        assert table["source_words"][0] == ("The" if sentence is first else "Who")
        assert len(table["weights"]) == len(table["target_words"])
        assert all(len(row) == len(table["source_words"]) for row in table["weights"])
        assert {link[1] for link in table["links"]} == set(range(len(table["target_words"])))
        assert all(0 <= link[0] < len(table["source_words"]) for link in table["links"])
    assert "".join(first["source_pieces"]).replace("▁", " ").strip() == "The kettle sings."


def test_what_is_cut_off_is_said(run: Run) -> None:
    status, out, err = run("42\n\nThe kettle sings.\n", "--min-length", "3", "--max-length", "3", "--format", "json")
    assert status == 0
    assert "warning: line 3: the translation reached the limit" in err
    assert "line 1" not in err
    assert [value["finished"] for value in read_json(out)] == [True, True, False]


def test_what_is_not_kept_is_said(run: Run) -> None:
    text = "The kettle sings to {name}.\nSeven geese on 3 ponds of 12.\n"
    status, out, err = run(text, "--format", "json", "--beam", "1")
    assert status == 0
    first, second = (value["sentences"][0] for value in read_json(out))
    assert "{name}" in first["translation"]
    assert first["problems"] == ["{name} was lost, and put where it seems to belong"]  # the tiny model copies nothing
    assert all("was lost" in problem for problem in second["problems"])
    assert {"3", "12"} <= set(second["translation"].replace(".", " ").split())
    assert "warning" not in err
    assert "2 lines did not keep every number and placeholder" in run(text, "--beam", "1")[2]


def test_search_options_reach_the_search(run: Run) -> None:
    text = "Seven geese walked across the frozen pond.\n"
    first = run(text, "--prefix", "Der Teich")[1]
    assert first.startswith("Der Teich")
    draws = [run(text, "--sample", "--seed", seed, "--temperature", "1.5")[1] for seed in ("1", "1", "2")]
    assert draws[0] == draws[1] != draws[2]
    short = read_json(run(text, "--format", "json", "--min-length", "2", "--max-length", "2")[1])[0]
    assert len(short["sentences"][0]["pieces"]) == 2


def test_several_models_are_an_ensemble(run: Run, tiny_model: Path, other_model: Path) -> None:
    text = "Who left the gate open?\n"

    def score(*arguments: str) -> float:
        return read_json(run(text, "--format", "json", "--beam", "1", "--prefix", "Der", *arguments)[1])[0]["score"]

    assert score("--model", str(tiny_model)) == pytest.approx(score(), abs=1e-3)
    assert score("--model", str(other_model)) != pytest.approx(score(), abs=1e-3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--source", "de", "--target", "fr"], "does not translate de→fr. It has en→de, de→en, en→zh, zh→en."),
        (["--model", "nowhere"], "nowhere is not a model folder"),
        (["--input", "nowhere.txt"], "nowhere.txt"),
        (["--device", "abacus"], "'abacus' is not a device"),
        (["--ban", ""], "a banned or required sequence is empty"),
    ],
)
def test_errors_are_one_line(run: Run, arguments: list[str], message: str) -> None:
    status, out, err = run("The kettle sings.\n", *arguments)
    assert (status, out) == (1, "")
    assert message in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--num-hypotheses", "2"], ["--chunk", "0"], ["--format", "xml"], []])
def test_usage_errors(run: Run, arguments: list[str]) -> None:
    if arguments:
        assert run("", *arguments)[0] == 2
    else:
        assert regard(["translate", "--source", "en"]) == 2


def test_a_person_at_a_terminal_is_told_what_to_do(
    run: Run, type_in: TypeIn, monkeypatch: pytest.MonkeyPatch, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    type_in("The kettle sings.\nWho?\n")
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    sizes = []
    real = translate.chunks
    monkeypatch.setattr(translate, "chunks", lambda lines, size: sizes.append(size) or real(lines, size))
    assert regard(f"translate --source en --target de --beam 1 --model {tiny_model}".split()) == 0
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == "Type text, a line at a time; end with Ctrl-D."
    assert len(out.splitlines()) == 2
    assert sizes == [1]  # each line is answered at once


@pytest.mark.slow
def test_a_pipe_is_answered_line_by_line_and_may_break(tiny_model: Path) -> None:
    command = [sys.executable, "-m", "regard", "translate", "--source", "en", "--target", "de", "--chunk", "1"]
    with subprocess.Popen(
        [*command, "--model", str(tiny_model), "--beam", "1"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        process.stdin.write(b"The kettle sings.\n")
        process.stdin.flush()
        assert process.stdout.readline().endswith(b"\n")  # although more may come
        process.stdout.close()
        process.stdin.write(b"Who?\n" * 3)
        process.stdin.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(60) == BROKEN_PIPE


def test_what_precedes_an_unreadable_line_is_not_lost() -> None:
    def lines() -> Any:
        yield from "abc"
        raise DataError("line 4")

    found = []
    with pytest.raises(DataError, match="line 4"):
        for chunk in chunks(lines(), 2):
            found.append(chunk)
    assert found == [["a", "b"], ["c"]]


@given(st.lists(st.integers()), st.integers(1, 5))
def test_chunks_are_the_lines(lines: list[Any], size: int) -> None:
    found = list(chunks(lines, size))
    assert [line for chunk in found for line in chunk] == lines
    assert all(len(chunk) == size for chunk in found[:-1])


@given(st.text())
def test_a_line_is_one_line(text: str) -> None:
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert (line == "") == (not text.strip())
    assert line.split() == text.split() or line == ""

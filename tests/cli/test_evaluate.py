import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.cli.main import main as regard

SOURCES = ["The kettle sings.", "Who left the gate open?", "Seven geese walked across the pond.", "42"]
REFERENCES = ["Der Kessel singt.", "Wer hat das Tor offen gelassen?", "Sieben Gänse liefen über den Teich.", "42"]

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A test set in files, as the working folder."""
    (tmp_path / "src").write_text("\n".join(SOURCES) + "\n", encoding="utf-8")
    (tmp_path / "ref").write_text("\n".join(REFERENCES) + "\n", encoding="utf-8")
    pairs = zip(SOURCES, REFERENCES, strict=True)
    (tmp_path / "both.tsv").write_text("".join(f"{s}\t{t}\tnote\n" for s, t in pairs), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(folder: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_(line: str) -> tuple[int, str, str]:
        status = regard(["evaluate", *line.split(), "--model", str(tiny_model), "--precision", "fp32", "--beam", "1"])
        return status, *capsys.readouterr()

    return run_


def figures(path: str) -> dict[str, Any]:
    return json.loads(Path(path).read_text(encoding="utf-8"))


def test_scores_are_printed_with_signatures(run: Run) -> None:
    status, out, _ = run("--source en --target de --input src --reference ref")
    assert status == 0
    assert out.startswith("en → de, 4 sentences\n")
    for name in ("BLEU", "chrF", "TER"):
        (line,) = [line for line in out.splitlines() if line.startswith(name)]
        assert "nrefs:1|" in line
        assert "version:" in line
    assert "sentences/s" in out
    assert "target pieces/s" in out


def test_json_has_every_figure(run: Run) -> None:
    _, out, _ = run("--source en --target de --input src --reference ref --json new/all.json --length-penalty 0.5")
    values = figures("new/all.json")
    assert {"regard", "model", "seconds", "sentences_per_second", "pieces_per_second"} < set(values)
    assert (values["source"], values["target"], values["sentences"]) == ("en", "de", 4)
    assert values["search"] == {"beam": 1, "length_penalty": 0.5}
    assert "baseline" not in values
    for name in ("bleu", "chrf", "ter"):
        assert f"{values['scores'][name]['score']:.2f}  {values['scores'][name]['signature']}" in out


def test_json_alone_on_standard_output(run: Run) -> None:
    values = json.loads(run("--source en --target de --tsv both.tsv --json -")[1])
    assert values["sentences"] == 4


def test_a_tsv_has_both_sides(run: Run) -> None:
    run("--source en --target de --input src --reference ref --json a.json")
    run("--source en --target de --tsv both.tsv --json b.json")
    assert figures("a.json")["scores"] == figures("b.json")["scores"]
    run("--source de --target en --tsv both.tsv --reverse --json c.json --output c.txt")
    run("--source de --target en --input ref --reference src --json d.json")
    assert figures("c.json")["scores"] == figures("d.json")["scores"]
    assert len(Path("c.txt").read_text(encoding="utf-8").splitlines()) == 4


def test_several_references(run: Run) -> None:
    status, out, _ = run("--source en --target de --input src --reference ref src")
    assert status == 0
    assert "nrefs:2" in out


def test_chinese_is_scored_by_characters(run: Run, folder: Path) -> None:
    (folder / "zh").write_text("水壶在响。\n谁没关门？\n七只鹅走过池塘。\n42\n", encoding="utf-8")
    assert "tok:zh" in run("--source en --target zh --input src --reference zh")[1]


def test_a_file_is_a_baseline(run: Run) -> None:
    command = "--source en --target de --input src --reference ref --samples 50 --json all.json"
    status, out, _ = run(f"{command} --baseline ref")
    assert status == 0
    assert "against ref (paired bootstrap, 50 samples" in out
    values = figures("all.json")["baseline"]
    assert values["path"] == "ref"
    assert values["scores"]["bleu"]["baseline"] == pytest.approx(100)
    assert values["scores"]["bleu"]["difference"] < 0
    assert values["scores"]["bleu"]["p_value"] < 0.05
    assert "bs:50" in values["scores"]["bleu"]["signature"]
    rows = [line for line in out.splitlines() if line.endswith("worse")]
    assert [row.split()[0] for row in rows] == ["BLEU", "chrF", "TER"]


def test_a_model_is_a_baseline(run: Run, tiny_model: Path, other_model: Path) -> None:
    command = "--source en --target de --tsv both.tsv --samples 20 --json all.json"
    status, out, _ = run(f"{command} --baseline {tiny_model}")
    assert status == 0
    assert out.count("no significant difference") == 3
    run(f"{command} --baseline {other_model}")
    assert figures("all.json")["baseline"]["scores"]["chrf"]["difference"] != 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--input src --reference short", "short has 3 lines, but src has 4 sentences"),
        ("--input src --reference ref short", "short has 3 lines"),
        ("--tsv both.tsv --baseline short", "short has 3 lines, but both.tsv has 4 sentences"),
        ("--input empty --reference ref", "empty is empty"),
        ("--input nowhere --reference ref", "nowhere"),
        ("--tsv src", "line 1: it has 1 column"),
        ("--input latin --reference ref", "latin, line 1: byte 0xf6"),
        ("--tsv both.tsv --source de --target fr", "does not translate de→fr"),
    ],
)
def test_errors_name_the_file(run: Run, folder: Path, line: str, message: str) -> None:
    (folder / "short").write_text("a\nb\nc\n")
    (folder / "empty").write_text("")
    (folder / "latin").write_bytes(b"sch\xf6n\n")
    status, out, err = run(f"--source en --target de {line}")
    assert (status, out) == (1, "")
    assert message in err


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "give --input and --reference, or --tsv"),
        ("--input src", "give --input and --reference, or --tsv"),
        ("--input src --tsv both.tsv", "--tsv holds both sides"),
        ("--input src --reference ref --reverse", "no effect without --tsv"),
        ("--tsv both.tsv --samples 0", "at least 1"),
    ],
)
def test_usage_errors(run: Run, line: str, message: str) -> None:
    status, _, err = run(f"--source en --target de {line}")
    assert status == 2
    assert message in " ".join(err.replace("│", " ").split())


def test_cut_translations_are_counted(run: Run) -> None:
    _, _, err = run("--source en --target de --tsv both.tsv --min-length 2 --max-length 2")
    assert "warning: 3 translations reached the limit" in err

import re
import sys
from pathlib import Path

import pytest

from regard.cli import demo
from regard.cli.main import main as regard

LANGUAGES = ["en", "de", "fr", "zh"]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_bundled_text(language: str) -> None:
    sentences = demo.bundled_text(language)
    assert 6 <= len(sentences) <= 8
    assert all(sentence == sentence.strip() != "" for sentence in sentences)
    text = "\n".join(sentences)
    assert "48" in text
    assert "?" in text or "？" in text
    assert ("。" in text) == (language == "zh")


def test_there_is_none_for_other_languages() -> None:
    assert demo.bundled_text("xx") == []


def test_every_direction_is_shown(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = demo.bundled_text
    monkeypatch.setattr(demo, "bundled_text", lambda language: whole(language)[:2])
    assert regard(["demo", "--model", str(tiny_model), "--precision", "fp32"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert [line for line in out.splitlines() if "→" in line] == ["en → de", "de → en", "en → zh", "zh → en"]
    for language in ("en", "de", "zh"):
        for sentence in demo.bundled_text(language):
            assert sentence in out
    assert len(re.findall(r"^ +-?\d+\.\d\d +[\d,]+ ms  ", out, re.MULTILINE)) == 8
    assert re.search(r"^8 sentences in [\d.]+ s, [\d.]+ sentences/s", out, re.MULTILINE)
    assert out.splitlines()[-2].endswith(f"translate --source en --target de --model {tiny_model}")
    assert out.splitlines()[-1].endswith(f"serve --model {tiny_model}")


def test_a_terminal_gets_tables(
    tiny_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(demo, "bundled_text", lambda language: ["A [bold]kettle[/] sings."] if language == "en" else [])
    assert regard(["demo", "--model", str(tiny_model)]) == 0
    out = capsys.readouterr().out
    assert "sentence" in out
    assert "[bold]kettle[/]" in out
    assert "no text in 'de'" in out
    assert "2 sentences" in out


def test_without_the_shipped_model_it_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("regard.tasks.translation.files", lambda package: tmp_path)
    assert regard(["demo"]) == 1
    assert "--model DIR" in capsys.readouterr().err


def test_the_command_is_the_one_that_was_typed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(demo.shutil, "which", lambda name: "/usr/bin/regard")
    assert demo.command() == "regard"
    monkeypatch.setattr(demo.shutil, "which", lambda name: None)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / ".venv" / "bin" / "regard"), "demo"])
    assert demo.command() == str(Path(".venv", "bin", "regard"))
    monkeypatch.setattr(sys, "argv", ["/somewhere/regard/__main__.py", "demo"])
    assert demo.command() == f"{sys.executable} -m regard"


@pytest.mark.slow
def test_the_shipped_model_shows_all_its_directions(shipped_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert regard(["demo"]) == 0
    out = capsys.readouterr().out
    shown = {line for line in out.splitlines() if "→" in line}
    assert shown == {f"{a} → {b}" for a in LANGUAGES for b in LANGUAGES if "en" in (a, b) and a != b}
    assert "48" in out

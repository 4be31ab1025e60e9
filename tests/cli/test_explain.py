from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest

from regard.cli.main import main as regard

TEXT = "The kettle sings. Who left the gate open?"


@pytest.fixture
def run(tiny_model: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run_(text: str, *arguments: str) -> tuple[int, str, str]:
        options = ["--source", "en", "--target", "de", "--model", str(tiny_model), "--precision", "fp32", "--beam", "1"]
        return regard(["explain", text, *options, *arguments]), *capsys.readouterr()

    return run_


Run = Callable[..., tuple[int, str, str]]


def test_the_picture_is_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "alignment.svg"
    status, out, err = run(TEXT, "--output", str(path))
    assert (status, err) == (0, "")
    root = ElementTree.parse(path).getroot()
    written = " ".join(root.itertext())
    assert "English → German, sentence 2 of 2" in written
    assert "kettle" in written
    assert out.splitlines()[-1] == f"the picture is in {path}"
    assert out.splitlines()[0] in written


def test_the_picture_goes_to_standard_output(run: Run) -> None:
    assert ElementTree.fromstring(run(TEXT, "--output", "-")[1]).tag.endswith("svg")


def test_without_a_file_links_are_printed(run: Run) -> None:
    status, out, _ = run(TEXT)
    assert status == 0
    lines = out.splitlines()
    assert [line.partition("  (score")[0] for line in lines if "(score" in line] == TEXT.replace(". ", ".\n").split(
        "\n"
    )
    assert any("←" in line for line in lines)


def test_pieces_are_shown_on_request(run: Run, tmp_path: Path) -> None:
    assert "▁" not in run(TEXT)[1]
    assert "▁" in run(TEXT, "--pieces")[1]
    path = tmp_path / "pieces.svg"
    run(TEXT, "--pieces", "--output", str(path))
    assert "▁" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["42", "👍", ""])
def test_where_nothing_is_translated_nothing_is_drawn(run: Run, tmp_path: Path, text: str) -> None:
    status, _, err = run(text, "--output", str(tmp_path / "a.svg"))
    assert status == 1
    assert "nothing to explain" in err
    assert not (tmp_path / "a.svg").exists()

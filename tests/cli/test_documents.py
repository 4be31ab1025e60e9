import io
from collections.abc import Callable
from pathlib import Path

import docx
import pytest

from regard.cli.main import main as regard

Run = Callable[..., tuple[int, str, str]]
PAGE = "<p>The <b>kettle</b> sings to {name}.</p>\n<p>42</p>\n"


@pytest.fixture
def run(
    tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsysbinary: pytest.CaptureFixture[bytes]
) -> Run:
    monkeypatch.chdir(tmp_path)

    def run_(*arguments: str) -> tuple[int, str, str]:
        options = ["--source", "en", "--target", "de", "--beam", "1", "--model", str(tiny_model), "--precision", "fp32"]
        status = regard(["translate", *options, *arguments])
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return run_


def test_a_page_is_translated_as_a_page(run: Run) -> None:
    Path("page.html").write_text(PAGE, encoding="utf-8", newline="\n")
    status, out, err = run("--input", "page.html")
    assert status == 0
    assert err.startswith("1 of 1 segments translated.\n")
    assert out.startswith("<p>")
    assert out.endswith("</p>\n<p>42</p>\n")
    assert out.count("<b>") == out.count("</b>") == out.count("{name}") == 1
    status, shown, _ = run("--input", "page.html", "--output", "new/seite.html", "--bilingual", "both.csv")
    assert (status, shown) == (0, "")
    assert Path("new/seite.html").read_text(encoding="utf-8") == out
    assert "The <1>kettle</1> sings to {name}." in Path("both.csv").read_text(encoding="utf-8")


def test_word_becomes_word(run: Run) -> None:
    document = docx.Document()
    document.add_paragraph("The kettle sings.")
    document.save("report.docx")
    status, _, _ = run("--input", "report.docx", "--output", "bericht.docx")
    assert status == 0
    (paragraph,) = docx.Document(io.BytesIO(Path("bericht.docx").read_bytes())).paragraphs
    assert paragraph.text not in ("", "The kettle sings.")


def test_plain_text_is_translated_line_by_line(run: Run) -> None:
    Path("a.txt").write_text("The kettle sings.\n\n42\n")
    status, out, err = run("--input", "a.txt")
    assert (status, out.split("\n")[1:]) == (0, ["", "42", ""])
    assert "segments" not in err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--input", "page.html", "--output", "page.docx"], 1, "page.html is html, and so is its translation"),
        (["--input", "page.html", "--bilingual", "b.docx"], 1, "can be .csv, .html or .tmx"),
        (["--input", "broken.docx", "--output", "x.docx"], 1, "no readable zip archive"),
        (["--input", "nowhere.md"], 1, "cannot read nowhere.md"),
        (["--input", "page.html", "--format", "json"], 2, "--format json and --chunk are for text"),
        (["--bilingual", "b.csv"], 2, "--bilingual is for documents"),
    ],
)
def test_what_cannot_be_done_is_said(run: Run, arguments: list[str], status: int, message: str) -> None:
    Path("page.html").write_text(PAGE)
    Path("broken.docx").write_text("no")
    found, out, err = run(*arguments)
    assert (found, out) == (status, "")
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("x.docx").exists()

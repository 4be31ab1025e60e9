"""A document's translation: in steps, cancelled, taken up again, reported."""

import csv
import io
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from lxml import etree

from regard import Translator
from regard.base.errors import DataError
from regard.data.documents import Document, Marked, open_document
from regard.tasks import document as room
from regard.tasks.bilingual import bilingual, kind_of
from regard.tasks.document import SegmentResult, check_marked, translate_document

TEXT = "The cat sleeps.\n42\nThe cat sleeps.\nWho left the {gate} open?\nThe old house has 20 windows.\n"


@pytest.fixture(scope="module")
def translator(shipped_model: Path) -> Translator:
    return Translator.from_pretrained(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def document() -> Document:
    return open_document(TEXT.encode(), format="txt")


def test_a_whole_document(translator: Translator, document: Document) -> None:
    told: list[tuple[int, int, int]] = []
    result = translate_document(
        translator, document, "en", "de", beam=1, progress=lambda done, total, new: told.append((done, total, len(new)))
    )
    assert told == [(4, 4, 4)]
    assert (result.total, result.translated, result.cancelled) == (4, 4, False)
    lines = result.data.decode().split("\n")
    assert [segment.target.text for segment in result.segments] == [lines[0], *lines[2:5]]
    assert lines[0] == lines[2] == translator.translate("The cat sleeps.", "en", "de", beam=1).text
    assert "{gate}" in lines[3]
    assert lines[1] == "42"
    assert result.report().startswith("4 of 4 segments translated.")
    assert all(segment.origin == "machine" and segment.score < 0 for segment in result.segments)


def test_it_stops_and_goes_on(translator: Translator, document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "STEP", 1)
    whole = translate_document(translator, document, "en", "de", beam=1)
    kept: dict[str, Marked] = {}

    def keep(done: int, total: int, new: Sequence[SegmentResult]) -> None:
        kept.update({result.id: result.target for result in new})

    part = translate_document(translator, document, "en", "de", beam=1, progress=keep, cancelled=lambda: len(kept) == 2)
    assert part.cancelled
    assert [segment.id for segment in part.segments] == ["1", "2"]
    assert part.data.decode().splitlines()[3:] == TEXT.splitlines()[3:]
    assert "Stopped: 2 were not reached." in part.report()
    rest = translate_document(translator, document, "en", "de", beam=1, done={n: str(m) for n, m in kept.items()})
    assert rest.data == whole.data
    assert [segment.origin for segment in rest.segments] == ["given", "given", "machine", "machine"]


def test_what_is_there_already_is_looked_at_too(translator: Translator, document: Document) -> None:
    done = {"1": "The cat sleeps.", "2": "Die Katze schläft.", "3": "Wer ließ das Tor offen?", "4": "20", "9": "x"}
    result = translate_document(translator, document, "en", "de", done=done)
    assert [segment.id for segment in result.unchanged] == ["1"]
    assert [(s.id, [p.detail for p in s.problems]) for s in result.flagged] == [("3", ["{gate} is missing"])]
    assert result.report().splitlines() == [
        "3 of 4 segments translated.",
        "1 came out as they were:",
        "  1: The cat sleeps.",
        "1 to look at:",
        "  3: {gate} is missing",
    ]


def test_tags_of_a_persons_translation_are_checked() -> None:
    source = Marked.parse("Press <1>Save</1>.<2/>")
    assert check_marked(source, Marked.parse("<2/><1>Sichern</1> drücken.")) == ()
    details = [problem.detail for problem in check_marked(source, Marked.parse("<3>Sichern</3>"))]
    assert details == ["tag 1 is missing", "tag 2 is missing", "tag 3 is not in the source"]


def test_cut_off_sentences_are_flagged(translator: Translator, document: Document) -> None:
    result = translate_document(translator, document, "en", "de", beam=1, max_length=2)
    assert [problem.kind for problem in result.segments[0].problems] == ["length"]
    assert "'The cat sleeps.' was cut off" in result.report()


def test_html_keeps_its_tags(translator: Translator) -> None:
    page = open_document(b"<p>The <b>old house</b> has <img src=a.png alt='A cat'> windows.</p>", format="html")
    text = translate_document(translator, page, "en", "fr", beam=1).data.decode()
    assert text.startswith("<p>")
    assert text.count("<b>") == text.count("</b>") == text.count("<img src=a.png alt='") == 1


def results() -> Iterator[SegmentResult]:
    yield SegmentResult("1", Marked.parse("Press <1>A & B</1>"), Marked.parse("<1>A & B</1> drücken"), score=-0.25)
    problems = check_marked(Marked("<5 eggs"), Marked('"Eier"'))
    yield SegmentResult("2", Marked("<5 eggs"), Marked('"Eier"'), "given", problems=problems)


def test_side_by_side_as_a_table() -> None:
    rows = list(csv.reader(io.StringIO(bilingual(results(), "en", "de", "csv"))))
    assert rows == [
        ["segment", "en", "de", "origin", "score", "problems"],
        ["1", "Press <1>A & B</1>", "<1>A & B</1> drücken", "machine", "-0.2500", ""],
        ["2", "<5 eggs", '"Eier"', "given", "0.0000", "5 is missing"],
    ]


def test_side_by_side_as_a_page() -> None:
    class Cells(HTMLParser):
        found: list[str]

        def handle_starttag(self, tag: str, attrs: Any) -> None:
            self.found += ["" for _ in range(tag == "td")]

        def handle_data(self, data: str) -> None:
            if self.found:
                self.found[-1] += data

    cells = Cells()
    cells.found = []
    cells.feed(bilingual(results(), "en", "de", "html"))
    found = [cell.strip() for cell in cells.found]
    assert found == ["1", "Press A & B", "A & B drücken", "", "2", "<5 eggs", '"Eier"', "5 is missing"]


def test_side_by_side_as_a_memory() -> None:
    tree = etree.fromstring(bilingual(results(), "en", "de", "tmx").encode())
    variants = tree.findall(".//tuv")
    assert [v.get("{http://www.w3.org/XML/1998/namespace}lang") for v in variants] == ["en", "de"] * 2
    assert ["".join(v.itertext()) for v in variants] == ["Press A & B", "A & B drücken", "<5 eggs", '"Eier"']
    assert [child.tag for child in variants[0].iter("bpt", "ept")] == ["bpt", "ept"]


def test_other_kinds_are_refused() -> None:
    assert kind_of(Path("a.TMX")) == "tmx"
    for refused in (lambda: kind_of(Path("a.docx")), lambda: bilingual([], "en", "de", "docx")):
        with pytest.raises(DataError, match=r"csv, .*html .*tmx"):
            refused()

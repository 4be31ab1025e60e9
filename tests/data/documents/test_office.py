"""Word, PowerPoint and OpenDocument, as the field's own libraries write and read them."""

import io
import warnings
import zipfile
from typing import Any

import docx
import pptx
import pytest
from docx.oxml import parse_xml
from docx.oxml.ns import nsdecls
from docx.shared import Pt


def saved(document: Any) -> bytes:
    stream = io.BytesIO()
    document.save(stream)
    return stream.getvalue()


def parts(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture(scope="module")
def report() -> bytes:
    document = docx.Document()
    document.add_heading("Annual report", 0)
    paragraph = document.add_paragraph("Please read ")
    paragraph.add_run("all").bold = True
    paragraph.add_run(" of th")
    paragraph.add_run("is")  # where the cursor had been
    large = paragraph.add_run("\tBig")
    large.font.size = Pt(20)
    large.add_break()
    large.add_text("news & <more>.")
    document.add_paragraph("12.5 %")
    table = document.add_table(1, 2)
    table.cell(0, 0).text = "Cell one"
    table.cell(0, 1).text = "42"
    document.sections[0].header.paragraphs[0].text = "On every page"
    return saved(document)


def test_word(take: Any, report: bytes) -> None:
    document = take(report, "docx")
    assert document.shown == [
        "Annual report",
        "Please read <1>all</1> of this<2/><3>Big<4/>news & <more>.</3>",
        "Cell one",
        "On every page",
    ]
    assert document.filled(*document.sources) == report
    translations = [
        "Bericht",
        "<1>Alles</1> lesen<2/><3>Große<4/>Neuigkeiten <&></3>, bitte",
        "Zelle",
        "Auf jeder Seite",
    ]
    written = document.filled(*translations)
    found = docx.Document(io.BytesIO(written))
    heading, body, number = found.paragraphs
    assert (heading.text, heading.style.name, number.text) == ("Bericht", "Title", "12.5 %")
    assert body.text == "Alles lesen\tGroße\nNeuigkeiten <&>, bitte"
    formats = {run.text: (run.bold, run.font.size) for run in body.runs}
    assert formats["Alles"] == (True, None)
    assert formats["Große"] == formats["Neuigkeiten <&>"] == (None, Pt(20))
    assert formats[", bitte"] == formats[" lesen"] == (None, None)
    assert found.tables[0].cell(0, 0).text == "Zelle"
    assert found.sections[0].header.paragraphs[0].text == "Auf jeder Seite"
    before, after = parts(report), parts(written)
    assert list(before) == list(after)
    assert {name for name in before if before[name] != after[name]} == {"word/document.xml", "word/header1.xml"}


def run(content: str, properties: str = "") -> str:
    """A run of text, or of something else."""
    if not content.startswith("<"):
        content = f'<w:t xml:space="preserve">{content}</w:t>'
    return f"<w:r>{f'<w:rPr>{properties}</w:rPr>' if properties else ''}{content}</w:r>"


def mark(kind: str) -> str:
    """Where a field begins, divides or ends."""
    return f'<w:fldChar w:fldCharType="{kind}"/>'


BOX = f"<w:pict><w:txbxContent><w:p>{run('In the box')}</w:p></w:txbxContent></w:pict>"
RUNS = {
    "link": run("See ") + f'<w:hyperlink w:anchor="a">{run("the page", "<w:b/>")}</w:hyperlink>' + run(" now"),
    "written field": run("See ")
    + "".join(map(run, (mark("begin"), '<w:instrText> HYPERLINK "x" </w:instrText>', mark("separate"))))
    + "".join(map(run, ("it", mark("end"), "!"))),
    "computed field": run("Page ")
    + run(f"{mark('begin')}<w:instrText>PAGE</w:instrText>{mark('separate')}<w:t>three</w:t>{mark('end')}")
    + run(" here"),
    "changes": run("A ")
    + f'<w:del w:id="1">{run("<w:delText>bad</w:delText>")}</w:del><w:ins w:id="2">{run("good")}</w:ins>'
    + run(" day"),
    "languages": run("One ", '<w:lang w:val="en-GB"/>')
    + '<w:proofErr w:type="spellStart"/>'
    + run("text", "<w:noProof/>"),
    "white space": run("One") + run(" ", "<w:b/>") + run("two"),
    "line ends": run("One\ntwo"),
    "text box": run("Out ") + run(BOX) + run("side"),
}
SHOWN = {
    "link": ["See <1><2>the page</2></1> now"],
    "written field": ["See <1>it</1>!"],
    "computed field": ["Page <1/> here"],
    "changes": ["A <1/><2>good</2> day"],
    "languages": ["One text"],
    "white space": ["One two"],
    "text box": ["Out <1/>side", "In the box"],
    "line ends": ["One two"],
}


KEPT = {
    "changes": ["<w:delText>bad</w:delText>"],
    "computed field": ["<w:instrText>PAGE</w:instrText>", "<w:t>three</w:t>"],
    "written field": ['HYPERLINK "x"', '<w:t xml:space="preserve">IT</w:t>'],
    "link": ['<w:hyperlink w:anchor="a"><w:r><w:rPr><w:b/></w:rPr>'],
}


@pytest.mark.parametrize("name", RUNS)
def test_what_a_paragraph_may_hold(take: Any, name: str) -> None:
    document = docx.Document()
    body = document.element.body
    body.insert(0, parse_xml(f"<w:p {nsdecls('w')}>{RUNS[name]}</w:p>"))
    data = saved(document)
    taken = take(data, "docx")
    assert taken.shown == SHOWN[name]
    assert taken.filled(*taken.sources) == data
    written = taken.changed(str.swapcase)
    assert take(written, "docx").shown == [str(type(s)(s.text.swapcase(), s.tags)) for s in taken.sources]
    content = parts(written)["word/document.xml"].decode()
    assert all(kept in content for kept in KEPT.get(name, ()))


def test_slides(take: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        presentation = pptx.Presentation()
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = "Hello there"
        frame = slide.placeholders[1].text_frame
        frame.text = "First\vline"
        run = frame.paragraphs[0].add_run()
        run.text, run.font.bold = " bold", True
        slide.notes_slide.notes_text_frame.text = "Speak slowly"
        data = saved(presentation)
        document = take(data, "pptx")
        assert document.shown == ["Hello there", "First<1/>line<2> bold</2>", "Speak slowly"]
        assert document.filled(*document.sources) == data
        written = document.filled("Hallo", "<2>Fette</2> erste<1/>Zeile", "Langsam")
        found = pptx.Presentation(io.BytesIO(written)).slides[0]
    assert found.shapes.title.text == "Hallo"
    paragraph = found.placeholders[1].text_frame.paragraphs[0]
    assert paragraph.text == "Fette erste\vZeile"
    assert [(run.text, run.font.bold) for run in paragraph.runs] == [("Fette", True), (" erste", None), ("Zeile", None)]
    assert found.notes_slide.notes_text_frame.text == "Langsam"


CONTENT = (
    '<?xml version="1.0"?><office:document-content xmlns:office="urn:o" xmlns:text="urn:t" xmlns:draw="urn:d">'
    "<office:body><office:text><text:tracked-changes><text:p>Deleted words</text:p></text:tracked-changes>"
    '<text:h text:outline-level="1">Heading</text:h>\n'
    '<text:p text:style-name="P1">Some <text:span text:style-name="T1">bold</text:span><text:s text:c="2"/>text'
    "<text:line-break/>next<text:note><text:note-body><text:p>A\n  footnote</text:p></text:note-body></text:note> end"
    "</text:p>"
    "<text:p><draw:frame><draw:text-box><text:p>In a box</text:p></draw:text-box></draw:frame></text:p>"
    "</office:text></office:body></office:document-content>"
)


def test_open_document(take: Any) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.text", zipfile.ZIP_STORED)
        archive.writestr("content.xml", CONTENT)
        archive.writestr("Pictures/a.png", b"\x89PNG")
    document = take(stream.getvalue(), "odt")
    assert document.shown == ["Heading", "Some <1>bold</1><2/>text<3/>next<4/> end", "A footnote", "In a box"]
    written = document.filled("Titel", "Nächster<4/><3/><1>fetter</1><2/>Text", "Fuß\nnote", "Im Kasten")
    content = parts(written)["content.xml"].decode()
    assert (
        "Nächster<text:note><text:note-body><text:p>Fuß<text:line-break/>note</text:p></text:note-body></text:note>"
        in content
    )
    assert (
        '<text:line-break/><text:span text:style-name="T1">fetter</text:span><text:s text:c="2"/>Text</text:p>'
        in content
    )
    assert "Deleted words" in content
    with zipfile.ZipFile(io.BytesIO(written)) as archive:
        first = archive.infolist()[0]
        assert (first.filename, first.compress_type) == ("mimetype", zipfile.ZIP_STORED)
        assert archive.read("Pictures/a.png") == b"\x89PNG"

"""Files in by the page, translated files out of it."""

import io
import zipfile

_TYPES = """<?xml version="1.0" encoding="UTF-8"?>
<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
<Override PartName="/word/document.xml"
 ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>"""
_RELATIONS = """<?xml version="1.0" encoding="UTF-8"?>
<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="rId1"
 Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
 Target="word/document.xml"/></Relationships>"""
_BODY = """<?xml version="1.0" encoding="UTF-8" standalone="yes"?>
<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"><w:body>
<w:p><w:r><w:t>The bread is still warm.</w:t></w:r></w:p>
<w:p><w:r><w:t>It costs 25 euros.</w:t></w:r></w:p></w:body></w:document>"""
_PO = """msgid ""
msgstr ""
"Language: de\\n"
"Content-Type: text/plain; charset=UTF-8\\n"

msgid "The bread is still warm."
msgstr ""

msgid "Hello, %s."
msgstr ""
"""


def docx() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", _TYPES)
        archive.writestr("_rels/.rels", _RELATIONS)
        archive.writestr("word/document.xml", _BODY)
    return buffer.getvalue()


def translate(page, expect, go_to, name, content):
    """Upload a file and return what comes back."""
    go_to(page, "Documents")
    page.get_by_label("Translate from").select_option("en")
    page.get_by_label("Translate into").select_option("de")
    page.locator("input[type=file]").set_input_files(
        {"name": name, "mimeType": "application/octet-stream", "buffer": content}
    )
    row = page.get_by_role("listitem").filter(has_text=name)
    expect(row.get_by_text("done", exact=True)).to_be_visible()
    with page.expect_download() as saved:
        row.get_by_role("button", name="Download").click()
    return saved.value.path().read_bytes()


def test_a_word_document(page, expect, go_to):
    with zipfile.ZipFile(io.BytesIO(translate(page, expect, go_to, "leaflet.docx", docx()))) as archive:
        body = archive.read("word/document.xml").decode()
    assert "Brot" in body
    assert "25" in body


def test_messages_of_a_program(page, expect, go_to):
    messages = translate(page, expect, go_to, "messages.po", _PO.encode()).decode()
    assert 'msgid "The bread is still warm."' in messages
    assert "Brot" in messages
    assert messages.count("%s") == 2


def test_a_file_dropped_on_the_text_is_taken_to_the_documents(page, expect):
    page.get_by_label("Translate into").select_option("de")
    transfer = page.evaluate_handle(
        """() => {
            const transfer = new DataTransfer();
            transfer.items.add(new File(["The bread is still warm."], "dropped.txt", { type: "text/plain" }));
            return transfer;
        }"""
    )
    page.dispatch_event(".translate", "dragover", {"dataTransfer": transfer})
    page.dispatch_event(".translate", "drop", {"dataTransfer": transfer})
    page.get_by_role("dialog").get_by_label("Languages").select_option("en-de")  # nothing told its language
    page.get_by_role("dialog").get_by_role("button", name="Translate").click()
    row = page.get_by_role("listitem").filter(has_text="dropped.txt")
    expect(row.get_by_text("done", exact=True)).to_be_visible()
    row.get_by_role("button", name="Delete: dropped.txt").click()
    expect(row).to_have_count(0)


def test_a_broken_file_is_refused_in_words(page, expect, go_to):
    go_to(page, "Documents")
    page.locator("input[type=file]").set_input_files(
        {"name": "broken.docx", "mimeType": "application/zip", "buffer": b"PK nothing"}
    )
    expect(page.locator(".problem").first).to_be_visible()

"""What strangers send: each is refused with a reason, and nothing runs away with memory or time."""

import io
import json
import struct
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.errors import ConfigError, DataError
from regard.data.documents import FORMATS, Limits, open_document
from regard.data.documents.parsing import Request, parse


def archive_of(**files: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


WORD = b'<w:document xmlns:w="urn:w"><w:body><w:p><w:r><w:t>Hello</w:t></w:r></w:p></w:body></w:document>'
LAUGHS = '<!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;">]><xliff version="1.2"><file>&b;</file></xliff>'
OUTSIDE = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><xliff version="1.2">&e;</xliff>'
REMOTE = '<!DOCTYPE xliff SYSTEM "http://127.0.0.1:9/x.dtd"><xliff version="1.2"/>'


@pytest.mark.parametrize("text", [LAUGHS, OUTSIDE, REMOTE], ids=["billion laughs", "file", "address"])
@pytest.mark.parametrize("format", ["xliff", "tmx", "docx", "odt", "pptx"])
def test_document_types_are_refused(format: str, text: str) -> None:
    data = text.encode()
    if FORMATS[format].parts:
        name = {"docx": "word/document.xml", "odt": "content.xml", "pptx": "ppt/slides/slide1.xml"}[format]
        data = archive_of(**{name: data})
    with pytest.raises(DataError, match="line 1: the document has a document type"):
        parse(data, Request(format, target="de"))


def test_utf16_hides_no_document_type() -> None:
    with pytest.raises(DataError, match="document type"):
        parse(b"\xff\xfe" + LAUGHS.encode("utf-16-le"), Request("xliff"))


def test_a_bomb_is_counted_while_it_is_inflated() -> None:
    bomb = archive_of(**{"word/document.xml": b" " * 3_000_000 + WORD})
    assert len(bomb) < 5_000
    with pytest.raises(DataError, match=r"inflates to 3,0.* bytes or more; at most 1,000,000"):
        parse(bomb, Request("docx", limits=Limits(max_inflated=1_000_000)))
    # an archive that lies about its sizes
    place = bomb.index(b"PK\x01\x02") + 24
    forged = bomb[:place] + struct.pack("<I", 100) + bomb[place + 4 :]
    with pytest.raises(DataError, match=r"damaged|inflates"):
        parse(forged, Request("docx", limits=Limits(max_inflated=1_000_000)))


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/passwd", "word/../../x", "..\\x", "C:\\x"])
def test_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="leads out of it"):
        parse(archive_of(**{"word/document.xml": WORD, name: b"x"}), Request("docx"))


def test_other_archives_are_refused() -> None:
    many = archive_of(**{f"f{i}": b"" for i in range(30)})
    with pytest.raises(DataError, match="30 entries; at most 20"):
        parse(many, Request("docx", limits=Limits(max_entries=20)))
    with pytest.raises(DataError, match="no Word document"):
        parse(many, Request("docx"))
    data = bytearray(archive_of(**{"word/document.xml": WORD}))
    data[data.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DataError, match="encrypted"):
        parse(bytes(data), Request("docx"))
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("word/document.xml", WORD)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("word/document.xml", WORD)
    with pytest.raises(DataError, match="two entries named"):
        parse(stream.getvalue(), Request("docx"))


@pytest.mark.parametrize(
    ("format", "data", "message"),
    [
        ("txt", b"fine\nna\xefve\n", "line 2: byte 0xef is not utf-8"),
        ("txt", "Grüße".encode("utf-16-le"), "byte 0xfc is not utf-8"),
        ("txt", b"a\0b", "zero bytes"),
        ("html", b"<meta charset=klingon><p>a", "'klingon', which is unknown"),
        ("html", b"<meta charset=rot13><p>a", "'rot13', which is none"),
        ("html", b"<meta charset=utf-16><p>a", "not utf-16"),
        ("xliff", b'<?xml version="1.0" encoding="utf-7"?><xliff/>', "without a version"),
        ("json", b"[" * 100_000, "nested too deeply|not JSON"),
        ("json", b'{"a": }', "not JSON"),
        ("xliff", b"<a>" * 5_000, "nested deeper than"),
        ("docx", b"not a zip", "no readable zip archive"),
        ("docx", archive_of(**{"word/document.xml": b"<w:p"}), "word/document.xml, line 1: this is not well-formed"),
        ("csv", b'"a" b,c\n', "line 1: text follows a closing quotation mark"),
    ],
)
def test_broken_documents_are_refused(format: str, data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse(data, Request(format))


def refusal(data: bytes, format: str) -> str:
    """Why a document is refused; nothing where it is read. Any other error is a failure."""
    try:
        parse(data, Request(format, target="de"))
    except DataError as error:
        return str(error)
    return ""


@given(st.sampled_from(sorted(FORMATS)), st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(format: str, data: bytes) -> None:
    reason = refusal(data, format)
    assert not reason or reason.endswith(".")


@given(st.integers(0, 10_000), st.integers(0, 255))
def test_damaged_archives_are_read_or_refused(place: int, value: int) -> None:
    data = bytearray(archive_of(**{"word/document.xml": WORD, "b": b"x" * 100}))
    data[place % len(data)] = value
    assert len(refusal(bytes(data), "docx")) < 300


def test_too_many_segments_and_bytes() -> None:
    with pytest.raises(DataError, match="11 segments; at most 10"):
        parse(b"line\n" * 11, Request("txt", limits=Limits(max_segments=10)))
    with pytest.raises(DataError, match="11 bytes; at most 10"):
        open_document(b"x" * 11, format="txt", limits=Limits(max_bytes=10))
    with pytest.raises(ConfigError, match="seconds is 0"):
        Limits(seconds=0)


# ---- in a process of its own


def test_a_document_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    path.write_bytes("<p>Hello <b>you</b></p><p>Bye 漢</p>".encode())
    document = open_document(path)
    assert [(s.id, str(s.source), s.context) for s in document.segments] == [
        ("1", "Hello <1>you</1>", "p"),
        ("2", "Bye 漢", "p"),
    ]
    assert document.with_translations({}) == path.read_bytes()
    assert document.with_translations({"1": "<1>Du</1>, hallo"}) == "<p><b>Du</b>, hallo</p><p>Bye 漢</p>".encode()
    with pytest.raises(DataError, match="2 segments; there is none numbered '3'"):
        document.with_translations({"3": "x"})


@pytest.mark.parametrize(
    ("file", "options", "message"),
    [
        (b"x", {}, "the bytes have is not known; name one of txt"),
        (Path("a.exe"), {}, "'a.exe' have is not known"),
        (b"x", {"format": "dokx"}, "Did you mean 'docx'"),
        (Path("nowhere.txt"), {}, "cannot read nowhere.txt"),
        (b"\xff", {"format": "md"}, "line 1: byte 0xff"),
    ],
)
def test_what_cannot_be_opened(file: Any, options: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_document(file, **options)


def test_memory_has_a_limit() -> None:
    data = json.dumps(["some words"] * 400_000).encode()
    with pytest.raises(DataError, match=r"takes more than 60 seconds or 100,000,000 bytes of memory"):
        open_document(data, format="json", limits=Limits(memory=100_000_000))


def test_time_has_a_limit() -> None:
    data = b"Some *words* and `code`.\n\n" * 100_000
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"takes more than 0\.3 seconds"):
        open_document(data, format="md", limits=Limits(seconds=0.3))
    assert time.perf_counter() - start < 20

"""Files of memories, glossaries and dictionaries, in and out."""

import pytest

from regard.base.errors import DataError
from regard.serve import exchange
from regard.serve.store.tables import MemoryEntry, Term, now

TEXTS = ["a < b & c", "\"quoted\" 'text'", "你好，世界。", "tab\tand\nline", "]]> <seg>"]


def test_tmx_comes_back_as_it_went() -> None:
    entries = [
        MemoryEntry(source="en", target="zh", source_text=text, target_text=text[::-1], created=now()) for text in TEXTS
    ]
    data = "".join(exchange.write_tmx(entries, "1.0")).encode()
    units = list(exchange.read_tmx(data))
    assert [(u.source, u.target, u.source_text, u.target_text) for u in units] == [
        ("en", "zh", text, text[::-1]) for text in TEXTS
    ]


def test_tmx_of_other_programs() -> None:
    data = """<?xml version="1.0"?><!DOCTYPE tmx SYSTEM "tmx14.dtd">
    <tmx version="1.4"><header srclang="EN-US"/><body>
    <tu><tuv xml:lang="de-DE"><seg>Guten <bpt i="1">&lt;b&gt;</bpt>Tag</seg></tuv>
    <tuv xml:lang="en-US"><seg>Hello</seg></tuv></tu>
    <tu><tuv lang="en"><seg>No partner</seg></tuv></tu></body></tmx>"""
    found = list(exchange.read_tmx(data.encode("utf-16")))
    assert [(u.source, u.target, u.source_text, u.target_text) for u in found] == [
        ("en", "de", "Hello", "Guten <b>Tag")
    ]


BOMB = b'<!DOCTYPE tmx [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><tmx>&b;</tmx>'
OUTSIDE = b'<!DOCTYPE tmx [<!ENTITY x SYSTEM "file:///etc/passwd">]><tmx>&x;</tmx>'


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (BOMB, "refused"),
        (OUTSIDE, "refused"),
        (b"<a>" * 5000, "too deeply"),
        (b"<tmx><body></tmx>", "not well-formed"),
        (b"<html/>", "not a TMX"),
        (b"", "not well-formed"),
        (b"\xff\xfe\x00", "not well-formed"),
        (b'<?xml version="1.0" encoding="nonsense"?><tmx/>', "not well-formed"),
    ],
)
def test_hostile_xml_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(exchange.read_tmx(data))


def test_terms_come_back_as_they_went() -> None:
    terms = [Term(source=t, target=t[::-1], variants=[], note="n") for t in ["bread", "a, b", 'say "so"', "=1+1", "-x"]]
    expected = [(t.source, t.target, "n") for t in terms]
    assert exchange.read_terms(exchange.write_terms_csv(terms).encode(), "en", "de") == expected
    tbx = "".join(exchange.write_terms_tbx(terms, "en", "de")).encode()
    assert exchange.read_terms(tbx, "en", "de") == expected


def test_no_cell_is_a_formula() -> None:
    written = exchange.write_terms_csv([Term(source='=HYPERLINK("x")', target="@x", variants=[], note="")])
    assert all(not cell.startswith(("=", "@")) for line in written.splitlines() for cell in line.split(","))


def test_terms_with_a_hole_say_which_row() -> None:
    with pytest.raises(DataError, match="row 2"):
        exchange.read_terms(b"a,b\nc,\n", "en", "de")


def test_cedict() -> None:
    data = "# comment\n貓 猫 [mao1] /cat/CL:隻|只[zhi1]/\n你 你 [ni3] /you/\n".encode()
    found = [(e.headword, e.reading, e.senses) for e in exchange.read_cedict(data)]
    assert found == [
        ("猫", "mao1", ["cat", "CL:隻|只[zhi1]"]),
        ("貓", "mao1", ["cat", "CL:隻|只[zhi1]"]),
        ("你", "ni3", ["you"]),
    ]
    with pytest.raises(DataError, match="line 1"):
        list(exchange.read_cedict(b"cat - Katze"))


def test_dictionary_with_tabs() -> None:
    data = b"bank\tUfer; Bank\nrun\tverb\tlaufen\nlead\t/led/\tnoun\tBlei\n"
    found = [(e.headword, e.reading, e.kind, e.senses) for e in exchange.read_dictionary_tsv(data)]
    assert found == [
        ("bank", None, None, ["Ufer", "Bank"]),
        ("run", None, "verb", ["laufen"]),
        ("lead", "/led/", "noun", ["Blei"]),
    ]
    with pytest.raises(DataError, match="line 2"):
        list(exchange.read_dictionary_tsv(b"a\tb\nc\n"))
    with pytest.raises(DataError, match="UTF-8"):
        list(exchange.read_dictionary_tsv(b"a\tb\nc\t\xff\n"))

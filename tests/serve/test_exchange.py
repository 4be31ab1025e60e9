"""Files of memories, glossaries and dictionaries, in and out."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


WORDS = [
    "bread",
    "a, b",
    'say "so"',
    "=1+1",
    "-x",
    "'-x",
    "''=",
    "'",
    "a|b",
    "\\|",
    "c\\",
    "\\\\ | \\",
    "x\r\ny",
    "<&>",
]
words = st.sampled_from(WORDS) | st.text(st.sampled_from("ab|\\'=, \"\n"), min_size=1).map(str.strip).filter(bool)
made = st.builds(
    dict,
    source=words,
    target=words,
    variants=st.lists(words, max_size=4, unique=True),
    case_sensitive=st.booleans(),
    note=st.just("") | words,
)


def by_csv(terms: list[Term]) -> list[dict[str, Any]]:
    return exchange.read_terms(exchange.write_terms_csv(terms).encode(), "en", "de")


def by_tbx(terms: list[Term]) -> list[dict[str, Any]]:
    return exchange.read_terms("".join(exchange.write_terms_tbx(terms, "en", "de")).encode(), "en", "de")


@given(st.lists(made, max_size=4))
def test_terms_come_back_as_they_went(values: list[dict[str, Any]]) -> None:
    terms = [Term(**each) for each in values]
    assert by_csv(terms) == values
    for found, each in zip(by_tbx(terms), values, strict=True):
        others = [variant for variant in each["variants"] if variant != each["target"]]
        assert {"variants": [], "note": "", **found} == each | {"variants": others}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("bread,Brot\n", {}),
        ("bread,Brot,\n", {"note": ""}),
        ("Source,Target\nbread,Brot\n", {}),
        ("note,target,source\nwarm,Brot,bread\n", {"note": "warm"}),
        ("source,target,variants,note\nbread,Brot\n", {}),
        ("source\ttarget\tvariants\nbread\tBrot\tBrote|Brotes |\n", {"variants": ["Brote", "Brotes"]}),
        ("source,target,case_sensitive,\nbread,Brot,TRUE,\n", {"case_sensitive": True}),
        ("source,target,case_sensitive\nbread,Brot,\n", {"case_sensitive": False}),
    ],
)
def test_a_file_says_of_a_term_what_its_columns_say(data: str, expected: dict[str, Any]) -> None:
    assert exchange.read_terms(data.encode(), "en", "de") == [{"source": "bread", "target": "Brot", **expected}]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("source,target,variant\nbread,Brot,Brote\n", "'variant' is not known.*'variants'"),
        ("source,target,note,note\n", "2 columns 'note'"),
        ("source,target\nbread,Brot,warm\n", "row 2 has a column without a name"),
        ("bread,Brot,warm,Brote\n", "row 1 has a column without a name"),
        ("source,target,case_sensitive\nbread,Brot,perhaps\n", "row 2: case_sensitive is 'perhaps'; write yes or no"),
    ],
)
def test_columns_that_are_not_understood_are_said(data: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        exchange.read_terms(data.encode(), "en", "de")


def test_terms_of_other_programs() -> None:
    data = b"""<martif type="TBX"><text><body><termEntry id="1"><descrip type="definition">warm</descrip>
    <langSet xml:lang="en-US"><tig><term>bread</term></tig><tig><term>loaf</term></tig></langSet>
    <langSet xml:lang="de-DE"><tig><term>Brot</term></tig><tig><term> Laib </term></tig></langSet>
    <langSet xml:lang="de-AT"><tig><term>Brot</term></tig></langSet></termEntry>
    <termEntry><langSet xml:lang="en"><tig><term>roll</term></tig></langSet></termEntry></body></text></martif>"""
    assert exchange.read_terms(data, "en", "de") == [
        {"source": "bread", "target": "Brot", "variants": ["Laib"], "note": "warm"}
    ]


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

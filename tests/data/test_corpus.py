"""Every format read as it should be, and every defect named with its file and line."""

import gzip
import io
import sys
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, Pair, check_corpus, read_lines, read_pairs

PAIRS = [Pair("The barn is red.", "Die Scheune ist rot."), Pair("It rains.", "Es regnet.")]


def corpus(**settings: object) -> CorpusConfig:
    return CorpusConfig(**{"source": "en", "target": "de", **settings})  # type: ignore[arg-type]


def write(path: Path, content: str | bytes) -> str:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return str(path)


def read(path: Path, content: str | bytes, **settings: object) -> list[Pair]:
    return list(read_pairs(corpus(path=write(path, content), **settings)))


TSV = "".join(f"{p.source}\t{p.target}\n" for p in PAIRS)
JSONL = '{"translation": {"en": "The barn is red.", "de": "Die Scheune ist rot."}, "n": 1}\n' + (
    '{"translation": {"en": "It rains.", "de": "Es regnet."}}\n'
)
KEYS = {"source_column": "translation.en", "target_column": "translation.de"}


def tmx(*units: str, doctype: str = '<!DOCTYPE tmx SYSTEM "tmx14.dtd">') -> str:
    body = "\n".join(f"<tu>{unit}</tu>" for unit in units)
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n{doctype}\n<tmx version="1.4"><header/><body>\n{body}\n</body></tmx>'
    )


def variant(language: str, segment: str) -> str:
    return f'<tuv xml:lang="{language}"><note>not this</note><seg>{segment}</seg></tuv>'


TMX = tmx(*(variant("en-US", p.source) + variant("DE", p.target) for p in PAIRS))


@pytest.mark.parametrize(
    ("name", "content", "extra"), [("a.tsv", TSV, {}), ("a.jsonl", JSONL, KEYS), ("a.tmx", TMX, {})]
)
@pytest.mark.parametrize("packed", [False, True])
def test_every_format_gives_the_same_pairs(tmp_path, name, content, extra, packed) -> None:
    raw = gzip.compress(content.encode()) if packed else content.encode()
    path = tmp_path / (name + ".gz" if packed else name)
    assert read(path, raw, **extra) == PAIRS
    assert check_corpus(corpus(path=str(path), **extra)) == 2
    # Packed or not is seen from the bytes, whatever the name says.
    assert read(tmp_path / name, raw, **extra) == PAIRS


def test_plain_files(tmp_path) -> None:
    source = write(tmp_path / "a.en", gzip.compress(b"The barn is red.\r\nIt rains.\r\n"))
    target = write(tmp_path / "a.de", "\ufeffDie Scheune ist rot.\nEs regnet.")
    assert list(read_pairs(corpus(source_path=source, target_path=target))) == PAIRS


def test_lines_end_at_line_feeds_only(tmp_path) -> None:
    text = "\ufeffone\x85still\u2028one\x0b\x0c\rtoo\r\n\n\ufefftwo\tend"
    assert list(read_lines(write(tmp_path / "a", text))) == ["one\x85still\u2028one\x0b\x0c\rtoo", "", "\ufefftwo\tend"]
    assert list(read_lines(write(tmp_path / "b", ""))) == []
    assert list(read_lines(write(tmp_path / "d", "\r\r\n\r"))) == ["\r", ""]
    assert list(read_lines(write(tmp_path / "c", "\n\n"))) == ["", ""]


@settings(deadline=None, max_examples=100)
@given(lines=st.lists(st.text(st.characters(exclude_characters="\n\0", exclude_categories=["Cs"]))), end=st.booleans())
def test_lines_survive_writing_and_reading(tmp_path_factory, lines: list[str], end: bool) -> None:
    lines = [line.rstrip("\r").lstrip("\ufeff") for line in lines]
    if not end and lines and not lines[-1]:
        end = True  # without its end, an empty last line does not exist
    path = tmp_path_factory.mktemp("lines") / "a"
    content = "\n".join(lines) + ("\n" if end and lines else "")
    assert list(read_lines(write(path, content))) == lines


@pytest.mark.parametrize("packed", [False, True])
def test_standard_input(monkeypatch, packed) -> None:
    raw = b"erste\r\nzweite\n"
    stdin = io.TextIOWrapper(io.BytesIO(gzip.compress(raw) if packed else raw))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert list(read_lines("-")) == ["erste", "zweite"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\n\xff\n")))
    with pytest.raises(DataError, match="standard input, line 2"):
        list(read_lines("-"))


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"fine\nna\xefve\n", r"a\.txt, line 2: byte 0xef at position 3 is not UTF-8.*iconv -f LATIN1"),
        ("fine\n".encode("utf-16"), r"a\.txt, line 1: this is UTF-16"),
        (b"fine\nfi\0ne\n", r"a\.txt, line 2: it has a NUL"),
        (gzip.compress(b"fine\n" * 1000)[:-10], r"a\.txt is a damaged or incomplete gzip file"),
        (gzip.compress(b"fine\n" * 1000)[:30] + b"\xff" * 30, r"a\.txt is a damaged or incomplete gzip file"),
    ],
)
def test_what_is_no_text_is_named(tmp_path, raw: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(read_lines(write(tmp_path / "a.txt", raw)))


def test_a_file_that_cannot_be_read_is_named(tmp_path) -> None:
    for path in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(DataError, match=f"cannot read {path}"):
            list(read_lines(path))


@pytest.mark.parametrize(("lengths", "short"), [((3, 5), "a.en"), ((5, 3), "a.de"), ((0, 1), "a.en")])
def test_unequal_plain_files_are_refused(tmp_path, lengths, short) -> None:
    paths = [write(tmp_path / name, "line\n" * n) for name, n in zip(("a.en", "a.de"), lengths, strict=True)]
    expected = rf"{short} ends after line {min(lengths)}, but .* has {max(lengths)} lines"
    with pytest.raises(DataError, match=expected):
        check_corpus(corpus(source_path=paths[0], target_path=paths[1]))


def test_tsv_columns_by_number_and_by_name(tmp_path) -> None:
    content = 'id\tgerman\tenglish\tby\n1\t"Ja" und\tYes\tme\n\n2\tNein\t\t\n'
    expected = [Pair("Yes", '"Ja" und'), Pair("", "Nein")]
    assert read(tmp_path / "a.tsv", content, source_column="english", target_column="german") == expected
    assert read(tmp_path / "a.tsv", content, source_column="english", target_column=1) == expected
    assert read(tmp_path / "a.tsv", content, source_column=2, target_column=1)[1:] == expected
    with pytest.raises(DataError, match=r"a\.tsv, line 1: no column is named 'englisch'\. Did you mean 'english'"):
        read(tmp_path / "a.tsv", content, source_column="englisch")
    with pytest.raises(DataError, match=r"a\.tsv, line 2: it has 1 column, and column 1"):
        read(tmp_path / "a.tsv", "good\tgut\nbad\n")


def test_json_values(tmp_path) -> None:
    assert read(tmp_path / "a.jsonl", '["Yes.", "Ja."]\n \n') == [Pair("Yes.", "Ja.")]
    assert read(tmp_path / "a.jsonl", '{"a.b": "Yes.", "c": "Ja."}', source_column="a.b", target_column="c") == [
        Pair("Yes.", "Ja.")
    ]
    # A line end inside a JSON string is part of the sentence.
    assert read(tmp_path / "a.jsonl", '["a\\nb\u2028c", "d"]') == [Pair("a\nb\u2028c", "d")]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "this is not JSON"),
        ('{"translation": ', "this is not JSON"),
        ("[" * 100_000, "this is not JSON"),
        ("9" * 5_000, "this is not JSON"),
        ("3", "it has no 'translation.en'"),
        ("null", "it has no 'translation.en'"),
        ('["a", "b"]', "it has no 'translation.en'"),
        ('{"translation": "abc"}', "it has no 'translation.en'"),
        ('{"translation": {"en": "a", "fr": "b"}}', "it has no 'translation.de'. It has the keys 'en', 'fr'"),
        ('{"translation": {"en": 7, "de": "b"}}', "'translation.en' is 7, and text is needed"),
        ('{"translation": {"en": "\\ud800", "de": "b"}}', "half of a surrogate"),
        ('{"translation": {"en": "\\u0000", "de": "b"}}', "a NUL"),
    ],
)
def test_bad_json_names_the_line(tmp_path, line: str, message: str) -> None:
    good = JSONL.splitlines()[0]
    with pytest.raises(DataError, match=rf"a\.jsonl, line 2: .*{message}"):
        read(tmp_path / "a.jsonl", f"{good}\n{line}\n", **KEYS)


def test_tmx_segments_and_languages(tmp_path) -> None:
    segment = (
        'Press <bpt i="1">&lt;b&gt;</bpt>&amp; <hi>hold</hi><ept i="1">&lt;/b&gt;</ept>\n   <ph><sub>x</sub></ph>now'
    )
    content = tmx(
        variant("en-GB", segment) + variant("de", "Halten") + variant("fr", "Tenez"),
        variant("fr", "Seul"),
        variant("en-US", "lift") + variant("en", "elevator") + '<tuv lang="de_AT"><seg>Lift</seg></tuv>',
        variant("eng", "no prefix match") + variant("de", "nein"),
    )
    assert read(tmp_path / "a.tmx", content) == [Pair("Press & hold now", "Halten"), Pair("elevator", "Lift")]
    assert read(tmp_path / "a.tmx", content, source="en_us") == [Pair("lift", "Lift")]
    assert read(tmp_path / "a.tmx", content.replace("utf-8", "utf-16").encode("utf-16"))[1:] == [
        Pair("elevator", "Lift")
    ]
    with pytest.raises(DataError, match=r"no unit in both 'it' and 'de'.*de, de_AT, en, en-GB, en-US, eng, fr"):
        read(tmp_path / "a.tmx", content, source="it")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (TMX[:-10], r"line 6: this is not well-formed XML"),
        (TMX.replace("</seg>", "", 1), r"line 4: this is not well-formed XML: mismatched tag"),
        ("", r"line 1: this is not well-formed XML"),
        ("<html></html>", r"line 1: this is not TMX: it begins with <html>"),
        (TMX.replace("rains", "&nbsp;rains"), r"line 5: it declares or uses the entity 'nbsp'"),
        (tmx(doctype='<!DOCTYPE tmx [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>'), r"line 2: .*the entity 'a'"),
        (tmx(doctype='<!DOCTYPE tmx [<!ENTITY a SYSTEM "file:///etc/hostname">]>'), r"line 2: .*the entity 'a'"),
        (tmx(doctype='<!DOCTYPE tmx [<!ENTITY % p SYSTEM "http://localhost/x">%p;]>'), r"line 2: .*the entity 'p'"),
        (TMX.replace("utf-8", "klingon"), r"line 1: its encoding is not supported"),
        (TMX.encode().replace(b"rains", b"r\xffins"), r"line 5: this is not well-formed XML: .*invalid"),
    ],
)
def test_bad_tmx_names_the_line(tmp_path, content, message) -> None:
    with pytest.raises(DataError, match=rf"a\.tmx, {message}"):
        read(tmp_path / "a.tmx", content)


def test_a_large_tmx_takes_little_memory(tmp_path) -> None:
    units = [variant("en", f"Barn number {i} is red.") + variant("de", f"Scheune {i} ist rot.") for i in range(10_000)]
    config = corpus(path=write(tmp_path / "a.tmx", tmx(*units)))
    del units
    tracemalloc.start()
    try:
        assert check_corpus(config) == 10_000
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # All pairs together would take 2.5 MB.
    assert peak < 1_200_000


def test_a_corpus_without_pairs_is_an_error(tmp_path) -> None:
    empty = write(tmp_path / "a.tsv", "\n\n")
    with pytest.raises(DataError, match=r"a\.tsv holds no pair"):
        check_corpus(corpus(path=empty))
    with pytest.raises(DataError, match="holds no pair"):
        nothing = write(tmp_path / "empty", "")
        check_corpus(corpus(source_path=nothing, target_path=nothing))


def test_reading_is_a_stream(tmp_path) -> None:
    pairs = read_pairs(corpus(path=write(tmp_path / "a.tsv", TSV + "broken line\n")))
    assert next(pairs) == PAIRS[0]
    assert next(pairs) == PAIRS[1]
    with pytest.raises(DataError, match="line 3"):
        next(pairs)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "give either path"),
        ({"path": "a.tsv", "source_path": "a", "target_path": "b"}, "give either path"),
        ({"source_path": "a"}, "go together"),
        ({"path": "a.tsv", "format": "plain"}, "needs source_path"),
        ({"source_path": "a", "target_path": "b", "format": "tsv"}, "needs path"),
        ({"path": "-", "format": "tsv"}, "standard input"),
        ({"path": "a.doc"}, "does not tell its format"),
        ({"path": "a"}, "does not tell its format"),
        ({"path": "a.tsv", "source": ""}, "source is ''"),
        ({"path": "a.tsv", "target": "de de"}, "target is 'de de'"),
        ({"path": "a.tmx", "target": "en"}, "read by language"),
        ({"path": "a.tmx", "source_column": 2}, "no effect on tmx"),
        ({"source_path": "a", "target_path": "b", "target_column": "x"}, "no effect on plain"),
        ({"path": "a.tsv", "source_column": 1}, "are both 1"),
        ({"path": "a.tsv", "source_column": -1}, "-1 is not a column"),
        ({"path": "a.tsv", "source_column": ""}, "'' is not a column"),
        ({"path": "a.tsv", "weight": 0.0}, "weight is 0.0"),
        ({"path": "a.tsv", "weight": float("nan")}, "weight is nan"),
        ({"path": "a.tsv", "weight": float("inf")}, "weight is inf"),
    ],
)
def test_configuration_is_checked(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        corpus(**settings)


def test_configuration_survives_a_file() -> None:
    config = corpus(path="a.jsonl.gz", **KEYS, weight=0.25, both_directions=True)
    assert from_dict(CorpusConfig, to_dict(config)) == config
    assert config.resolved_format == "jsonl"

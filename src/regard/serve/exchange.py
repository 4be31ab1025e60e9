"""Files that memories, glossaries and dictionaries come from and go to: TMX, TBX, CSV, CC-CEDICT, TSV."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat
from xml.sax.saxutils import escape, quoteattr

from regard.base.errors import DataError, did_you_mean
from regard.serve.languages import base_code
from regard.serve.store.tables import DictionaryEntry, MemoryEntry, Term
from regard.tasks.dictionary import read_dictionary

_LANG = "{http://www.w3.org/XML/1998/namespace}lang"
_MOST_DEPTH = 100
_CEDICT = re.compile(r"(\S+) (\S+) \[([^\]]*)\] /(.*)/\s*")
# What XML 1.0 cannot hold.
_UNWRITABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]")
#: Columns of a glossary as CSV; without a header the first three are meant.
_COLUMNS = ("source", "target", "note", "variants", "case_sensitive")
_NAMELESS_COLUMNS = 3
# What a spreadsheet takes for a formula, or what safe_cell makes of it.
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_FLAGS = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False, "": False}


@dataclass(frozen=True)
class Unit:
    """A translation of a memory that was read."""

    source: str
    target: str
    source_text: str
    target_text: str


def read_tmx(data: bytes) -> Iterator[Unit]:
    """Translations of a TMX file, in both directions of each unit's first language with the others.

    Raises:
        DataError: it is not TMX.
    """
    root = read_xml(data)
    if _local(root) != "tmx":
        raise DataError("this is not a TMX file: its first element is not <tmx>.")
    header = next((e for e in root.iter() if _local(e) == "header"), None)
    first = base_code(header.get("srclang", "")) if header is not None else None
    for unit in (e for e in root.iter() if _local(e) == "tu"):
        texts: dict[str, str] = {}
        for variant in (e for e in unit if _local(e) == "tuv"):
            code = base_code(variant.get(_LANG) or variant.get("lang") or "")
            segment = next((e for e in variant if _local(e) == "seg"), None)
            if code and segment is not None:
                texts.setdefault(code, _words(segment))
        source = first if first in texts else next(iter(texts), None)
        for target, text in texts.items():
            if source and target != source and text.strip() and texts[source].strip():
                yield Unit(source, target, texts[source], text)


def write_tmx(entries: Iterable[MemoryEntry], version: str) -> Iterator[str]:
    """A TMX 1.4 file, piece by piece."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
    yield (
        f'<header creationtool="regard" creationtoolversion={quoteattr(version)} segtype="sentence" '
        'o-tmf="regard" adminlang="en" srclang="*all*" datatype="plaintext"/>\n<body>\n'
    )
    for entry in entries:
        created = entry.created.strftime("%Y%m%dT%H%M%SZ")
        yield (
            f'<tu creationdate="{created}">'
            f"<tuv xml:lang={quoteattr(entry.source)}><seg>{_xml(entry.source_text)}</seg></tuv>"
            f"<tuv xml:lang={quoteattr(entry.target)}><seg>{_xml(entry.target_text)}</seg></tuv></tu>\n"
        )
    yield "</body>\n</tmx>\n"


def read_terms(data: bytes, source: str, target: str) -> list[dict[str, Any]]:
    """Terms of a CSV or TBX file: source and target of each, and what the file says of note, variants, case_sensitive.

    Raises:
        DataError: it is neither, a row has fewer than two columns, or a column is not known.
    """
    return _read_tbx(data, source, target) if data.lstrip()[:1] == b"<" else _read_csv(data)


def write_terms_csv(terms: Iterable[Term]) -> str:
    """Terms as CSV with a header. What a spreadsheet would take for a formula gets a quote in front."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for term in terms:
        cells = (term.source, term.target, term.note, _joined(term.variants))
        writer.writerow([*map(safe_cell, cells), _yes_or_no(term.case_sensitive)])
    return out.getvalue()


def write_terms_tbx(terms: Iterable[Term], source: str, target: str) -> Iterator[str]:
    """Terms as TBX (ISO 30042), piece by piece; of the terms in the target language the first is the translation."""
    yield '<?xml version="1.0" encoding="UTF-8"?>\n<tbx type="TBX-Basic" style="dca" xml:lang="en" '
    yield 'xmlns="urn:iso:std:iso:30042:ed-2">\n<tbxHeader><fileDesc><sourceDesc><p>regard</p></sourceDesc></fileDesc>'
    yield "</tbxHeader>\n<text><body>\n"
    for term in terms:
        yield "<conceptEntry>"
        if term.note:
            yield f"<note>{_xml(term.note)}</note>"
        yield f'<admin type="caseSensitive">{_yes_or_no(term.case_sensitive)}</admin>'
        for code, texts in ((source, [term.source]), (target, [term.target, *term.variants])):
            sections = "".join(f"<termSec><term>{_xml(text)}</term></termSec>" for text in texts)
            yield f"<langSec xml:lang={quoteattr(code)}>{sections}</langSec>"
        yield "</conceptEntry>\n"
    yield "</body></text>\n</tbx>\n"


def read_cedict(data: bytes) -> Iterator[DictionaryEntry]:
    """Entries of CC-CEDICT: under the simplified form, and under the traditional one where it differs.

    Raises:
        DataError: a line is not as in CC-CEDICT.
    """
    for number, line in enumerate(_text(data).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        match = _CEDICT.fullmatch(line)
        if not match:
            raise DataError(f"line {number} is not as in CC-CEDICT: 傳統 传统 [chuan2 tong3] /tradition/.")
        traditional, simplified, reading, senses = match.groups()
        _check_entry(number, traditional, reading, "")
        for headword in dict.fromkeys((simplified, traditional)):
            yield DictionaryEntry(headword=headword, reading=reading, kind=None, senses=senses.split("/"))


def read_dictionary_tsv(data: bytes) -> Iterator[DictionaryEntry]:
    """Entries of a tab-separated file: word, senses · word, kind, senses · word, reading, kind, senses.

    Senses are separated by semicolons.

    Raises:
        DataError: a line has another number of columns.
    """
    for number, line in enumerate(_text(data).splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        word, *more = (cell.strip() for cell in line.split("\t"))
        if not word or not 1 <= len(more) <= 3:
            raise DataError(f"line {number} has {len(more) + 1} columns; expected word, reading, kind, senses.")
        _check_entry(number, word, *more[:-1])
        senses = [sense.strip() for sense in more[-1].split(";") if sense.strip()]
        kind = more[-2] if len(more) > 1 else None
        reading = more[0] if len(more) > 2 else None
        yield DictionaryEntry(headword=word, reading=reading or None, kind=kind or None, senses=senses)


def read_learnt(data: bytes) -> Iterator[DictionaryEntry]:
    """Entries of a dictionary that ``regard dictionary`` made.

    Raises:
        DataError: it is something else.
    """
    for entry in read_dictionary(data).entries:
        yield DictionaryEntry(headword=entry.word, reading=None, kind=None, senses=[sense for sense, _ in entry.senses])


def read_xml(data: bytes) -> Element:
    """The root of an XML document. A document type may be named but not defined; nothing is fetched.

    Raises:
        DataError: it is not well-formed, defines entities, or is nested too deeply.
    """
    builder, depth = TreeBuilder(), 0
    parser = expat.ParserCreate(namespace_separator="}")

    def start(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > _MOST_DEPTH:
            raise DataError("the XML is nested too deeply.")
        builder.start(_braced(name), {_braced(key): value for key, value in attributes.items()})

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(_braced(name))

    def doctype(name: str, system: str | None, public: str | None, internal: int) -> None:
        if internal:
            raise DataError("the XML defines a document type of its own; such files are refused. Take it out.")

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = builder.data, doctype
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, AssertionError, LookupError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the file is not well-formed XML: {error}.") from error


def safe_cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if _FORMULA.match(text) else text


def _plain_cell(cell: str) -> str:
    """What stood in a cell before :func:`safe_cell`."""
    cell = cell.strip()
    return cell[1:] if cell[:1] == "'" and _FORMULA.match(cell) else cell


def _joined(variants: list[str]) -> str:
    return " | ".join(variant.replace("\\", "\\\\").replace("|", "\\|") for variant in variants)


def _parted(cell: str) -> list[str]:
    """Variants of a cell; a bar that is no separator has a backslash before it, and so has a backslash."""
    parts = re.findall(r"(?:\\[\\|]|[^|])+", cell)
    return [re.sub(r"\\([\\|])", r"\1", part.strip()) for part in parts if part.strip()]


def _yes_or_no(flag: bool | None) -> str:
    return "yes" if flag else "no"


def _flag(text: str, where: str) -> bool:
    flag = _FLAGS.get(text.strip().lower())
    if flag is None:
        raise DataError(f"{where}: case_sensitive is '{text.strip()[:40]}'; write yes or no.")
    return flag


def _read_csv(data: bytes) -> list[dict[str, Any]]:
    text = _text(data)
    delimiter = "\t" if "\t" in text.partition("\n")[0] else ","
    found: list[dict[str, Any]] = []
    columns: list[str] | None = None
    try:
        for number, row in enumerate(csv.reader(io.StringIO(text), delimiter=delimiter), 1):
            cells = [_plain_cell(cell) for cell in row]
            if not any(cells):
                continue
            if columns is None:
                columns = _header(cells)
                if columns:
                    continue
            found.append(_term(number, cells, columns or list(_COLUMNS[:_NAMELESS_COLUMNS])))
    except csv.Error as error:
        raise DataError(f"the file is not CSV: {error}.") from error
    return found


def _header(cells: list[str]) -> list[str]:
    """Names of the columns; none where the first row is a term already."""
    names = [cell.lower() for cell in cells]
    if not {"source", "target"} <= set(names):
        return []
    for name in filter(None, names):
        if name not in _COLUMNS:
            hint = did_you_mean(name, _COLUMNS)
            raise DataError(f"a column '{name[:40]}' is not known; rename it or take it out.{hint}")
        if names.count(name) > 1:
            raise DataError(f"there are {names.count(name)} columns '{name}'; keep one.")
    return names


def _term(number: int, cells: list[str], columns: list[str]) -> dict[str, Any]:
    """What a row says of a term; a cell that is not there says nothing, an empty one that there is none."""
    values: dict[str, Any] = {name: cell for name, cell in zip(columns, cells, strict=False) if name}
    if not values.get("source") or not values.get("target"):
        raise DataError(f"row {number} needs two columns that are not empty: source and target.")
    named = len(columns)
    if any(cell for i, cell in enumerate(cells) if i >= named or not columns[i]):
        raise DataError(
            f"row {number} has a column without a name. Name the columns in a first row: {','.join(_COLUMNS)}."
        )
    if "variants" in values:
        values["variants"] = _parted(values["variants"])
    if "case_sensitive" in values:
        values["case_sensitive"] = _flag(values["case_sensitive"], f"row {number}")
    return values


def _read_tbx(data: bytes, source: str, target: str) -> list[dict[str, Any]]:
    found = []
    for entry in read_xml(data).iter():
        if _local(entry) not in ("termEntry", "conceptEntry"):
            continue
        texts: dict[str | None, list[str]] = {}
        for section in (e for e in entry.iter() if _local(e) in ("langSet", "langSec")):
            terms = [_words(e).strip() for e in section.iter() if _local(e) == "term"]
            texts.setdefault(base_code(section.get(_LANG) or ""), []).extend(filter(None, terms))
        if not texts.get(source) or not texts.get(target):
            continue
        term, (translation, *variants) = texts[source][0], dict.fromkeys(texts[target])
        values: dict[str, Any] = {"source": term, "target": translation}
        if variants:
            values["variants"] = variants
        for element in entry:
            if _local(element) in ("note", "descrip"):
                values.setdefault("note", _words(element).strip())
            elif _local(element) == "admin" and element.get("type") == "caseSensitive":
                values["case_sensitive"] = _flag(_words(element), f"'{term[:40]}'")
        found.append(values)
    return found


def _check_entry(number: int, word: str, *more: str) -> None:
    if len(word) > 200 or any(len(text) > 100 for text in more):
        raise DataError(f"line {number} is too long: a word has at most 200 characters, its reading and kind 100.")


def _braced(name: str) -> str:
    return "{" + name if "}" in name else name


def _local(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _words(element: Element) -> str:
    return "".join(element.itertext())


def _xml(text: str) -> str:
    return escape(_UNWRITABLE.sub("", text), {"\r": "&#13;"})  # a bare one would be read as a line's end


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(f"line {line} is not UTF-8 text. Save the file as UTF-8.") from error

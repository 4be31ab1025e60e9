"""Parallel text from files: plain pairs, TSV, JSON Lines and TMX, read as a stream.

Whatever a reader cannot use is an error that names the file and the line; nothing is
guessed, repaired or left out without a word. :func:`check_corpus` reads everything
once, so that such an error comes before training starts and not in its tenth hour.
"""

import gzip
import io
import json
import math
import re
import sys
import zlib
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, NoReturn, cast
from xml.parsers import expat

from regard.base.errors import ConfigError, DataError, did_you_mean

_SUFFIXES = {".tsv": "tsv", ".txt": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "jsonl", ".tmx": "tmx"}
_LANGUAGE = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


class Pair(NamedTuple):
    """A sentence and its translation."""

    source: str
    target: str


@dataclass(frozen=True)
class CorpusConfig:
    """Where parallel text lies, in which form and how much of it is used."""

    source: str
    """Language code of the first side, such as ``en``."""
    target: str
    """Language code of the second side."""
    path: str = ""
    """One file with both sides: TSV, JSON Lines or TMX, gzipped or not."""
    source_path: str = ""
    """Plain text of the first side, a sentence a line; goes with ``target_path``."""
    target_path: str = ""
    """Plain text of the second side; line n translates line n."""
    format: Literal["auto", "plain", "tsv", "jsonl", "tmx"] = "auto"
    """``auto`` goes by the name: .tsv and .txt, .jsonl, .ndjson and .json, .tmx, each also with .gz."""
    source_column: int | str = 0
    """TSV: number of the column from 0, or its name in the header line. JSON Lines: a key,
    dotted into nested objects (``translation.en``), or a number where each line is an array."""
    target_column: int | str = 1
    """The same for the second side."""
    both_directions: bool = False
    """Train each pair in both directions; reading still gives it once, source first."""
    tag: str = ""
    """Text in front of every source of this corpus in training, such as ``<BT>`` for what a model has written
    (Caswell et al. 2019). It becomes ordinary pieces, so that any vocabulary has it."""
    weight: float = 1.0
    """Share seen in an epoch: 2 is twice, 0.25 a random quarter that changes each epoch."""

    def __post_init__(self) -> None:
        self._check_paths()
        form = self.resolved_format
        for name in ("source", "target"):
            code = getattr(self, name)
            if not _LANGUAGE.fullmatch(code):
                raise ConfigError(f"{name} is '{code}'; it must be a language code such as en, de or zh.")
        if form == "tmx" and self.source == self.target:
            raise ConfigError(f"source and target are both '{self.source}'; a TMX file is read by language.")
        columns = (self.source_column, self.target_column)
        if form in ("plain", "tmx") and columns != (0, 1):
            raise ConfigError(f"source_column and target_column have no effect on {form} files; remove them.")
        if self.source_column == self.target_column:
            raise ConfigError(f"source_column and target_column are both {self.source_column!r}.")
        for column in columns:
            if (isinstance(column, int) and column < 0) or column == "":
                raise ConfigError(f"{column!r} is not a column; columns count from 0, or have a name.")
        if not (math.isfinite(self.weight) and self.weight > 0):
            raise ConfigError(f"weight is {self.weight}; it must be positive. Remove the corpus to leave it out.")

    def _check_paths(self) -> None:
        paths = (self.path, self.source_path, self.target_path)
        if "-" in paths:
            raise ConfigError("a corpus is read more than once, so it cannot come from standard input; use a file.")
        if bool(self.path) == bool(self.source_path or self.target_path):
            raise ConfigError("give either path (one file with both sides) or source_path and target_path.")
        if bool(self.source_path) != bool(self.target_path):
            raise ConfigError("source_path and target_path go together; one of them is missing.")
        if self.format == "plain" and self.path:
            raise ConfigError("format 'plain' needs source_path and target_path, not path.")
        if self.format not in ("auto", "plain") and not self.path:
            raise ConfigError(f"format '{self.format}' needs path, not source_path and target_path.")

    @property
    def resolved_format(self) -> str:
        """The format itself, ``auto`` resolved.

        Raises:
            ConfigError: the name of the file does not tell.
        """
        if self.format != "auto":
            return self.format
        if not self.path:
            return "plain"
        suffixes = [suffix.lower() for suffix in Path(self.path).suffixes if suffix.lower() != ".gz"]
        if not suffixes or suffixes[-1] not in _SUFFIXES:
            raise ConfigError(f"the name of {self.path} does not tell its format; set format to tsv, jsonl or tmx.")
        return _SUFFIXES[suffixes[-1]]

    @property
    def name(self) -> str:
        """What messages call this corpus."""
        return self.path or f"{self.source_path} + {self.target_path}"


def read_pairs(config: CorpusConfig) -> Iterator[Pair]:
    """Yield the pairs of a corpus in the order of the file, as a stream.

    An empty side is a pair like any other (cleaning counts and drops those). Blank lines
    of TSV and JSON Lines, and TMX units that lack one of the two languages, hold no pair.

    Raises:
        DataError: a file cannot be read, is not UTF-8, is malformed, lacks a column, has
            no pair at all, or two plain files differ in length. Comes while reading.
    """
    reader = {"plain": _read_plain, "tsv": _read_tsv, "jsonl": _read_jsonl, "tmx": _read_tmx}[config.resolved_format]
    empty = True
    for pair in reader(config):
        empty = False
        yield pair
    if empty:
        raise DataError(f"{config.name} holds no pair of sentences.")


def check_corpus(config: CorpusConfig) -> int:
    """Read a whole corpus once and return its number of pairs.

    Raises:
        DataError: whatever :func:`read_pairs` would raise later.
    """
    return sum(1 for _ in read_pairs(config))


def read_lines(path: str | Path) -> Iterator[str]:
    """Yield the lines of a text file without their ends; ``-`` is standard input.

    Lines end at ``\\n`` or ``\\r\\n`` only, since U+2028 or U+0085 inside a sentence would
    shift every line after it. Gzip is found by its first bytes; a byte-order mark is dropped.

    Raises:
        DataError: the file cannot be read or is not UTF-8 text; the message names the line.
    """
    return (line for _, line in _numbered_lines(path))


def _fail(path: str | Path, number: int, problem: str) -> NoReturn:
    raise DataError(f"{'standard input' if str(path) == '-' else path}, line {number}: {problem}")


@contextmanager
def _open(path: str | Path) -> Generator[BinaryIO, None, None]:
    """Open a file or standard input as bytes, unpacked; problems of reading become DataErrors."""
    name = "standard input" if str(path) == "-" else str(path)
    try:
        # Standard input is not wrapped where it can be peeked at: a second buffer would wait
        # until it is full, and a person at a terminal would see no answer to a line.
        raw: Any = sys.stdin.buffer if str(path) == "-" else open(path, "rb")  # noqa: SIM115
        buffered = raw if hasattr(raw, "peek") else io.BufferedReader(raw)
        try:
            packed = buffered.peek(2)[:2] == b"\x1f\x8b"
            yield cast(BinaryIO, gzip.GzipFile(fileobj=buffered) if packed else buffered)
        finally:
            if str(path) != "-":
                raw.close()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{name} is a damaged or incomplete gzip file: {error}") from error
    except OSError as error:
        raise DataError(f"cannot read {name}: {error.strerror or error}.") from error


def _numbered_lines(path: str | Path) -> Iterator[tuple[int, str]]:
    with _open(path) as file:
        for number, raw in enumerate(file, start=1):
            try:
                line = raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                _fail(path, number, _explain_bytes(raw, error))
            if "\0" in line:
                _fail(path, number, "it has a NUL character; this is not UTF-8 text (UTF-16, or a binary file?).")
            yield number, line.removesuffix("\n").removesuffix("\r")


def _explain_bytes(raw: bytes, error: UnicodeDecodeError) -> str:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "this is UTF-16, not UTF-8. Convert it: iconv -f UTF-16 -t UTF-8."
    return (
        f"byte 0x{raw[error.start]:02x} at position {error.start + 1} is not UTF-8. "
        "If the file is Latin-1, convert it: iconv -f LATIN1 -t UTF-8."
    )


def _read_plain(config: CorpusConfig) -> Iterator[Pair]:
    sources, targets = _numbered_lines(config.source_path), _numbered_lines(config.target_path)
    for number, (source, target) in enumerate(zip_longest(sources, targets), start=1):
        if source is None or target is None:
            short, long = config.source_path, config.target_path
            if target is None:
                short, long = long, short
            total = number + sum(1 for _ in (targets if source is None else sources))
            raise DataError(
                f"{short} ends after line {number - 1}, but {long} has {total} lines. "
                "Line n of one must translate line n of the other."
            )
        yield Pair(source[1], target[1])


def _read_tsv(config: CorpusConfig) -> Iterator[Pair]:
    columns: list[int | str] = [config.source_column, config.target_column]
    lines = _numbered_lines(config.path)
    if any(isinstance(column, str) for column in columns):
        header = next(lines, (1, ""))[1].split("\t")
        for place, column in enumerate(columns):
            if isinstance(column, str):
                if column not in header:
                    _fail(config.path, 1, f"no column is named '{column}'.{did_you_mean(column, header)}")
                columns[place] = header.index(column)
    first, second = cast(list[int], columns)
    for number, line in lines:
        if not line:
            continue
        # No quoting: in running text a quotation mark is a quotation mark.
        cells = line.split("\t")
        if len(cells) <= max(first, second):
            _fail(
                config.path,
                number,
                f"it has {len(cells)} column{'s' * (len(cells) > 1)}, and column {max(first, second)} "
                "(counted from 0) is needed. Columns are separated by tabs.",
            )
        yield Pair(cells[first], cells[second])


def _read_jsonl(config: CorpusConfig) -> Iterator[Pair]:
    for number, line in _numbered_lines(config.path):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            problem = error.msg if isinstance(error, json.JSONDecodeError) else str(error)
            _fail(config.path, number, f"this is not JSON: {problem}. Each line must hold one whole JSON value.")
        yield Pair(
            _look_up(record, config.source_column, config.path, number),
            _look_up(record, config.target_column, config.path, number),
        )


def _look_up(record: Any, column: int | str, path: str, number: int) -> str:
    """Return the string that ``column`` names in one JSON value."""
    value = record
    # A key may itself hold a dot, and then means itself.
    whole = isinstance(column, int) or (isinstance(record, dict) and column in record)
    for part in [column] if whole else str(column).split("."):
        children: Any = value if isinstance(value, dict | list) else {}
        try:
            value = children[part]
        except (LookupError, TypeError):
            has = f" It has the keys {', '.join(map(repr, value))}." if isinstance(value, dict) else ""
            _fail(path, number, f"it has no {column!r}.{has} Set source_column and target_column.")
    if not isinstance(value, str):
        _fail(path, number, f"{column!r} is {json.dumps(value)[:60]}, and text is needed.")
    if re.search("[\0\ud800-\udfff]", value):
        _fail(path, number, f"{column!r} has a NUL character or half of a surrogate pair.")
    return value


def _read_tmx(config: CorpusConfig) -> Iterator[Pair]:
    reader = _TmxReader(config)
    with _open(config.path) as file:
        while chunk := file.read(1 << 16):
            yield from reader.feed(chunk)
        yield from reader.feed(b"", final=True)
    if not reader.found:
        languages = ", ".join(sorted(reader.languages)) or "none"
        raise DataError(
            f"{config.path} has no unit in both '{config.source}' and '{config.target}'. Its languages: {languages}."
        )


class _TmxReader:
    """TMX 1.4 on expat, one chunk at a time; holds no more than one translation unit.

    Expat and not ElementTree, because only expat tells of entity declarations, which are
    refused (expansion can fill the memory), and of the line. It never opens a DTD or any
    other file, so the DOCTYPE line that many tools write does no harm and is let pass.
    """

    # Their content is code of the original format, such as <b>, and no text of the sentence.
    _CODE = frozenset({"bpt", "ept", "ph", "it", "ut"})

    def __init__(self, config: CorpusConfig) -> None:
        self.found = False
        self.languages: set[str] = set()
        self._config = config
        self._depth = 0
        self._code_depth = 0
        self._language = ""
        self._segments: dict[str, str] = {}
        self._text: list[str] | None = None
        self._pairs: list[Pair] = []
        self._parser = expat.ParserCreate()
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.EntityDeclHandler = lambda name, *_: self._refuse(name)
        self._parser.SkippedEntityHandler = lambda name, *_: self._refuse(name)

    def feed(self, chunk: bytes, final: bool = False) -> list[Pair]:
        """Return the pairs that ``chunk`` completes."""
        try:
            self._parser.Parse(chunk, final)
        except expat.ExpatError as error:
            message = expat.errors.messages.get(error.code, str(error))
            _fail(self._config.path, error.lineno, f"this is not well-formed XML: {message}.")
        except (LookupError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            _fail(self._config.path, self._parser.CurrentLineNumber, f"its encoding is not supported: {error}.")
        pairs, self._pairs = self._pairs, []
        return pairs

    def _refuse(self, name: str) -> NoReturn:
        _fail(
            self._config.path,
            self._parser.CurrentLineNumber,
            f"it declares or uses the entity '{name}'; entities are refused, since expanding them can fill the memory.",
        )

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and name != "tmx":
            _fail(self._config.path, self._parser.CurrentLineNumber, f"this is not TMX: it begins with <{name}>.")
        self._depth += 1
        if self._text is not None:
            self._code_depth += name in self._CODE
        elif name == "tu":
            self._segments = {}
        elif name == "tuv":
            self._language = attributes.get("xml:lang") or attributes.get("lang", "")
        elif name == "seg":
            self._text = []

    def _end(self, name: str) -> None:
        self._depth -= 1
        if name == "seg" and self._text is not None:
            # Line breaks inside a segment come from pretty-printing.
            text = re.sub(r"\s*[\r\n]\s*", " ", "".join(self._text)).strip()
            self._segments.setdefault(self._language.replace("_", "-").lower(), text)
            self.languages.add(self._language)
            self._text = None
        elif self._text is not None:
            self._code_depth -= name in self._CODE
        elif name == "tu":
            source, target = self._segment(self._config.source), self._segment(self._config.target)
            if source is not None and target is not None:
                self.found = True
                self._pairs.append(Pair(source, target))

    def _characters(self, text: str) -> None:
        if self._text is not None and not self._code_depth:
            self._text.append(text)

    def _segment(self, language: str) -> str | None:
        """Return the text in ``language``: exactly, or else in the first of its variants (en: en-US)."""
        language = language.replace("_", "-").lower()
        if language in self._segments:
            return self._segments[language]
        return next((text for code, text in self._segments.items() if code.startswith(language + "-")), None)

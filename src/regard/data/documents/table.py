"""Comma-separated values: a segment a cell that holds words."""

import csv
import io
import re
from functools import partial

from regard.base.errors import DataError
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, has_words


def parse_csv(text: str) -> list[Hole]:
    """Holes of a table whose delimiter is a comma, a semicolon, a tab or a bar."""
    return _parse(text, _delimiter(text))


def parse_tsv(text: str) -> list[Hole]:
    """Holes of a table whose delimiter is a tab."""
    return _parse(text, "\t")


def _delimiter(text: str) -> str:
    """What divides the first rows most evenly."""

    def evenness(delimiter: str) -> tuple[int, int]:
        rows = [
            row for row, _ in zip(csv.reader(io.StringIO(text[:20_000]), delimiter=delimiter), range(20), strict=False)
        ]
        counts = [len(row) for row in rows if row][:-1] or [len(row) for row in rows]
        return (min(counts, default=1) > 1 and min(counts) == max(counts), min(counts, default=1))

    try:
        return max(",;\t|", key=evenness)
    except csv.Error as error:
        raise DataError(f"this is no table of comma-separated values: {error}.") from error


def _parse(text: str, delimiter: str) -> list[Hole]:
    cell = re.compile(
        rf'(?:"((?:[^"]|"")*+)"|(?!")([^{re.escape(delimiter)}\r\n]*))({re.escape(delimiter)}|\r\n|\r|\n|\Z)'
    )
    holes: list[Hole] = []
    heads: list[str] = []
    place, row, column = 0, 1, 0
    while place < len(text):
        match = cell.match(text, place)
        if match is None:
            line = text.count("\n", 0, place) + 1
            raise DataError(f"line {line}: text follows a closing quotation mark, or the mark is missing.")
        quoted, bare, end = match.groups()
        value = bare if quoted is None else quoted.replace('""', '"')
        if row == 1:
            heads.append(value)
        if has_words(value):
            head = f" ({heads[column]})" if row > 1 and column < len(heads) and heads[column] else ""
            escape = partial(_escape, delimiter=delimiter, quoted=quoted is not None)
            holes.append(
                Hole(
                    place, match.start(3), Marked(value), escape=escape, context=f"row {row}, column {column + 1}{head}"
                )
            )
        place, column = match.end(), column + 1
        if end != delimiter:
            row, column = row + 1, 0
    return holes


def _escape(text: str, delimiter: str, quoted: bool) -> str:
    if quoted or any(character in text for character in (delimiter, '"', "\r", "\n")):
        return '"' + text.replace('"', '""') + '"'
    return text

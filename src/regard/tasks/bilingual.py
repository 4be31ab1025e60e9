"""Source and translation side by side: a table to read, a memory (TMX) for other tools."""

import csv
import html
import io
from collections.abc import Iterable
from pathlib import PurePath

from regard import __version__
from regard.base.errors import DataError
from regard.data.documents.marked import Marked, Tag
from regard.data.documents.xml import escape
from regard.tasks.document import SegmentResult


def bilingual(results: Iterable[SegmentResult], source: str, target: str, kind: str) -> str:
    """Segments with their translations.

    Args:
        results: what to show.
        source: language of the sources.
        target: language of the translations.
        kind: ``csv``, ``html`` or ``tmx``.

    Raises:
        DataError: there is no such kind.
    """
    if kind == "csv":
        return _csv(results, source, target)
    if kind == "html":
        return _html(results, source, target)
    if kind == "tmx":
        return _tmx(results, source, target)
    raise DataError(f"'{kind}' cannot hold source and translation side by side; csv, html and tmx can.")


def kind_of(path: PurePath) -> str:
    """What the name of a file asks for.

    Raises:
        DataError: it ends in none of .csv, .html and .tmx.
    """
    kind = path.suffix.lower().removeprefix(".")
    if kind not in ("csv", "html", "tmx"):
        raise DataError(f"'{path.name}': source and translation side by side can be .csv, .html or .tmx.")
    return kind


def _csv(results: Iterable[SegmentResult], source: str, target: str) -> str:
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["segment", source, target, "origin", "score", "problems"])
    for r in results:
        problems = "; ".join(problem.detail for problem in r.problems)
        writer.writerow([r.id, r.source, r.target, r.origin, f"{r.score:.4f}", problems])
    return stream.getvalue()


def _html(results: Iterable[SegmentResult], source: str, target: str) -> str:
    languages = html.escape(source), html.escape(target)

    def row(r: SegmentResult) -> str:
        flag = " class=flagged" if r.problems else ""
        texts = html.escape(r.source.text), html.escape(r.target.text)
        cells = "".join(f'<td lang="{language}">{text}' for language, text in zip(languages, texts, strict=True))
        return f"<tr{flag}><td>{r.id}{cells}<td>{html.escape('; '.join(problem.detail for problem in r.problems))}"

    rows = "\n".join(map(row, results))
    return (
        f"<!doctype html>\n<meta charset=utf-8>\n<title>{languages[0]} – {languages[1]}</title>\n"
        "<style>table{border-collapse:collapse}td,th{border:1px solid #999;padding:.4em;vertical-align:top;"
        "text-align:left;white-space:pre-line}.flagged{background:#fff3c4;color:#000}</style>\n"
        f"<table>\n<tr><th><th>{languages[0]}<th>{languages[1]}<th>\n{rows}\n</table>\n"
    )


def _tmx(results: Iterable[SegmentResult], source: str, target: str) -> str:
    units = "\n".join(
        f'    <tu tuid="{r.id}">\n'
        f'      <tuv xml:lang="{escape(source)}"><seg>{_tagged(r.source)}</seg></tuv>\n'
        f'      <tuv xml:lang="{escape(target)}"><seg>{_tagged(r.target)}</seg></tuv>\n'
        "    </tu>"
        for r in results
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<tmx version="1.4">\n'
        f'  <header creationtool="Regard" creationtoolversion="{__version__}" segtype="paragraph" o-tmf="Regard" '
        f'adminlang="en" srclang="{escape(source)}" datatype="plaintext"/>\n  <body>\n{units}\n  </body>\n</tmx>\n'
    )


def _tagged(marked: Marked) -> str:
    def element(tag: Tag) -> str:
        name = {"open": "bpt", "close": "ept", "alone": "ph"}[tag.kind]
        return f'<{name} {"x" if name == "ph" else "i"}="{tag.name}"/>'

    return "".join(escape(piece) if isinstance(piece, str) else element(piece) for piece in marked.pieces())

"""/v1/glossaries: terms whose translation is settled, CSV and TBX."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, File, UploadFile
from pydantic import Field
from starlette.responses import Response, StreamingResponse

from regard.serve.api.common import Body, DirectedBody, Ours, Page, Reader, Writer, values_of
from regard.serve.exchange import read_terms, write_terms_csv, write_terms_tbx
from regard.serve.store import glossaries
from regard.serve.store.tables import Glossary, Term

router = APIRouter(prefix="/v1/glossaries", tags=["glossaries"])

#: Characters of a term or of a form of it.
_LONGEST = 500
_MOST_VARIANTS = 50

Words = Annotated[str, Field(min_length=1, max_length=_LONGEST, pattern=r"\S")]


class TermBody(Body):
    """A term and its translation."""

    source: Words = Field(examples=["bread"])
    target: Words = Field(examples=["Brot"])
    variants: list[Words] = Field([], max_length=_MOST_VARIANTS)
    case_sensitive: bool = False
    note: str = Field("", max_length=2000)


class GlossaryBody(DirectedBody):
    """A new glossary."""

    name: str = Field(min_length=1, max_length=200, examples=["Bakery"])
    terms: list[TermBody] = Field([], max_length=5000)


class GlossaryChange(Body):
    """What to change."""

    name: str | None = Field(None, min_length=1, max_length=200)
    active: bool | None = None


@router.get("")
def listed(server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """All glossaries."""
    with server.database.read() as session:
        found = glossaries.listed(session, caller.owner)
    return page.of([_values(glossary, size) for glossary, size in found])


@router.post("", status_code=201)
def create(body: GlossaryBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """A new glossary, with terms or without."""
    source, target = body.direction(server)
    with server.database.write() as session:
        glossary = glossaries.create(session, caller.owner, body.name, source, target)
        glossaries.put_terms(session, glossary, [term.model_dump() for term in body.terms])
        session.refresh(glossary)
        return _values(glossary, len(glossary.terms)) | {"terms": [_term_values(t) for t in glossary.terms]}


@router.get("/{glossary}")
def one(glossary: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """A glossary with its terms."""
    with server.database.read() as session:
        found = glossaries.get(session, caller.owner, glossary)
        return _values(found, len(found.terms)) | {"terms": [_term_values(t) for t in found.terms]}


@router.patch("/{glossary}")
def change(glossary: str, body: GlossaryChange, server: Ours, caller: Writer) -> dict[str, Any]:
    """Give it another name, or switch it on or off."""
    with server.database.write() as session:
        found = glossaries.get(session, caller.owner, glossary)
        found.name = body.name or found.name
        found.active = found.active if body.active is None else body.active
        return _values(found, len(found.terms))


@router.delete("/{glossary}", status_code=204)
def remove(glossary: str, server: Ours, caller: Writer) -> None:
    """Delete a glossary."""
    with server.database.write() as session:
        session.delete(glossaries.get(session, caller.owner, glossary))


@router.post("/{glossary}/terms", status_code=201)
def put_term(glossary: str, body: TermBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Add a term, or replace the one with the same source."""
    with server.database.write() as session:
        found = glossaries.get(session, caller.owner, glossary)
        return _term_values(glossaries.put_term(session, found, **body.model_dump()))


@router.delete("/{glossary}/terms/{term}", status_code=204)
def remove_term(glossary: str, term: str, server: Ours, caller: Writer) -> None:
    """Take a term out."""
    with server.database.write() as session:
        glossaries.remove_term(session, glossaries.get(session, caller.owner, glossary), term)


@router.post("/{glossary}/import")
def import_terms(glossary: str, file: Annotated[UploadFile, File()], server: Ours, caller: Writer) -> dict[str, int]:
    """Add the terms of a CSV or TBX file."""
    data = file.file.read()
    with server.database.write() as session:
        found = glossaries.get(session, caller.owner, glossary)
        every = read_terms(data, found.source, found.target)
        good = [term for term in every if _fits(**term)]
        added, replaced = glossaries.put_terms(session, found, good)
    return {"added": added, "replaced": replaced, "skipped": len(every) - len(good)}


@router.get("/{glossary}/export")
def export(glossary: str, server: Ours, caller: Reader, format: Literal["csv", "tbx"] = "csv") -> Response:
    """The terms as a file."""
    with server.database.read() as session:
        found = glossaries.get(session, caller.owner, glossary)
        terms = list(found.terms)
    headers = {"content-disposition": f'attachment; filename="glossary.{format}"'}
    if format == "csv":
        return Response(write_terms_csv(terms), media_type="text/csv; charset=utf-8", headers=headers)
    pieces = write_terms_tbx(terms, found.source, found.target)
    return StreamingResponse(pieces, media_type="application/x-tbx+xml", headers=headers)


def _fits(source: str, target: str, variants: Sequence[str] = (), **_: Any) -> bool:
    return max(map(len, (source, target, *variants))) <= _LONGEST and len(variants) <= _MOST_VARIANTS


def _values(glossary: Glossary, size: int) -> dict[str, Any]:
    return values_of(glossary, "id name source target active created") | {"size": size}


def _term_values(term: Term) -> dict[str, Any]:
    return values_of(term, "id source target variants case_sensitive note")

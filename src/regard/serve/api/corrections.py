"""/v1/corrections: what people made of translations; those that teach something are in the memory at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field
from sqlalchemy.orm import Session

from regard.serve.api.common import Body, Ours, Page, Reader, Writer
from regard.serve.filtering import reasons_against
from regard.serve.server import Server
from regard.serve.store import corrections
from regard.serve.store.tables import Correction

router = APIRouter(prefix="/v1/corrections", tags=["corrections"])


class CorrectionBody(Body):
    """A source, what the machine made of it, and what it should be."""

    source: str = Field(max_length=20, examples=["en"])
    target: str = Field(max_length=20, examples=["de"])
    source_text: str = Field(min_length=1, max_length=5000, examples=["Try it!"])
    machine_text: str = Field("", max_length=5000, examples=["Versuchen Sie es!"])
    text: str = Field(max_length=5000, examples=["Probier es!"])


@router.post("", status_code=201)
def add(body: CorrectionBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Correct a translation; unless the filter holds it back, the next like sentence is translated so."""
    server.check_size([body.source_text, body.machine_text, body.text])
    source, target = server.directions.check(body.source, body.target)
    with server.database.write() as session:
        found = correct(server, session, caller.owner, source, target, body.source_text, body.machine_text, body.text)
        return values(found)


@router.get("")
def listed(
    server: Ours,
    caller: Reader,
    page: Annotated[Page, Depends()],
    source: Annotated[str | None, Query(max_length=20)] = None,
    target: Annotated[str | None, Query(max_length=20)] = None,
    accepted: bool | None = None,
) -> dict[str, Any]:
    """Corrections, newest first."""
    with server.database.read() as session:
        found, total = corrections.listed(session, caller.owner, source, target, accepted, page.offset, page.limit)
    return page.of([values(correction) for correction in found], total)


@router.post("/{correction}/accept")
def accept(correction: str, server: Ours, caller: Writer) -> dict[str, Any]:
    """Take one that the filter held back."""
    with server.database.write() as session:
        found = corrections.get(session, caller.owner, correction)
        corrections.accept(session, found)
        return values(found)


@router.delete("/{correction}", status_code=204)
def remove(correction: str, server: Ours, caller: Writer) -> None:
    """Take a correction back."""
    with server.database.write() as session:
        corrections.remove(session, caller.owner, correction)


def correct(
    server: Server,
    session: Session,
    owner: str,
    source: str,
    target: str,
    source_text: str,
    machine_text: str,
    text: str,
) -> Correction:
    """Keep a correction, and use it unless something speaks against it."""
    reasons = reasons_against(source_text, text, target, server.directions.codes)
    return corrections.add(session, owner, source, target, source_text, machine_text, text, reasons)


def values(correction: Correction) -> dict[str, Any]:
    """What JSON says of a correction."""
    return {
        "id": correction.id,
        "source": correction.source,
        "target": correction.target,
        "source_text": correction.source_text,
        "machine_text": correction.machine_text,
        "text": correction.text,
        "accepted": correction.accepted,
        "reasons": correction.reasons,
        "memory": correction.memory,
        "created": correction.created,
    }

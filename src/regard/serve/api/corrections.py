"""/v1/corrections: what people made of translations; those that teach something are in the memory at once."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import Field

from regard.serve.api.common import DirectedBody, Narrowed, Ours, Page, Reader, Writer, values_of
from regard.serve.correcting import Corrected, reasons_against
from regard.serve.store import corrections
from regard.serve.store.tables import Correction

router = APIRouter(prefix="/v1/corrections", tags=["corrections"])


class CorrectionBody(DirectedBody):
    """A source, what the machine made of it, and what it should be."""

    source_text: str = Field(min_length=1, max_length=5000, examples=["Try it!"])
    machine_text: str = Field("", max_length=5000, examples=["Versuchen Sie es!"])
    text: str = Field(max_length=5000, examples=["Probier es!"])


@router.post("", status_code=201)
def add(body: CorrectionBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Correct a translation; unless the filter holds it back, the next like sentence is translated so."""
    server.check_size([body.source_text, body.machine_text, body.text])
    made = Corrected(*body.direction(server), body.source_text, body.machine_text, body.text)
    reasons = reasons_against(server, made)
    with server.database.write() as session:
        return values(corrections.add(session, caller.owner, **vars(made), reasons=reasons))


@router.get("")
def listed(
    server: Ours,
    caller: Reader,
    page: Annotated[Page, Depends()],
    pair: Annotated[Narrowed, Depends()],
    accepted: bool | None = None,
) -> dict[str, Any]:
    """Corrections, newest first."""
    with server.database.read() as session:
        found, total = corrections.listed(
            session, caller.owner, pair.source, pair.target, accepted, page.offset, page.limit
        )
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


def values(correction: Correction) -> dict[str, Any]:
    """What JSON says of a correction."""
    return values_of(correction, "id source target source_text machine_text text accepted reasons memory created")

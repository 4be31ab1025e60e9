"""/v1/memory: looking up, entries, TMX."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Query, UploadFile
from pydantic import Field
from starlette.responses import StreamingResponse

from regard import __version__
from regard.serve.api.common import DirectedBody, Narrowed, Ours, Page, Reader, Writer, values_of
from regard.serve.exchange import read_tmx, write_tmx
from regard.serve.store import memory
from regard.serve.store.tables import MemoryEntry

router = APIRouter(prefix="/v1/memory", tags=["memory"])

_EXPORT_PAGE = 500
#: Units that are taken in together; in between others may write.
_IMPORT_PAGE = 1000


class SearchBody(DirectedBody):
    """A text to look for."""

    text: str = Field(max_length=5000, examples=["The bread is still warm."])
    minimum: int = Field(60, ge=1, le=100)
    limit: int = Field(5, ge=1, le=50)


class EntryBody(DirectedBody):
    """A translation to remember."""

    source_text: str = Field(min_length=1, max_length=5000, examples=["The bread is still warm."])
    target_text: str = Field(min_length=1, max_length=5000, examples=["Das Brot ist noch warm."])


@router.post("/search")
def search(body: SearchBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """Entries that are like a text, with what is different."""
    server.check_size([body.text])
    source, target = body.direction(server)
    with server.database.read() as session:
        found = memory.search(session, caller.owner, source, target, body.text, minimum=body.minimum, limit=body.limit)
    wanted = memory.normal(body.text)
    return {
        "matches": [
            entry_values(m.entry)
            | {"match": m.match, "difference": memory.difference(memory.normal(m.entry.source_text), wanted)}
            for m in found
        ]
    }


@router.get("/entries")
def entries(
    server: Ours,
    caller: Reader,
    page: Annotated[Page, Depends()],
    pair: Annotated[Narrowed, Depends()],
    q: Annotated[str, Query(max_length=200)] = "",
) -> dict[str, Any]:
    """What is remembered, newest first."""
    with server.database.read() as session:
        found, total = memory.listed(session, caller.owner, pair.source, pair.target, q, page.offset, page.limit)
    return page.of([entry_values(entry) for entry in found], total)


@router.post("/entries", status_code=201)
def add(body: EntryBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Remember a translation."""
    server.check_size([body.source_text, body.target_text])
    source, target = body.direction(server)
    with server.database.write() as session:
        entry, _ = memory.put(session, caller.owner, source, target, body.source_text, body.target_text, "person")
    return entry_values(entry)


@router.delete("/entries/{entry}", status_code=204)
def remove(entry: str, server: Ours, caller: Writer) -> None:
    """Forget a translation."""
    with server.database.write() as session:
        memory.remove(session, caller.owner, entry)


@router.post("/import")
def import_tmx(file: Annotated[UploadFile, File()], server: Ours, caller: Writer) -> dict[str, int]:
    """Remember what a TMX file holds, as far as the model has the direction."""
    counts = {"added": 0, "replaced": 0, "skipped": 0}
    good = []
    for unit in read_tmx(file.file.read()):
        known = server.directions.knows(unit.source, unit.target)
        if known and max(len(unit.source_text), len(unit.target_text)) <= 5000:
            good.append(unit)
        else:
            counts["skipped"] += 1
    for start in range(0, len(good), _IMPORT_PAGE):
        with server.database.write() as session:
            for unit in good[start : start + _IMPORT_PAGE]:
                _, new = memory.put(session, caller.owner, **vars(unit), origin="import")
                counts["added" if new else "replaced"] += 1
    return counts


@router.get("/export")
def export_tmx(server: Ours, caller: Reader, pair: Annotated[Narrowed, Depends()]) -> StreamingResponse:
    """All that is remembered, as TMX 1.4."""

    def every():
        # From entry to entry and not by how many went before: others may add and delete meanwhile.
        last: int | None = None
        while True:
            with server.database.read() as session:
                found = memory.before(session, caller.owner, pair.source, pair.target, last, _EXPORT_PAGE)
            yield from found
            if len(found) < _EXPORT_PAGE:
                return
            last = found[-1].number

    headers = {"content-disposition": 'attachment; filename="memory.tmx"'}
    return StreamingResponse(write_tmx(every(), __version__), media_type="application/x-tmx+xml", headers=headers)


def entry_values(entry: MemoryEntry) -> dict[str, Any]:
    """What JSON says of an entry."""
    return values_of(entry, "id source target source_text target_text origin created updated uses")

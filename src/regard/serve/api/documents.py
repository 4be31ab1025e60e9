"""/v1/documents: files in, translated files out."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, UploadFile
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, Response

from regard.serve.api.common import Ours, Page, Reader, Writer
from regard.serve.background import bilingual
from regard.serve.errors import ServeError, invalid
from regard.serve.store import documents
from regard.serve.store.tables import Document

router = APIRouter(prefix="/v1/documents", tags=["documents"])


@router.post("", status_code=202)
def upload(
    file: Annotated[UploadFile, File()],
    source: Annotated[str, Form(max_length=20)],
    target: Annotated[str, Form(max_length=20)],
    server: Ours,
    caller: Writer,
) -> dict[str, Any]:
    """Have a file translated in the background."""
    if not file.filename:
        raise invalid("the file has no name, so its format is not known.")
    document = server.background.add_document(caller, file.filename, file.file.read(), source, target)
    return one(document, server, caller)


@router.get("")
def listed(server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """All documents, newest first."""
    with server.database.read() as session:
        found = documents.listed(session, caller.owner)
        shown = [_values(session, document) for document in found[page.offset : page.offset + page.limit]]
    return page.of(shown, len(found))


@router.get("/{document}")
def one(document: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """How far a document is."""
    with server.database.read() as session:
        return _values(session, documents.get(session, caller.owner, document))


@router.get("/{document}/result")
def result(document: str, server: Ours, caller: Reader) -> FileResponse:
    """The translated file."""
    return server.background.result(caller.owner, document)


@router.get("/{document}/bilingual")
def side_by_side(document: str, server: Ours, caller: Reader) -> Response:
    """Source and translation of every segment, as CSV."""
    with server.database.read() as session:
        found = documents.get(session, caller.owner, document)
        rows = [(part.source_text, part.text or "") for part in documents.parts(session, found.id)]
    headers = {"content-disposition": 'attachment; filename="bilingual.csv"'}
    return Response(bilingual(rows), media_type="text/csv; charset=utf-8", headers=headers)


@router.post("/{document}/cancel")
def cancel(document: str, server: Ours, caller: Writer) -> dict[str, Any]:
    """Stop; what is translated stays."""
    return _set_state(server, caller, document, "cancelled", documents.UNFINISHED)


@router.post("/{document}/resume")
def resume(document: str, server: Ours, caller: Writer) -> dict[str, Any]:
    """Go on with what was cancelled or failed."""
    return _set_state(server, caller, document, "queued", ("cancelled", "failed"))


@router.delete("/{document}", status_code=204)
def remove(document: str, server: Ours, caller: Writer) -> None:
    """Forget a document and its files."""
    server.background.delete(caller.owner, document)


def _set_state(server: Ours, caller: Writer, document: str, state: str, only: tuple[str, ...]) -> dict[str, Any]:
    with server.database.write() as session:
        found = documents.get(session, caller.owner, document)
        if found.state not in only:
            raise ServeError(409, "not_ready", f"the document is {found.state}.")
        documents.set_state(session, found.id, state, only=only)
        session.refresh(found)
        values = _values(session, found)
    server.background.wake()
    return values


def _values(session: Session, document: Document) -> dict[str, Any]:
    total, translated = documents.counts(session, document.id)
    return {
        "id": document.id,
        "name": document.name,
        "format": document.format,
        "source": document.source,
        "target": document.target,
        "state": document.state,
        "segments": {"total": total, "translated": translated},
        "unchanged": [
            {"position": part.position, "text": part.source_text} for part in documents.unchanged(session, document.id)
        ],
        "bytes": document.size,
        "created": document.created,
        "expires": document.expires,
        "error": document.error,
    }

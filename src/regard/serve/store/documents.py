"""Documents on their way: which segments are done survives a restart."""

from datetime import timedelta
from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from regard.serve.errors import not_found
from regard.serve.store.tables import Document, DocumentPart, now

UNFINISHED = ("queued", "running")


def create(
    session: Session,
    owner: str,
    name: str,
    format: str,
    source: str,
    target: str,
    size: int,
    parts: list[str],
    days: int,
    identity: str,
) -> Document:
    """A document whose bytes lie under ``identity`` already, with the texts of its segments."""
    document = Document(
        id=identity,
        owner=owner,
        name=name,
        format=format,
        source=source,
        target=target,
        size=size,
        state="queued",
        expires=now() + timedelta(days=days),
    )
    session.add(document)
    session.flush()
    for position, text in enumerate(parts):
        session.add(DocumentPart(document_id=document.id, position=position, source_text=text))
    session.flush()
    return document


def get(session: Session, owner: str, document: str) -> Document:
    """One document.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Document).filter_by(owner=owner, id=document))
    if found is None:
        raise not_found("document")
    return found


def listed(session: Session, owner: str) -> list[Document]:
    """All documents of an owner, newest first."""
    return list(session.scalars(select(Document).filter_by(owner=owner).order_by(Document.created.desc(), Document.id)))


def unfinished(session: Session) -> list[str]:
    """Ids of documents that wait or run, oldest first."""
    return list(session.scalars(select(Document.id).where(Document.state.in_(UNFINISHED)).order_by(Document.created)))


def expired(session: Session) -> list[Document]:
    """Documents whose time is over."""
    return list(session.scalars(select(Document).where(Document.expires < now())))


def counts(session: Session, document: str) -> tuple[int, int]:
    """Segments, and those that are translated."""
    row = session.execute(
        select(func.count(), func.count(DocumentPart.text)).where(DocumentPart.document_id == document)
    ).one()
    return row[0], row[1]


def unchanged(session: Session, document: str, limit: int = 200) -> list[DocumentPart]:
    """Segments whose translation is their source."""
    query = (
        select(DocumentPart)
        .where(DocumentPart.document_id == document, DocumentPart.text == DocumentPart.source_text)
        .order_by(DocumentPart.position)
        .limit(limit)
    )
    return list(session.scalars(query))


def waiting_parts(session: Session, document: str, limit: int) -> list[DocumentPart]:
    """The next segments to translate."""
    query = (
        select(DocumentPart)
        .where(DocumentPart.document_id == document, DocumentPart.text.is_(None))
        .order_by(DocumentPart.position)
        .limit(limit)
    )
    return list(session.scalars(query))


def set_text(session: Session, part: DocumentPart, text: str, checks: list[Any]) -> None:
    """Enter the translation of a segment, if it is still there."""
    change = update(DocumentPart).where(DocumentPart.number == part.number)
    session.execute(change.values(text=text, checks=checks))


def parts(session: Session, document: str) -> list[DocumentPart]:
    """All segments, in order."""
    return list(session.scalars(select(DocumentPart).filter_by(document_id=document).order_by(DocumentPart.position)))


def set_state(
    session: Session, document: str, state: str, error: str | None = None, *, only: tuple[str, ...] = ()
) -> None:
    """Enter how far a document is, where it is in one of the states ``only``."""
    change = update(Document).where(Document.id == document)
    if only:
        change = change.where(Document.state.in_(only))
    session.execute(change.values(state=state, error=error))

"""Corrections: what people made of translations, and the memory entries that come of them."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from regard.serve.errors import not_found
from regard.serve.store import memory
from regard.serve.store.tables import Correction, MemoryEntry


def add(
    session: Session,
    owner: str,
    source: str,
    target: str,
    source_text: str,
    machine_text: str,
    text: str,
    reasons: list[str],
) -> Correction:
    """Keep a correction; where there is no reason against it, remember it at once."""
    correction = Correction(
        owner=owner,
        source=source,
        target=target,
        source_text=source_text,
        machine_text=machine_text,
        text=text,
        accepted=False,
        reasons=reasons,
    )
    session.add(correction)
    session.flush()
    if not reasons:
        accept(session, correction)
    return correction


def accept(session: Session, correction: Correction) -> None:
    """Take a correction: it enters the memory."""
    entry, _ = memory.put(
        session,
        correction.owner,
        correction.source,
        correction.target,
        correction.source_text,
        correction.text,
        "correction",
    )
    correction.accepted, correction.memory = True, entry.id
    session.flush()


def get(session: Session, owner: str, correction: str) -> Correction:
    """One correction.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Correction).filter_by(owner=owner, id=correction))
    if found is None:
        raise not_found("correction")
    return found


def remove(session: Session, owner: str, correction: str) -> None:
    """Take a correction back, and its memory entry where nothing newer stands there."""
    found = get(session, owner, correction)
    entry = session.scalar(select(MemoryEntry).filter_by(owner=owner, id=found.memory)) if found.memory else None
    if entry is not None and entry.target_text == found.text:
        session.delete(entry)
    session.delete(found)


def listed(
    session: Session,
    owner: str,
    source: str | None = None,
    target: str | None = None,
    accepted: bool | None = None,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[list[Correction], int]:
    """Corrections, newest first, and how many there are."""
    conditions = [Correction.owner == owner]
    if source:
        conditions.append(Correction.source == source)
    if target:
        conditions.append(Correction.target == target)
    if accepted is not None:
        conditions.append(Correction.accepted == accepted)
    total = session.scalar(select(func.count()).select_from(Correction).where(*conditions)) or 0
    query = select(Correction).where(*conditions).order_by(Correction.created.desc(), Correction.id)
    return list(session.scalars(query.offset(offset).limit(limit))), total

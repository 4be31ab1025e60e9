"""Runs: attempts to learn from corrections."""

from typing import Any

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from regard.serve.errors import not_found
from regard.serve.store.tables import Run

UNFINISHED = ("queued", "running")


def get(session: Session, owner: str, run: str) -> Run:
    """One run.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Run).filter_by(owner=owner, id=run))
    if found is None:
        raise not_found("run")
    return found


def listed(
    session: Session, owner: str, source: str | None, target: str | None, offset: int = 0, limit: int | None = None
) -> tuple[list[Run], int]:
    """Runs of an owner, newest first, and how many there are."""
    wanted = {"owner": owner, "source": source, "target": target}
    wanted = {name: value for name, value in wanted.items() if value}
    total = session.scalar(select(func.count()).select_from(Run).filter_by(**wanted)) or 0
    newest = select(Run).filter_by(**wanted).order_by(Run.created.desc(), Run.id)
    return list(session.scalars(newest.offset(offset).limit(limit))), total


def is_unfinished(session: Session, owner: str, source: str, target: str) -> bool:
    """Whether a run of this direction waits or runs."""
    query = select(Run.id).filter_by(owner=owner, source=source, target=target).where(Run.state.in_(UNFINISHED))
    return session.scalar(query.limit(1)) is not None


def next_one(session: Session) -> Run | None:
    """The oldest run that is not finished."""
    return session.scalar(select(Run).where(Run.state.in_(UNFINISHED)).order_by(Run.created).limit(1))


def enter(session: Session, run: str, **values: Any) -> None:
    """Note how far a run is."""
    session.execute(update(Run).where(Run.id == run).values(**values))

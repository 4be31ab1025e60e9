"""Adapters: which were learnt, which is used, and the way back."""

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from regard.serve.errors import not_found
from regard.serve.store.tables import Adapter, now

_ACTIVE = select(Adapter).where(
    Adapter.owner == bindparam("owner"),
    Adapter.source == bindparam("source"),
    Adapter.target == bindparam("target"),
    Adapter.active.is_(True),
)


def get(session: Session, owner: str, adapter: str) -> Adapter:
    """One adapter.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Adapter).filter_by(owner=owner, id=adapter))
    if found is None:
        raise not_found("adapter")
    return found


def active(session: Session, owner: str, source: str, target: str) -> Adapter | None:
    """The adapter that this owner's translations use."""
    return session.scalar(_ACTIVE, {"owner": owner, "source": source, "target": target})


def chosen(session: Session, owner: str, source: str, target: str, wish: str) -> str | None:
    """Id of the adapter that ``wish`` means: active, none or an id.

    Raises:
        ServeError: 404, this owner has none of this id for this direction.
    """
    if wish == "none":
        return None
    if wish == "active":
        found = active(session, owner, source, target)
        return found.id if found else None
    found = get(session, owner, wish)
    if (found.source, found.target) != (source, target):
        raise not_found("adapter")
    return found.id


def listed(session: Session, owner: str, source: str | None = None, target: str | None = None) -> list[Adapter]:
    """Adapters of an owner, newest first."""
    query = select(Adapter).filter_by(owner=owner).order_by(Adapter.created.desc(), Adapter.id)
    if source:
        query = query.filter_by(source=source)
    if target:
        query = query.filter_by(target=target)
    return list(session.scalars(query))


def activate(session: Session, adapter: Adapter) -> None:
    """Use this adapter from now on, and no other of its direction."""
    deactivate(session, adapter.owner, adapter.source, adapter.target)
    adapter.active, adapter.activated = True, now()
    session.flush()


def deactivate(session: Session, owner: str, source: str, target: str) -> None:
    """Use the model as it is."""
    current = active(session, owner, source, target)
    if current is not None:
        current.active = False
        session.flush()


def roll_back(session: Session, owner: str, source: str, target: str) -> Adapter | None:
    """Go back to what was used before the present adapter; without one to the model as it is."""
    current = active(session, owner, source, target)
    if current is None:
        return None
    before = session.scalar(
        select(Adapter)
        .filter_by(owner=owner, source=source, target=target)
        .where(Adapter.id != current.id, Adapter.activated.is_not(None), Adapter.activated < current.activated)
        .order_by(Adapter.activated.desc())
    )
    current.active = False
    # What was rolled back is not what a second step back would return to.
    current.activated = None
    if before is not None:
        before.active = True
    session.flush()
    return before

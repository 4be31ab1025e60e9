"""Projects: segments that people go through, with versions, so that nobody overwrites anybody unseen."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rapidfuzz.distance import Levenshtein
from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session, object_session

from regard.serve.checks import check_written
from regard.serve.errors import ServeError, not_found
from regard.serve.store.tables import Comment, Project, Segment, SegmentVersion, Term, now
from regard.serve.terms import wanted_in

STATUSES = ("empty", "machine", "draft", "confirmed")
#: Terms, each with the id of its glossary.
Terms = Iterable[tuple[Term, str]]


@dataclass(frozen=True)
class Change:
    """What somebody makes of a segment; None leaves as it is."""

    text: str | None = None
    status: str | None = None
    seconds: float = 0.0


def get(session: Session, owner: str, project: str) -> Project:
    """One project.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Project).filter_by(owner=owner, id=project))
    if found is None:
        raise not_found("project")
    return found


def create(
    session: Session,
    owner: str,
    name: str,
    source: str,
    target: str,
    segments: list[tuple[str, str]],
    *,
    format: str = "txt",
    document: str | None = None,
) -> Project:
    """A project of segments, each a text and what separates it from the next."""
    project = Project(owner=owner, name=name, source=source, target=target, format=format, document=document)
    session.add(project)
    session.flush()
    for position, (text, separator) in enumerate(segments):
        session.add(Segment(project_id=project.id, position=position, source_text=text, separator=separator))
    session.flush()
    return project


def listed(session: Session, owner: str) -> list[Project]:
    """All projects of an owner, newest first."""
    return list(session.scalars(select(Project).filter_by(owner=owner).order_by(Project.created.desc(), Project.id)))


def counts(session: Session, project: str) -> dict[str, Any]:
    """How many segments are how far, and the time spent on them."""
    rows = session.execute(
        select(Segment.status, Segment.origin, func.count(), func.sum(Segment.edit_seconds))
        .where(Segment.project_id == project)
        .group_by(Segment.status, Segment.origin)
    )
    found: dict[str, Any] = {"total": 0, **dict.fromkeys(STATUSES, 0), "memory": 0}
    seconds = 0.0
    for status, origin, count, spent in rows:
        found["total"] += count
        found["memory" if status == "machine" and origin == "memory" else status] += count
        seconds += spent or 0.0
    return {"segments": found, "edit_seconds": round(seconds, 1)}


def get_segment(session: Session, owner: str, segment: str, *, lock: bool = False) -> Segment:
    """One segment.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    query = select(Segment).join(Project).where(Segment.id == segment, Project.owner == owner)
    found = session.scalar(query.with_for_update(of=Segment) if lock else query)
    if found is None:
        raise not_found("segment")
    return found


def segments(
    session: Session,
    project: str,
    *,
    status: str | None = None,
    origin: str | None = None,
    query: str = "",
    by_confidence: bool = False,
    offset: int = 0,
    limit: int | None = None,
) -> tuple[list[Segment], int]:
    """Segments of a project, in order or the least sure first; and how many there are."""
    conditions = [Segment.project_id == project]
    if status:
        conditions.append(Segment.status == status)
    if origin:
        conditions.append(Segment.origin == origin)
    if query:
        conditions.append(
            Segment.source_text.icontains(query, autoescape=True) | Segment.text.icontains(query, autoescape=True)
        )
    total = session.scalar(select(func.count()).select_from(Segment).where(*conditions)) or 0
    order = [Segment.confidence.asc().nulls_last()] if by_confidence else []
    found = session.scalars(
        select(Segment).where(*conditions).order_by(*order, Segment.position).offset(offset).limit(limit)
    )
    return list(found), total


def comment_counts(session: Session, ids: list[str]) -> dict[str, int]:
    """How many comments each of these segments has."""
    rows = session.execute(
        select(Comment.segment_id, func.count()).where(Comment.segment_id.in_(ids)).group_by(Comment.segment_id)
    )
    return {row[0]: row[1] for row in rows}


def comments(session: Session, segment: str) -> list[Comment]:
    """What was said about a segment, oldest first."""
    return list(session.scalars(select(Comment).filter_by(segment_id=segment).order_by(Comment.created, Comment.id)))


def history(session: Session, segment: str) -> list[SegmentVersion]:
    """Texts that a segment had, oldest first."""
    return list(session.scalars(select(SegmentVersion).filter_by(segment_id=segment).order_by(SegmentVersion.place)))


def set_machine(session: Session, identity: str, text: str, **about: Any) -> None:
    """Enter a machine translation or a memory match, unless a person was faster or the segment is gone."""
    segment = session.get(Segment, identity, with_for_update=True)
    if segment is None or segment.status not in ("empty", "machine"):
        return
    segment.machine_text = segment.text = text
    segment.origin, segment.match = about["origin"], about.get("match")
    segment.confidence, segment.checks = about["confidence"], about["checks"]
    segment.status = "machine"
    _remember(session, segment, "engine")


def change(session: Session, segment: Segment, version: int, wish: Change, author: str, terms: Terms = ()) -> None:
    """Save what somebody made of a segment that they read at ``version``; ``terms`` of glossaries are looked for in it.

    Raises:
        ServeError: 400 for an unknown status; :class:`Conflict` where it was changed in the meantime.
    """
    if wish.status is not None and wish.status not in ("draft", "confirmed"):
        raise ServeError(400, "invalid", "status can be set to draft or confirmed.")
    check_version(segment, version, {"text": wish.text, "status": wish.status})
    segment.edit_seconds += max(0.0, min(wish.seconds, 3600.0))
    changed = wish.text is not None and wish.text != segment.text
    status = wish.status or ("draft" if changed else segment.status)
    if changed:
        segment.text, segment.origin = str(wish.text), "human"
        _check(segment, terms)
    if changed or status != segment.status:
        segment.status = status
        _remember(session, segment, author)
    session.flush()


def step(session: Session, segment: Segment, version: int, direction: int, terms: Terms = ()) -> None:
    """Go one step back (-1) or forth (1) in a segment's history; ``terms`` of glossaries are looked for in it.

    Raises:
        ServeError: 409, there is no such step, or it was changed in the meantime.
    """
    check_version(segment, version, {})
    found = session.scalar(select(SegmentVersion).filter_by(segment_id=segment.id, place=segment.current + direction))
    if found is None:
        raise ServeError(409, "nothing_there", f"there is nothing to {'undo' if direction < 0 else 'redo'}.")
    segment.text, segment.status, segment.origin = found.text, found.status, found.origin
    _check(segment, terms)
    segment.current = found.place
    segment.version += 1
    session.flush()


def check_version(segment: Segment, version: int, mine: dict[str, Any]) -> None:
    """Insist that a segment is as it was read.

    Raises:
        ServeError: 409 with what is wanted and what is there.
    """
    if segment.version != version:
        if session := object_session(segment):
            session.expunge(segment)  # the answer shows it, after the transaction has been rolled back
        raise Conflict(mine, segment)


def _check(segment: Segment, terms: Terms) -> None:
    wanted = wanted_in(segment.source_text, terms)
    segment.checks = [vars(found) for found in check_written(segment.source_text, segment.text, wanted)]


class Conflict(ServeError):
    """Somebody else was faster; the answer shows both."""

    def __init__(self, mine: dict[str, Any], theirs: Segment):
        super().__init__(409, "conflict", "somebody else has changed this segment in the meantime; nothing was saved.")
        self.mine, self.theirs = mine, theirs


def edit_distance(segment: Segment) -> int:
    """Characters to change from the machine's text to the present one."""
    return Levenshtein.distance(segment.machine_text, segment.text)


def translating(session: Session) -> list[str]:
    """Ids of the projects that wait for machine translation, the oldest first."""
    return list(session.scalars(select(Project.id).filter_by(state="translating").order_by(Project.created)))


def set_state(session: Session, project: str, state: str, error: str | None = None) -> None:
    """Enter how far a project is."""
    session.execute(update(Project).where(Project.id == project).values(state=state, error=error))


def _remember(session: Session, segment: Segment, author: str) -> None:
    """A new version; what was undone before is gone."""
    session.execute(
        delete(SegmentVersion).where(SegmentVersion.segment_id == segment.id, SegmentVersion.place > segment.current)
    )
    segment.version += 1
    segment.current += 1
    segment.newest = segment.current
    segment.updated = now()
    session.add(
        SegmentVersion(
            segment_id=segment.id,
            place=segment.current,
            version=segment.version,
            text=segment.text,
            status=segment.status,
            origin=segment.origin,
            author=author,
        )
    )

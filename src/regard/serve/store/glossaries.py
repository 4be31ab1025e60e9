"""Glossaries: terms whose translation is settled."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from regard.serve.errors import ServeError, not_found
from regard.serve.store.tables import Glossary, Term

#: Terms of one glossary.
MOST_TERMS = 20_000


def get(session: Session, owner: str, glossary: str) -> Glossary:
    """One glossary.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Glossary).filter_by(owner=owner, id=glossary))
    if found is None:
        raise not_found("glossary")
    return found


def listed(session: Session, owner: str) -> list[tuple[Glossary, int]]:
    """All glossaries of an owner with their sizes, newest first."""
    size = select(func.count()).where(Term.glossary_id == Glossary.id).scalar_subquery()
    query = select(Glossary, size).filter_by(owner=owner).order_by(Glossary.created.desc(), Glossary.id)
    return [(glossary, count) for glossary, count in session.execute(query)]


def create(session: Session, owner: str, name: str, source: str, target: str) -> Glossary:
    """A new glossary without terms."""
    glossary = Glossary(owner=owner, name=name, source=source, target=target, active=True, terms=[])
    session.add(glossary)
    session.flush()
    return glossary


def put_term(session: Session, glossary: Glossary, **term: Any) -> Term:
    """Add a term, or change the one with the same source.

    Raises:
        ServeError: 413, the glossary is full.
    """
    put_terms(session, glossary, [term])
    return session.scalars(select(Term).filter_by(glossary_id=glossary.id, source=term["source"])).one()


def put_terms(session: Session, glossary: Glossary, terms: list[dict[str, Any]]) -> tuple[int, int]:
    """Add terms, or change those with the same source.

    Args:
        session: a session that writes.
        glossary: where to.
        terms: source and target of each, and variants, case_sensitive and note; of these three a term that is
            there keeps what is not named.

    Returns:
        How many are new, and how many were there.

    Raises:
        ServeError: 413, the glossary would hold more than :data:`MOST_TERMS`; nothing was added.
    """
    there = {term.source: term for term in session.scalars(select(Term).filter_by(glossary_id=glossary.id))}
    added = replaced = 0
    for values in terms:
        term = there.get(values["source"])
        if term is None:
            if len(there) >= MOST_TERMS:
                raise ServeError(413, "too_long", f"a glossary holds at most {MOST_TERMS} terms; nothing was added.")
            term = there[values["source"]] = Term(
                glossary_id=glossary.id, source=values["source"], variants=[], case_sensitive=False, note=""
            )
            session.add(term)
            added += 1
        else:
            replaced += 1
        term.target = values["target"]
        if "variants" in values:
            term.variants = list(values["variants"])
        if "case_sensitive" in values:
            term.case_sensitive = bool(values["case_sensitive"])
        if "note" in values:
            term.note = str(values["note"])
    session.flush()
    return added, replaced


def remove_term(session: Session, glossary: Glossary, term: str) -> None:
    """Take a term out.

    Raises:
        ServeError: 404, there is no such term in it.
    """
    found = session.scalar(select(Term).filter_by(glossary_id=glossary.id, id=term))
    if found is None:
        raise not_found("term")
    session.delete(found)


def terms_for(
    session: Session, owner: str, source: str, target: str, glossaries: list[str] | None
) -> list[tuple[Term, str]]:
    """Terms that hold for a direction, each with the id of its glossary.

    Args:
        session: an open session.
        owner: whose glossaries.
        source: language of the texts.
        target: language of the translations.
        glossaries: ids, or None for all active ones of the direction.

    Raises:
        ServeError: 404 for an unknown id, 400 for a glossary of another direction.
    """
    query = select(Glossary).filter_by(owner=owner)
    if glossaries is None:
        query = query.filter_by(source=source, target=target, active=True)
    else:
        query = query.where(Glossary.id.in_(glossaries))
    found = list(session.scalars(query))
    if glossaries is not None:
        if len(found) < len(set(glossaries)):
            raise not_found("glossary")
        for glossary in found:
            if (glossary.source, glossary.target) != (source, target):
                raise ServeError(
                    400,
                    "invalid",
                    f"the glossary '{glossary.name}' is for {glossary.source}→{glossary.target} only.",
                )
    ids = [glossary.id for glossary in found]
    terms = session.scalars(select(Term).where(Term.glossary_id.in_(ids))) if ids else []
    return [(term, term.glossary_id) for term in terms]

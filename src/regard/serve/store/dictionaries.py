"""Dictionaries that users load, and looking a word up in them."""

from collections.abc import Iterable
from itertools import islice

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from regard.serve.errors import ServeError, not_found
from regard.serve.store.tables import Dictionary, DictionaryEntry
from regard.tasks.dictionary import key_of

#: Entries of one dictionary.
MOST_ENTRIES = 500_000


def create(
    session: Session, owner: str, name: str, source: str, target: str, entries: Iterable[DictionaryEntry]
) -> Dictionary:
    """A dictionary with everything in it.

    Raises:
        ServeError: 413, there are more than :data:`MOST_ENTRIES`.
        DataError: what ``entries`` raises, as they are read.
    """
    dictionary = Dictionary(owner=owner, name=name, source=source, target=target, size=0)
    session.add(dictionary)
    session.flush()
    rows = (
        {
            "dictionary_id": dictionary.id,
            "key": key_of(entry.headword),
            "headword": entry.headword,
            "reading": entry.reading,
            "kind": entry.kind,
            "senses": entry.senses,
        }
        for entry in entries
    )
    while chunk := list(islice(rows, 2000)):
        session.execute(insert(DictionaryEntry), chunk)
        dictionary.size += len(chunk)
        if dictionary.size > MOST_ENTRIES:
            raise ServeError(413, "too_long", f"a dictionary holds at most {MOST_ENTRIES:,} entries; none was taken.")
    session.flush()
    return dictionary


def listed(session: Session, owner: str) -> list[Dictionary]:
    """All dictionaries of an owner."""
    return list(session.scalars(select(Dictionary).filter_by(owner=owner).order_by(Dictionary.name)))


def remove(session: Session, owner: str, dictionary: str) -> None:
    """Delete a dictionary.

    Raises:
        ServeError: 404, this owner has none of this id.
    """
    found = session.scalar(select(Dictionary).filter_by(owner=owner, id=dictionary))
    if found is None:
        raise not_found("dictionary")
    session.delete(found)


def lookup(
    session: Session, owner: str, source: str, target: str, keys: list[str], limit: int = 20
) -> list[tuple[DictionaryEntry, str]]:
    """Entries of the first of ``keys`` that has some, each with its dictionary's name."""
    query = (
        select(DictionaryEntry, Dictionary.name)
        .join(Dictionary, Dictionary.id == DictionaryEntry.dictionary_id)
        .where(
            Dictionary.owner == owner,
            Dictionary.source == source,
            Dictionary.target == target,
            DictionaryEntry.key.in_(keys),
        )
        .order_by(DictionaryEntry.number)
    )
    found: dict[str, list[tuple[DictionaryEntry, str]]] = {}
    for entry, name in session.execute(query):
        found.setdefault(entry.key, []).append((entry, name))
    return next((found[key][:limit] for key in keys if key in found), [])

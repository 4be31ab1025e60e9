"""Dictionaries that users load, and looking a word up in them."""

import unicodedata
from collections.abc import Iterable

from sqlalchemy import insert, select
from sqlalchemy.orm import Session

from regard.serve.errors import not_found
from regard.serve.store.tables import Dictionary, DictionaryEntry

#: Endings that are taken off where a word itself is not found: a try, not a grammar.
_ENDINGS = {
    "en": ("'s", "s", "es", "ed", "d", "ing", "er", "est", "ly"),
    "de": ("en", "e", "n", "er", "es", "em", "s", "st", "t", "te", "ten"),
    "fr": ("s", "es", "e", "x", "ent", "ées", "és", "ée"),
}


def create(
    session: Session, owner: str, name: str, source: str, target: str, entries: Iterable[DictionaryEntry]
) -> Dictionary:
    """A dictionary with everything in it."""
    dictionary = Dictionary(owner=owner, name=name, source=source, target=target, size=0)
    session.add(dictionary)
    session.flush()
    rows = [
        {
            "dictionary_id": dictionary.id,
            "key": key_of(entry.headword),
            "headword": entry.headword[:200],
            "reading": entry.reading,
            "kind": entry.kind,
            "senses": entry.senses,
        }
        for entry in entries
    ]
    for start in range(0, len(rows), 2000):
        session.execute(insert(DictionaryEntry), rows[start : start + 2000])
    dictionary.size = len(rows)
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
    session: Session, owner: str, source: str, target: str, word: str, limit: int = 20
) -> list[tuple[DictionaryEntry, str]]:
    """Entries of a word, or, where there are none, of what it may be a form of; each with its dictionary's name."""
    for key in _forms(word, source):
        query = (
            select(DictionaryEntry, Dictionary.name)
            .join(Dictionary, Dictionary.id == DictionaryEntry.dictionary_id)
            .where(
                Dictionary.owner == owner,
                Dictionary.source == source,
                Dictionary.target == target,
                DictionaryEntry.key == key,
            )
            .order_by(DictionaryEntry.number)
            .limit(limit)
        )
        found = [(entry, name) for entry, name in session.execute(query)]
        if found:
            return found
    return []


def key_of(word: str) -> str:
    """A word as it is looked up: without case and width."""
    return unicodedata.normalize("NFKC", word).strip().casefold()[:200]


def _forms(word: str, language: str) -> list[str]:
    key = key_of(word)
    forms = [key]
    for ending in _ENDINGS.get(language, ()):
        stem = key.removesuffix(ending)
        if stem != key and len(stem) >= 2:
            forms.append(stem)
            if language == "en" and ending in ("ed", "ing", "er", "est"):
                forms.append(stem + "e")
                if len(stem) > 2 and stem[-1] == stem[-2]:
                    forms.append(stem[:-1])
    return list(dict.fromkeys(forms))

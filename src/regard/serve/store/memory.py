"""Translation memory: what was translated before, found exactly or by likeness.

Likeness is looked for in two steps. A full-text index (FTS5, or a GIN index in PostgreSQL)
gives the entries that share the rarest words; rapidfuzz then measures the edit distance.
Words are hashed, and Chinese is indexed by pairs of characters, so that one index serves
every script in both databases.
"""

import hashlib
import itertools
import re
import unicodedata
import zlib
from dataclasses import dataclass

from rapidfuzz.distance import Levenshtein
from sqlalchemy import bindparam, delete, func, or_, select, text, update
from sqlalchemy.orm import Session

from regard.data.chinese import HAN, KANA
from regard.serve.errors import not_found
from regard.serve.store.tables import MemoryEntry, now

#: Entries that are measured one by one.
_CANDIDATES = 60
#: Words of a sentence that candidates are looked for by.
_QUERY_WORDS = 40
_TOKEN = re.compile(f"[{HAN}{KANA}]|[^\\W_]+")
_UNSPACED = re.compile(f"[{HAN}{KANA}]")
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass(frozen=True)
class Match:
    """An entry that is like a text."""

    entry: MemoryEntry
    match: int
    """1 to 100: 100 says the same text."""


def normal(sentence: str) -> str:
    """A text as the memory compares it: composed characters, single spaces."""
    return " ".join(unicodedata.normalize("NFC", sentence).split())


def digest(sentence: str) -> str:
    """What equal texts share."""
    return hashlib.sha256(normal(sentence).encode()).hexdigest()


def put(
    session: Session, owner: str, source: str, target: str, source_text: str, target_text: str, origin: str
) -> tuple[MemoryEntry, bool]:
    """Remember a translation; of the same source text the newer one counts.

    Returns:
        The entry, and whether it is new.
    """
    mark = digest(source_text)
    entry = session.scalar(
        select(MemoryEntry).filter_by(owner=owner, source=source, target=target, digest=mark).with_for_update()
    )
    if entry is not None:
        entry.target_text, entry.origin, entry.updated = target_text, origin, now()
        return entry, False
    entry = MemoryEntry(
        owner=owner,
        source=source,
        target=target,
        digest=mark,
        source_text=source_text,
        target_text=target_text,
        origin=origin,
        grams=" ".join([_scope(owner, source, target), *_grams(source_text)]),
    )
    session.add(entry)
    session.flush()
    return entry, True


_EXACT = select(MemoryEntry).where(
    MemoryEntry.owner == bindparam("owner"),
    MemoryEntry.source == bindparam("source"),
    MemoryEntry.target == bindparam("target"),
    MemoryEntry.digest.in_(bindparam("marks", expanding=True)),
)


def exact(session: Session, owner: str, source: str, target: str, texts: list[str]) -> dict[str, MemoryEntry]:
    """Entries of exactly these texts, by text."""
    marks = {sentence: digest(sentence) for sentence in texts}
    found: dict[str, MemoryEntry] = {}
    chunks = list(dict.fromkeys(marks.values()))
    for start in range(0, len(chunks), 500):
        given = {"owner": owner, "source": source, "target": target, "marks": chunks[start : start + 500]}
        found |= {entry.digest: entry for entry in session.scalars(_EXACT, given)}
    return {sentence: found[mark] for sentence, mark in marks.items() if mark in found}


def search(
    session: Session, owner: str, source: str, target: str, sentence: str, *, minimum: int = 60, limit: int = 5
) -> list[Match]:
    """Entries that are like ``sentence``, best first.

    Args:
        session: an open session.
        owner: whose memory.
        source: language of the text.
        target: language of the translations.
        sentence: what to look for.
        minimum: least match, 1 to 100.
        limit: most matches.
    """
    wanted = normal(sentence)
    matches = []
    for entry in _candidates(session, owner, source, target, wanted):
        match = likeness(wanted, normal(entry.source_text))
        if match >= minimum:
            matches.append(Match(entry, match))
    matches.sort(key=lambda m: (-m.match, -m.entry.number))
    return matches[:limit]


def likeness(a: str, b: str) -> int:
    """100 for equal texts, else 0 to 99: the share of characters that need no edit, after the case."""
    if a == b:
        return 100
    closeness = 0.9 * Levenshtein.normalized_similarity(a.lower(), b.lower())
    return min(99, int(100 * (closeness + 0.1 * Levenshtein.normalized_similarity(a, b))))


def difference(old: str, new: str) -> list[tuple[str, str]]:
    """What turns ``old`` into ``new``, word by word: (equal, delete or insert; text)."""
    a, b = (re.findall(f"[{HAN}{KANA}]|[^\\W_]+|\\s+|.", side) for side in (old, new))
    result: list[tuple[str, str]] = []
    for step in Levenshtein.opcodes(a, b):
        if step.tag == "equal":
            result.append(("equal", "".join(a[step.src_start : step.src_end])))
        if step.tag in ("delete", "replace"):
            result.append(("delete", "".join(a[step.src_start : step.src_end])))
        if step.tag in ("insert", "replace"):
            result.append(("insert", "".join(b[step.dest_start : step.dest_end])))
    return result


def adapt(entry: MemoryEntry, sentence: str) -> str | None:
    """The entry's translation for a text that differs from its source in numbers only; None where it differs more.

    Each number that differs must stand once on both sides, so that it is clear what to put in its place.
    """
    old, new = normal(entry.source_text), normal(sentence)
    if _NUMBER.sub("#", old) != _NUMBER.sub("#", new):
        return None
    translation = entry.target_text
    pairs = dict(zip(_NUMBER.findall(old), _NUMBER.findall(new), strict=True))
    changed = {a: b for a, b in pairs.items() if a != b}
    for number in changed:
        if _NUMBER.findall(translation).count(number) != 1 or _NUMBER.findall(old).count(number) != 1:
            return None
    return _NUMBER.sub(lambda match: changed.get(match.group(), match.group()), translation)


def used(session: Session, entries: list[str]) -> None:
    """Count a use of each of these entries, by id."""
    session.execute(update(MemoryEntry).where(MemoryEntry.id.in_(entries)).values(uses=MemoryEntry.uses + 1))


def listed(
    session: Session, owner: str, source: str | None, target: str | None, query: str, offset: int, limit: int
) -> tuple[list[MemoryEntry], int]:
    """Entries, newest first, that contain ``query`` on either side; and how many there are."""
    conditions = [MemoryEntry.owner == owner]
    if source:
        conditions.append(MemoryEntry.source == source)
    if target:
        conditions.append(MemoryEntry.target == target)
    if query:
        either = or_(
            MemoryEntry.source_text.icontains(query, autoescape=True),
            MemoryEntry.target_text.icontains(query, autoescape=True),
        )
        conditions.append(either)
    total = session.scalar(select(func.count()).select_from(MemoryEntry).where(*conditions)) or 0
    newest = select(MemoryEntry).where(*conditions).order_by(MemoryEntry.number.desc()).offset(offset).limit(limit)
    return list(session.scalars(newest)), total


def before(
    session: Session, owner: str, source: str | None, target: str | None, number: int | None, limit: int
) -> list[MemoryEntry]:
    """The next ``limit`` entries that are older than the one with this number; without it, the newest."""
    wanted = {"owner": owner, "source": source, "target": target}
    query = select(MemoryEntry).filter_by(**{name: value for name, value in wanted.items() if value})
    if number is not None:
        query = query.where(MemoryEntry.number < number)
    return list(session.scalars(query.order_by(MemoryEntry.number.desc()).limit(limit)))


def remove(session: Session, owner: str, entry_id: str) -> None:
    """Forget an entry.

    Raises:
        ServeError: 404, this owner has no such entry.
    """
    found = session.scalar(select(MemoryEntry).filter_by(owner=owner, id=entry_id))
    if found is None:
        raise not_found("memory entry")
    session.execute(delete(MemoryEntry).where(MemoryEntry.number == found.number))


def _candidates(session: Session, owner: str, source: str, target: str, sentence: str) -> list[MemoryEntry]:
    words = _grams(sentence)[:_QUERY_WORDS]
    if not words:
        return []
    scope = _scope(owner, source, target)
    if session.get_bind().dialect.name == "sqlite":
        # Words are x and eight hexadecimal digits: nothing of a text gets into the query's syntax.
        find = text(
            "SELECT rowid FROM memory_index WHERE memory_index MATCH :query ORDER BY bm25(memory_index) LIMIT :limit"
        )
        query = f"{scope} AND ({' OR '.join(words)})"
    else:
        find = text(
            "SELECT number FROM memory, to_tsquery('simple', :query) AS query "
            "WHERE to_tsvector('simple', grams) @@ query "
            "ORDER BY ts_rank(to_tsvector('simple', grams), query) DESC LIMIT :limit"
        )
        query = f"{scope} & ({' | '.join(words)})"
    numbers = list(session.scalars(find, {"query": query, "limit": _CANDIDATES}))
    found = session.scalars(
        select(MemoryEntry).where(
            MemoryEntry.number.in_(numbers),
            # The scope in the index is a hash: the owner has the last word.
            MemoryEntry.owner == owner,
            MemoryEntry.source == source,
            MemoryEntry.target == target,
        )
    )
    return list(found)


def _grams(sentence: str) -> list[str]:
    """Hashed words, each different one once; of Chinese and Japanese the pairs of characters too."""
    tokens = _TOKEN.findall(unicodedata.normalize("NFKC", sentence).lower())
    pairs = [a + b for a, b in itertools.pairwise(tokens) if _UNSPACED.match(a) and _UNSPACED.match(b)]
    return list(dict.fromkeys(_hashed(token) for token in [*pairs, *tokens]))


def _scope(owner: str, source: str, target: str) -> str:
    return _hashed(f"{owner}\n{source}\n{target}")


def _hashed(token: str) -> str:
    return f"x{zlib.crc32(token.encode()):08x}"

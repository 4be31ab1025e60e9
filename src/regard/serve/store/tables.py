"""The tables. Everything that a person owns has an ``owner``, and every query names it."""

import uuid
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Float, ForeignKey, Index, Integer, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship
from sqlalchemy.types import TypeDecorator


class Moment(TypeDecorator[datetime]):
    """A point in time, in UTC; SQLite itself knows no time zones."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Put the zone back that SQLite dropped."""
        return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def new_id() -> str:
    """An id that says nothing and cannot be guessed."""
    return uuid.uuid4().hex


def now() -> datetime:
    """This moment, in UTC."""
    return datetime.now(UTC)


class Base(DeclarativeBase):
    """What all tables share."""


class Owned:
    """Columns of a thing with an owner."""

    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Directed(Owned):
    """A thing with an owner and a direction of translation."""

    source: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(String(16))


class Key(Owned, Base):
    """An API key; only its digest is kept."""

    __tablename__ = "keys"
    name: Mapped[str] = mapped_column(String(200))
    digest: Mapped[str] = mapped_column(String(64), unique=True)
    scopes: Mapped[list[str]] = mapped_column(JSON)
    characters_per_day: Mapped[int | None] = mapped_column(BigInteger)
    requests_per_minute: Mapped[int | None] = mapped_column(Integer)
    last_used: Mapped[datetime | None] = mapped_column(Moment)
    revoked: Mapped[datetime | None] = mapped_column(Moment)


class Usage(Base):
    """Characters that a key had translated on one day."""

    __tablename__ = "usage"
    key: Mapped[str] = mapped_column(ForeignKey("keys.id", ondelete="CASCADE"), primary_key=True)
    day: Mapped[str] = mapped_column(String(10), primary_key=True)
    characters: Mapped[int] = mapped_column(BigInteger, default=0)


class MemoryEntry(Base):
    """A sentence and its translation. ``number`` joins it to the full-text index."""

    __tablename__ = "memory"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    id: Mapped[str] = mapped_column(String(32), unique=True, default=new_id)
    owner: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(16))
    target: Mapped[str] = mapped_column(String(16))
    digest: Mapped[str] = mapped_column(String(64))
    source_text: Mapped[str] = mapped_column(Text)
    target_text: Mapped[str] = mapped_column(Text)
    origin: Mapped[str] = mapped_column(String(16))
    grams: Mapped[str] = mapped_column(Text)
    uses: Mapped[int] = mapped_column(Integer, default=0)
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    updated: Mapped[datetime] = mapped_column(Moment, default=now, onupdate=now)
    __table_args__ = (UniqueConstraint("owner", "source", "target", "digest"),)


class Glossary(Directed, Base):
    """Terms whose translation is settled."""

    __tablename__ = "glossaries"
    name: Mapped[str] = mapped_column(String(200))
    active: Mapped[bool] = mapped_column(default=True)
    terms: Mapped[list["Term"]] = relationship(
        back_populates="glossary", cascade="all, delete-orphan", passive_deletes=True, order_by="Term.source"
    )


class Term(Base):
    """A term, its translation, and forms of it that count as well."""

    __tablename__ = "terms"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    glossary_id: Mapped[str] = mapped_column(ForeignKey("glossaries.id", ondelete="CASCADE"))
    source: Mapped[str] = mapped_column(String(500))
    target: Mapped[str] = mapped_column(String(500))
    variants: Mapped[list[str]] = mapped_column(JSON, default=list)
    case_sensitive: Mapped[bool] = mapped_column(default=False)
    note: Mapped[str] = mapped_column(Text, default="")
    glossary: Mapped[Glossary] = relationship(back_populates="terms")
    __table_args__ = (UniqueConstraint("glossary_id", "source"),)


class Dictionary(Directed, Base):
    """A dictionary that somebody loaded."""

    __tablename__ = "dictionaries"
    name: Mapped[str] = mapped_column(String(200))
    size: Mapped[int] = mapped_column(Integer, default=0)


class DictionaryEntry(Base):
    """A headword and its meanings."""

    __tablename__ = "dictionary_entries"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    dictionary_id: Mapped[str] = mapped_column(ForeignKey("dictionaries.id", ondelete="CASCADE"))
    key: Mapped[str] = mapped_column(String(200))
    headword: Mapped[str] = mapped_column(String(200))
    reading: Mapped[str | None] = mapped_column(String(200))
    kind: Mapped[str | None] = mapped_column(String(100))
    senses: Mapped[list[str]] = mapped_column(JSON)
    __table_args__ = (Index("dictionary_lookup", "dictionary_id", "key"),)


class Document(Directed, Base):
    """An uploaded file on its way; the bytes lie in the data folder under the id."""

    __tablename__ = "documents"
    name: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="queued")
    size: Mapped[int] = mapped_column(BigInteger)
    expires: Mapped[datetime | None] = mapped_column(Moment)
    error: Mapped[str | None] = mapped_column(Text)
    parts: Mapped[list["DocumentPart"]] = relationship(
        cascade="all, delete-orphan", passive_deletes=True, order_by="DocumentPart.position"
    )


class DocumentPart(Base):
    """One segment of a document; without a translation as long as it waits."""

    __tablename__ = "document_parts"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    document_id: Mapped[str] = mapped_column(ForeignKey("documents.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    source_text: Mapped[str] = mapped_column(Text)
    text: Mapped[str | None] = mapped_column(Text)
    checks: Mapped[list[Any]] = mapped_column(JSON, default=list)
    __table_args__ = (UniqueConstraint("document_id", "position"),)


class Project(Directed, Base):
    """A document held as segments that people go through."""

    __tablename__ = "projects"
    name: Mapped[str] = mapped_column(String(200))
    format: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), default="translating")
    document: Mapped[str | None] = mapped_column(String(32))
    error: Mapped[str | None] = mapped_column(Text)


class Segment(Base):
    """One segment of a project. ``version`` grows with every change: who saves names the one that was read."""

    __tablename__ = "segments"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    project_id: Mapped[str] = mapped_column(ForeignKey("projects.id", ondelete="CASCADE"))
    position: Mapped[int] = mapped_column(Integer)
    source_text: Mapped[str] = mapped_column(Text)
    separator: Mapped[str] = mapped_column(Text, default="")
    text: Mapped[str] = mapped_column(Text, default="")
    machine_text: Mapped[str] = mapped_column(Text, default="")
    status: Mapped[str] = mapped_column(String(16), default="empty")
    origin: Mapped[str | None] = mapped_column(String(16))
    match: Mapped[int | None] = mapped_column(Integer)
    confidence: Mapped[float | None] = mapped_column(Float)
    checks: Mapped[list[Any]] = mapped_column(JSON, default=list)
    version: Mapped[int] = mapped_column(Integer, default=1)
    current: Mapped[int] = mapped_column(Integer, default=0)
    """Place in the undo history of what is shown."""
    newest: Mapped[int] = mapped_column(Integer, default=0)
    """The last place in it."""
    edit_seconds: Mapped[float] = mapped_column(Float, default=0.0)
    updated: Mapped[datetime] = mapped_column(Moment, default=now, onupdate=now)
    project: Mapped[Project] = relationship()
    __table_args__ = (UniqueConstraint("project_id", "position"),)


class SegmentVersion(Base):
    """A text that a segment had."""

    __tablename__ = "segment_versions"
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=True)
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id", ondelete="CASCADE"))
    place: Mapped[int] = mapped_column(Integer)
    version: Mapped[int] = mapped_column(Integer)
    text: Mapped[str] = mapped_column(Text)
    status: Mapped[str] = mapped_column(String(16))
    origin: Mapped[str | None] = mapped_column(String(16))
    author: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(Moment, default=now)
    __table_args__ = (UniqueConstraint("segment_id", "place"),)


class Comment(Base):
    """What somebody said about a segment."""

    __tablename__ = "comments"
    id: Mapped[str] = mapped_column(String(32), primary_key=True, default=new_id)
    segment_id: Mapped[str] = mapped_column(ForeignKey("segments.id", ondelete="CASCADE"), index=True)
    text: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(64))
    created: Mapped[datetime] = mapped_column(Moment, default=now)


class Correction(Directed, Base):
    """What a person made of a translation; it is learnt from where it was accepted."""

    __tablename__ = "corrections"
    source_text: Mapped[str] = mapped_column(Text)
    machine_text: Mapped[str] = mapped_column(Text)
    text: Mapped[str] = mapped_column(Text)
    accepted: Mapped[bool] = mapped_column()
    reasons: Mapped[list[str]] = mapped_column(JSON, default=list)
    memory: Mapped[str | None] = mapped_column(String(32))


class Adapter(Directed, Base):
    """Weights learnt from corrections; they lie in the data folder under the id."""

    __tablename__ = "adapters"
    active: Mapped[bool] = mapped_column(default=False)
    activated: Mapped[datetime | None] = mapped_column(Moment)
    corrections: Mapped[int] = mapped_column(Integer)
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)


class Run(Directed, Base):
    """One attempt to learn."""

    __tablename__ = "runs"
    state: Mapped[str] = mapped_column(String(16), default="queued")
    progress: Mapped[float] = mapped_column(Float, default=0.0)
    corrections: Mapped[int] = mapped_column(Integer, default=0)
    adapter: Mapped[str | None] = mapped_column(String(32))
    report: Mapped[dict[str, Any]] = mapped_column(JSON, default=dict)
    error: Mapped[str | None] = mapped_column(Text)

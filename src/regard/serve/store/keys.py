"""API keys: made once, kept as digests, revoked and not deleted; and what each has used."""

import hashlib
import secrets
from datetime import UTC, datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from regard.serve.errors import ServeError, not_found
from regard.serve.store.tables import Key, Usage, now

SCOPES = ("translate", "write", "learn", "admin")
_PREFIX = "rg_"


def digest(secret: str) -> str:
    """What is kept of a key. Keys are long and random, so a plain hash cannot be turned back."""
    return hashlib.sha256(secret.encode()).hexdigest()


def create(
    session: Session,
    name: str,
    owner: str,
    scopes: list[str],
    characters_per_day: int | None = None,
    requests_per_minute: int | None = None,
) -> tuple[Key, str]:
    """A new key and its secret, which is never shown again.

    Raises:
        ServeError: 400, an unknown scope.
    """
    for scope in scopes:
        if scope not in SCOPES:
            raise ServeError(400, "invalid", f"'{scope[:40]}' is not a scope. Known: {', '.join(SCOPES)}.")
    secret = _PREFIX + secrets.token_urlsafe(32)
    key = Key(
        name=name,
        owner=owner,
        scopes=scopes,
        digest=digest(secret),
        characters_per_day=characters_per_day,
        requests_per_minute=requests_per_minute,
    )
    session.add(key)
    session.flush()
    return key, secret


def find(session: Session, secret: str) -> Key | None:
    """The key with this secret, unless it was revoked."""
    return session.scalar(select(Key).where(Key.digest == digest(secret), Key.revoked.is_(None)))


def listed(session: Session) -> list[Key]:
    """All keys, newest first."""
    return list(session.scalars(select(Key).order_by(Key.created.desc(), Key.id)))


def revoke(session: Session, key: str) -> None:
    """Let a key open nothing any more.

    Raises:
        ServeError: 404, there is no such key.
    """
    found = session.get(Key, key)
    if found is None:
        raise not_found("key")
    found.revoked = found.revoked or now()


def spend(session: Session, key: str, characters: int, quota: int) -> None:
    """Count characters against a key's day.

    Raises:
        ServeError: 429, the quota would be exceeded; nothing was counted.
    """
    today = datetime.now(UTC).date().isoformat()
    usage = session.get(Usage, (key, today), with_for_update=True)
    spent = usage.characters if usage else 0
    if spent + characters > quota:
        raise ServeError(
            429,
            "quota_exceeded",
            f"this key may have {quota} characters a day translated and has used {spent}.",
            retry_after=_seconds_of_day_left(),
        )
    if usage is None:
        session.add(Usage(key=key, day=today, characters=characters))
    else:
        usage.characters += characters


def spent(session: Session, key: str) -> int:
    """Characters counted today."""
    today = datetime.now(UTC).date().isoformat()
    return session.scalar(select(func.sum(Usage.characters)).filter_by(key=key, day=today)) or 0


def _seconds_of_day_left() -> float:
    moment = datetime.now(UTC)
    return 86_400.0 - (moment.hour * 3600 + moment.minute * 60 + moment.second)

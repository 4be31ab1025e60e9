"""Who calls, what they may do, and how much of it."""

import logging
import threading
import time
from collections import OrderedDict
from dataclasses import dataclass
from datetime import timedelta

from regard.serve.errors import ServeError
from regard.serve.logs import log
from regard.serve.settings import Settings
from regard.serve.store import keys
from regard.serve.store.database import Database
from regard.serve.store.tables import Key, now

#: Whoever calls without a key where none is required.
LOCAL = "local"
#: Clients whose rates are remembered.
_REMEMBERED = 10_000
_LAST_USED_EVERY = timedelta(minutes=1)


@dataclass(frozen=True)
class Caller:
    """Who calls."""

    owner: str
    scopes: frozenset[str]
    key: str | None = None
    """Id of the key."""
    characters_per_day: int | None = None
    requests_per_minute: int | None = None
    address: str = ""

    def may(self, scope: str) -> bool:
        """Whether the caller has this scope; admin has all."""
        return scope in self.scopes or "admin" in self.scopes

    def need(self, scope: str) -> None:
        """Insist on a scope.

        Raises:
            ServeError: 403.
        """
        if not self.may(scope):
            raise ServeError(403, "not_allowed", f"this key may not do that: it needs the scope '{scope}'.")


class Access:
    """Keys, rates and quotas."""

    def __init__(self, settings: Settings, database: Database):
        self._settings, self._database = settings, database
        self._rates: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._lock = threading.Lock()

    def identify(self, secret: str | None, address: str) -> Caller:
        """The caller behind a key, or the local owner without one.

        Raises:
            ServeError: 401 for a missing or unknown key, 429 for too many requests.
        """
        caller = self._caller(secret, address)
        self._slow_down(caller)
        return caller

    def spend(self, caller: Caller, characters: int) -> None:
        """Count characters against the caller's quota.

        Raises:
            ServeError: 429, the day's quota is used up.
        """
        if caller.key and caller.characters_per_day is not None:
            with self._database.write() as session:
                keys.spend(session, caller.key, characters, caller.characters_per_day)

    def _caller(self, secret: str | None, address: str) -> Caller:
        if not secret:
            if self._settings.keys_required:
                raise ServeError(401, "key_missing", "this server needs an API key: send 'Authorization: Bearer KEY'.")
            rate = self._settings.requests_per_minute or None
            return Caller(LOCAL, frozenset({"admin"}), requests_per_minute=rate, address=address)
        with self._database.read() as session:
            key = keys.find(session, secret)
        if key is None:
            raise ServeError(401, "key_invalid", "this API key is unknown or was revoked.")
        if key.last_used is None or now() - key.last_used > _LAST_USED_EVERY:
            self._note_use(key)
        return Caller(
            key.owner, frozenset(key.scopes), key.id, key.characters_per_day, key.requests_per_minute, address
        )

    def _note_use(self, key: Key) -> None:
        """Enter when a key was last used; where that cannot be saved, the key is good all the same."""
        try:
            with self._database.write() as session:
                session.merge(key).last_used = now()
        except ServeError as error:
            log("use_not_noted", logging.WARNING, key=key.id, code=error.code)

    def _slow_down(self, caller: Caller) -> None:
        """A bucket that holds a minute's requests and fills evenly."""
        limit = caller.requests_per_minute
        if not limit:
            return
        name, moment = caller.key or caller.address, time.monotonic()
        with self._lock:
            level, since = self._rates.pop(name, (float(limit), moment))
            level = min(float(limit), level + (moment - since) * limit / 60)
            allowed = level >= 1
            self._rates[name] = (level - 1 if allowed else level, moment)
            while len(self._rates) > _REMEMBERED:
                self._rates.popitem(last=False)
        if not allowed:
            raise ServeError(
                429,
                "slow_down",
                f"Slowdown: at most {limit} requests a minute are allowed.",
                retry_after=(1 - level) * 60 / limit,
            )

"""``regard keys``: API keys of the server's store, made and revoked beside a running server."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """List, add or revoke API keys: regard keys list, regard keys add NAME, regard keys revoke ID."""

    action: Positional[Literal["list", "add", "revoke"]]
    """What to do."""
    name: Positional[str] = ""
    """Name of the new key, or id of the one to revoke."""
    owner: str = ""
    """Whose memory, glossaries and files the key opens; the key's name by default."""
    scopes: tuple[Literal["translate", "write", "learn", "admin"], ...] = ("translate", "write")
    """What the key allows."""
    characters_per_day: int | None = None
    """Most characters a day."""
    requests_per_minute: int | None = None
    """Most requests a minute."""
    database: str | None = None
    """As for regard serve."""
    data: Path | None = None
    """As for regard serve."""

    def __post_init__(self) -> None:
        if bool(self.name) != (self.action != "list"):
            raise ConfigError("write: regard keys list, regard keys add NAME, or regard keys revoke ID.")


def main(argv: Sequence[str]) -> int:
    """Do it."""
    options = parse(Options, argv, prog="regard keys")
    from regard.serve.settings import Settings
    from regard.serve.store import keys
    from regard.serve.store.database import Database

    database = Database(Settings(database=options.database, data=options.data).database_url)
    try:
        database.upgrade()
        if options.action == "add":
            with database.write() as session:
                key, secret = keys.create(
                    session,
                    options.name,
                    options.owner or options.name,
                    list(options.scopes),
                    options.characters_per_day,
                    options.requests_per_minute,
                )
            print(f"{secret}\n\nThis is the only time the key is shown. Its id is {key.id}.")
        elif options.action == "revoke":
            with database.write() as session:
                keys.revoke(session, options.name)
            print(f"the key {options.name} opens nothing any more.")
        else:
            with database.read() as session:
                for key in keys.listed(session):
                    state = "revoked" if key.revoked else ", ".join(key.scopes)
                    print(f"{key.id}  {key.name}  {key.owner}  {state}")
    finally:
        database.close()
    return 0

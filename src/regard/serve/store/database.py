"""Opening the database, bringing it up to date, and sessions that read or write."""

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DataError as DatabaseDataError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError, TimeoutError
from sqlalchemy.orm import Session

from regard.base.errors import ConfigError
from regard.base.extras import missing
from regard.serve.errors import ServeError

MIGRATIONS = Path(__file__).parent / "migrations"


class Database:
    """A store behind a URL: SQLite or PostgreSQL."""

    def __init__(self, url: str):
        """
        Args:
            url: as SQLAlchemy writes it; an SQLite file and its folder are made, for this user alone.

        Raises:
            ConfigError: the URL cannot be used.
            MissingExtra: its driver is not installed.
        """
        try:
            self.url = make_url(url)
            self.kind = self.url.get_backend_name()
        except SQLAlchemyError as error:
            raise ConfigError("the database URL cannot be read. Write it like postgresql://user@host/name.") from error
        if self.kind not in ("sqlite", "postgresql"):
            raise ConfigError(f"a {self.kind} database cannot be used: Regard knows sqlite and postgresql.")
        options: dict[str, Any] = {}
        if self.kind == "sqlite":
            if self.url.database and self.url.database != ":memory:":
                file = Path(self.url.database)
                make_private(file.parent)
                if not self.url.database.startswith("file:"):
                    # SQLite itself makes it for everybody to read; its -wal and -shm get the file's mode.
                    with contextlib.suppress(OSError):  # where it cannot be made, connecting says so
                        file.touch(mode=0o600, exist_ok=False)
            options["connect_args"] = {"timeout": 15}
        else:
            options |= {"pool_pre_ping": True, "pool_size": 10, "max_overflow": 20}
            options["connect_args"] = {"connect_timeout": 5}
        try:
            self.engine = create_engine(self.url, **options)
        except ModuleNotFoundError as error:
            raise missing("psycopg", "PostgreSQL") from error
        self._writing = threading.Lock()
        if self.kind == "sqlite":
            event.listen(self.engine, "connect", _prepare_sqlite)

    def upgrade(self) -> None:
        """Bring the tables to the newest version.

        Raises:
            ServeError: 503, the database cannot be reached.
        """
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
        with explained(), self.engine.connect() as connection:
            if self.kind == "sqlite":  # all or nothing, and one server at a time
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that changes nothing."""
        with explained(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A session that is committed when the block ends: then, and not before, the change is safe on disk."""
        with explained(), Session(self.engine, expire_on_commit=False) as session:
            if self.kind == "postgresql":
                with session.begin():
                    yield session
                return
            # SQLite has one writer: waiting here is fair, and it never finds the file locked half-way.
            with self._writing, session.begin():
                session.execute(text("BEGIN IMMEDIATE"))
                yield session

    def check(self) -> bool:
        """Whether the database answers."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()


def make_private(folder: Path) -> None:
    """Make a folder that only this user can open; one that is there keeps its mode."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
    cursor = connection.cursor()
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = FULL")  # what was acknowledged survives a power cut too
    cursor.execute("PRAGMA foreign_keys = ON")
    cursor.close()


@contextmanager
def explained() -> Iterator[None]:
    """Turn what a database raises when it is away or full into an answer; the next request tries anew."""
    try:
        yield
    except TimeoutError as error:  # of the pool: every connection is in use
        raise ServeError(503, "busy", "the database is too busy; try again later.", retry_after=5) from error
    except UnicodeEncodeError:
        raise _unwritable() from None
    except DBAPIError as error:
        if isinstance(error, DatabaseDataError):
            raise _unwritable() from None
        message = str(error.orig).lower()
        if "full" in message or "no space" in message:
            raise ServeError(
                507, "disk_full", "there is no space left to save this; nothing was changed. Free some and try again."
            ) from error
        if _is_outage(error, message):
            raise ServeError(
                503, "database_unavailable", "the database does not answer; nothing was changed.", retry_after=5
            ) from error
        raise


def _unwritable() -> ServeError:
    """Too long for its column, half a character, or a NUL in PostgreSQL; their own messages quote the text."""
    return ServeError(400, "invalid", "a text is too long, or holds a character that cannot be saved.")


def _is_outage(error: DBAPIError, message: str) -> bool:
    if error.connection_invalidated or type(error.orig).__name__ in (
        "OperationalError",
        "InterfaceError",
        "AdminShutdown",
    ):
        return "syntax" not in message and "no such" not in message
    return "readonly" in message or "disk i/o" in message

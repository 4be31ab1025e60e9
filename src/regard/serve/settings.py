"""What a server is told when it starts, with defaults that are safe."""

import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path

from regard.base.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """Where a server listens, what it keeps where, and how much it takes on."""

    host: str = "127.0.0.1"
    """Address to listen on; the default can be reached from this machine only."""
    port: int = 5000
    """Port; 0 takes a free one."""
    model: Path | None = None
    """Model folder; the model that ships with Regard by default."""
    database: str | None = None
    """SQLAlchemy URL such as postgresql://user@host/name; an SQLite file in the data folder by default."""
    data: Path | None = None
    """Folder of the database, files and adapters; the user's data folder by default."""
    require_keys: bool | None = None
    """Serve nobody without an API key; by default only where other machines can reach the server."""
    allow_origin: tuple[str, ...] = ()
    """Origins of web pages elsewhere that may call the API, such as https://intranet.example."""
    allow_host: tuple[str, ...] = ()
    """Further names under which the server is called, such as translate.example."""
    trusted_proxies: int = 0
    """Proxies in front of the server; the client's address is that many from the right in X-Forwarded-For."""
    max_characters: int = 20_000
    """Most characters of one request."""
    max_texts: int = 128
    """Most texts of one request."""
    max_body: int = 2_000_000
    """Most bytes of a request that is not a file."""
    max_file: int = 20_000_000
    """Most bytes of an uploaded file."""
    queue_characters: int = 200_000
    """Characters that may wait for the engine; beyond, the answer is 429."""
    deadline: float = 60.0
    """Seconds after which a request is given up."""
    requests_per_minute: int = 0
    """Requests a minute of a client without a key; 0 for no limit."""
    file_days: int = 7
    """Days that an uploaded file and its translation are kept."""
    min_corrections: int = 50
    """Accepted corrections of a direction from which an adapter is trained."""

    learning_steps: int = 300
    """Steps of such a training."""
    general: Path | None = None
    """Folder with everyday sentences (en.txt, de.txt, …, line by line) that an adapter must not unlearn."""

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65535:
            raise ConfigError(f"port is {self.port}; it must lie in 0 to 65535.")
        for name in (
            "max_characters",
            "max_texts",
            "max_body",
            "max_file",
            "queue_characters",
            "min_corrections",
            "learning_steps",
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be at least 1.")
        if self.deadline <= 0 or self.file_days <= 0:
            raise ConfigError("deadline and file_days must be positive.")
        if self.trusted_proxies < 0 or self.requests_per_minute < 0:
            raise ConfigError("trusted_proxies and requests_per_minute cannot be negative.")

    @property
    def on_loopback(self) -> bool:
        """Whether only this machine can reach the server."""
        return is_loopback(self.host)

    @property
    def keys_required(self) -> bool:
        """Whether a request without a key is refused."""
        return not self.on_loopback if self.require_keys is None else self.require_keys

    @property
    def folder(self) -> Path:
        """The data folder."""
        return self.data or data_folder()

    @property
    def database_url(self) -> str:
        """The database, as SQLAlchemy names it."""
        if self.database is None:
            return f"sqlite:///{(self.folder / 'regard.sqlite3').absolute()}"
        if self.database.startswith(("postgresql://", "postgres://")):  # psycopg 3, which is the one we ship
            return "postgresql+psycopg://" + self.database.split("://", 1)[1]
        return self.database


def data_folder() -> Path:
    """Where programs of this user keep their data, and there a folder of our own."""
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    return base / "regard"


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine as it calls itself."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"

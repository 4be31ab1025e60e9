"""How large a document may be, and what reading it may take."""

from dataclasses import dataclass

from regard.base.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Bounds on documents; a document beyond one is refused with an error that names it."""

    max_bytes: int = 64_000_000
    """Size of the file."""
    max_inflated: int = 256_000_000
    """Of zip archives, size of all that is inside, counted while it is inflated."""
    max_entries: int = 10_000
    """Of zip archives, number of files inside."""
    max_segments: int = 500_000
    """Number of segments."""
    memory: int = 2_000_000_000
    """Bytes of memory that reading may take."""
    seconds: float = 60.0
    """Seconds of processor time that reading may take, and half of what may pass on the clock."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ConfigError(f"{name} is {value}; it must be positive.")

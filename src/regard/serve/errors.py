"""What goes wrong in a server, with the HTTP status that says so."""

from typing import Any

from regard.base.errors import RegardError


class ServeError(RegardError):
    """An answer that is an error: a status, a word for programs, a sentence for people."""

    def __init__(self, status: int, code: str, message: str, *, retry_after: float | None = None, **details: Any):
        super().__init__(message)
        self.status, self.code, self.retry_after, self.details = status, code, retry_after, details


def not_found(what: str) -> ServeError:
    """The same for what does not exist and for what belongs to somebody else."""
    return ServeError(404, "not_found", f"there is no such {what}.")


def invalid(message: str) -> ServeError:
    """The request cannot be used."""
    return ServeError(400, "invalid", message)

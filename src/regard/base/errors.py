"""Errors written for people: what was wrong, where, and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class RegardError(ValueError):
    """Base of every error that Regard raises on purpose."""


class ConfigError(RegardError):
    """A setting is unknown, has the wrong type or contradicts another."""


class DataError(RegardError):
    """Input data cannot be used; the message names the file and the line."""


class ModelError(RegardError):
    """A model folder is incomplete, damaged or of the wrong kind."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"``, or the list of known names, for an unknown ``name``."""
    known = sorted(known)
    close = get_close_matches(name, known, n=1, cutoff=0.6)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" Known: {', '.join(known)}." if known else ""

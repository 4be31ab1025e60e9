"""One line of JSON an event. What users write is in none of them."""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

logger = logging.getLogger("regard.serve")


class JsonLines(logging.Formatter):
    """An event and its fields as one JSON object."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        values = {"time": moment, "level": record.levelname.lower(), "event": record.getMessage()}
        return json.dumps(values | getattr(record, "fields", {}), ensure_ascii=False)


def log(event: str, level: int = logging.INFO, **fields: Any) -> None:
    """Write an event; the fields are ours (routes, numbers, ids), not the user's."""
    logger.log(level, event, extra={"fields": fields})


def log_failure(event: str, error: BaseException, **fields: Any) -> None:
    """Write what went wrong and where in the program, without the message, which may quote a text."""
    frames = traceback.extract_tb(error.__traceback__)[-6:]
    where = [f"{frame.filename.rpartition('/regard/')[2]}:{frame.lineno} {frame.name}" for frame in frames]
    log(event, logging.ERROR, error=type(error).__name__, where=where, **fields)


def log_to_stderr() -> None:
    """Send events to standard error; until then they go where the program that uses us sends them."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

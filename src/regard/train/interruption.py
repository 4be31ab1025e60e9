"""Ctrl-C and SIGTERM, taken when nothing is lost by it."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


class Abandoned(BaseException):
    """Raised in work that may be given up; no ``except Exception`` on its way may stop it."""


class Interruption:
    """Whether someone asked the run to stop.

    The first Ctrl-C or SIGTERM is only noted, for the loop to see between two steps,
    and ends abandonable work. A second Ctrl-C raises ``KeyboardInterrupt`` on the spot.
    """

    def __init__(self) -> None:
        self.requested = False
        self._abandonable = False

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handle the signals; in another thread than the main one, whoever started it handles them."""
        earlier: dict[int, Callable[..., Any] | int | None] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                earlier[number] = signal.signal(number, self._stop)
        except ValueError:
            pass
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def _stop(self, number: int, frame: object) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.requested = True
        if self._abandonable:
            self._abandonable = False
            raise Abandoned

    @contextmanager
    def abandonable(self) -> Iterator[None]:
        """Work that a signal ends with :class:`Abandoned`, and that will be done again after a restart."""
        self._abandonable = True
        try:
            if self.requested:
                raise Abandoned
            yield
        finally:
            self._abandonable = False

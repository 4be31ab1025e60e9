"""What the parts of a running server share."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from anyio import CapacityLimiter, to_thread
from fastapi import Request

from regard.serve.access import Access, Caller
from regard.serve.dispatch import Dispatcher
from regard.serve.errors import ServeError
from regard.serve.languages import Directions
from regard.serve.metrics import Metrics
from regard.serve.settings import Settings
from regard.serve.store.database import Database, make_private
from regard.serve.translating import Ask, Emit, Work

if TYPE_CHECKING:
    from regard.serve.answer import Answer
    from regard.serve.background import Background
    from regard.serve.judging import Judge
    from regard.serve.learning import Learning
    from regard.tasks.translation import Translator

T = TypeVar("T")
#: Requests that may wait for the engine at a time; each holds a thread that sleeps.
_WAITERS = 512


@dataclass
class Server:
    """Settings, store, engine and what works in the background."""

    settings: Settings
    database: Database
    dispatcher: Dispatcher
    access: Access
    metrics: Metrics
    judge: "Judge" = field(init=False)
    background: "Background" = field(init=False)
    learning: "Learning" = field(init=False)
    model: str = "model"
    started: float = field(default_factory=time.monotonic)
    waiters: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(_WAITERS))

    @property
    def translator(self) -> "Translator":
        """The model as it is.

        Raises:
            ServeError: 503, it is not loaded.
        """
        if self.dispatcher.translator is None:
            why = self.dispatcher.problem or "the model is still being loaded"
            raise ServeError(503, "engine_unavailable", f"the engine is not ready: {why}", retry_after=3)
        return self.dispatcher.translator

    @property
    def directions(self) -> Directions:
        """What the model translates."""
        return Directions(self.translator.directions)

    def folder(self, name: str) -> Path:
        """A folder below the data folder; it is made where it is not there."""
        path = self.settings.folder / name
        for folder in (self.settings.folder, path):
            make_private(folder)
        return path

    def check_size(self, texts: list[str]) -> int:
        """The characters of a request.

        Raises:
            ServeError: 413 for too many, 400 for text that no encoding can write.
        """
        if len(texts) > self.settings.max_texts:
            raise ServeError(
                413,
                "too_long",
                f"Invalid request: request ({len(texts)}) exceeds text limit ({self.settings.max_texts})",
            )
        characters = sum(map(len, texts))
        if characters > self.settings.max_characters:
            limit = self.settings.max_characters
            raise ServeError(413, "too_long", f"Invalid request: request ({characters}) exceeds text limit ({limit})")
        for number, text in enumerate(texts):
            if any("\ud800" <= character <= "\udfff" for character in text):
                raise ServeError(400, "invalid", f"text {number + 1} holds half a character (a lone surrogate).")
        return characters

    def admit(self, caller: Caller, texts: list[str]) -> None:
        """Check texts of ``caller`` against limits and quota, and count them."""
        self._spend(caller, self.check_size(texts))

    def work(self, caller: Caller, ask: Ask, emit: Emit | None = None) -> Work:
        """A request of ``caller``, checked against limits and quota."""
        characters = self.check_size(ask.texts)
        work = Work(self.dispatcher, self.database, self.model, caller.owner, ask, emit)
        self._spend(caller, characters)
        return work

    async def translate(self, request: Request, caller: Caller, ask: Ask) -> "tuple[Work, list[Answer]]":
        """Translate for a client; drop it when the client goes.

        Raises:
            ServeError: what :meth:`work` and :meth:`Work.run` raise.
        """
        work = await self.in_thread(self.work, caller, ask)
        watch = asyncio.create_task(self._cancel_when_gone(request, work))
        try:
            return work, await self.in_thread(work.run)
        except asyncio.CancelledError:
            work.cancel()
            raise
        finally:
            watch.cancel()

    async def in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Run what may wait for the engine in a thread; other work has threads of its own."""
        return await to_thread.run_sync(function, *arguments, limiter=self.waiters)

    def _spend(self, caller: Caller, characters: int) -> None:
        self.access.spend(caller, characters)
        self.metrics.characters.inc(characters)

    async def _cancel_when_gone(self, request: Request, work: Work) -> None:
        await request.body()  # what comes after it is the news that the client has gone
        while (await request.receive())["type"] != "http.disconnect":
            pass
        work.cancel()


def server_of(request: Request) -> Server:
    """The server that a request came to."""
    return request.app.state.server


def model_name(folder: Path) -> str:
    """A name that changes with the weights."""
    digest = hashlib.sha256()
    for name in ("config.json", "model.safetensors"):
        if (folder / name).is_file():
            with (folder / name).open("rb") as file:
                while block := file.read(1 << 20):
                    digest.update(block)
    return f"{folder.name}-{digest.hexdigest()[:8]}"

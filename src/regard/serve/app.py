"""The application: parts put together, routes, and the page."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.staticfiles import StaticFiles

from regard import __version__
from regard.serve import problems
from regard.serve.access import Access
from regard.serve.background import Background
from regard.serve.dispatch import Dispatcher
from regard.serve.gate import Gate
from regard.serve.judging import Judge
from regard.serve.learning import Learning
from regard.serve.logs import log
from regard.serve.metrics import Metrics
from regard.serve.server import Server, model_name
from regard.serve.settings import Settings
from regard.serve.store.database import Database

_DESCRIPTION = """
Regard's own API is below `/v1`; LibreTranslate's dialect is at the root and DeepL's below `/v2`.
An error is `{"error": "what was wrong and what to do", "code": "a_word"}`.
"""


def create_app(settings: Settings | None = None) -> FastAPI:
    """A server, ready to be run by uvicorn; it starts to load the model when it is started.

    Args:
        settings: where it keeps what; by default the user's own.

    Raises:
        RegardError: the model's folder or the database cannot be used.
    """
    from regard.tasks.translation import shipped_model

    settings = settings or Settings()
    model = settings.model or shipped_model()
    database = Database(settings.database_url)
    learning: Learning | None = None

    def load(adapter: str | None):
        assert learning is not None
        return learning.load(adapter)

    dispatcher = Dispatcher(load, queue_characters=settings.queue_characters)
    metrics = Metrics(dispatcher)
    server = Server(settings, database, dispatcher, Access(settings, database), metrics, model=model_name(Path(model)))
    server.judge = Judge(dispatcher)
    server.background = Background(server)
    server.learning = learning = Learning(server)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        await server.in_thread(database.upgrade)
        dispatcher.start()
        server.background.start()
        server.learning.start()
        log("started", version=__version__, database=database.kind, model=server.model)
        yield
        await server.in_thread(server.learning.stop)
        await server.in_thread(server.background.stop)
        await server.in_thread(dispatcher.stop)
        database.close()

    app = FastAPI(
        title="Regard",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.server = server
    app.add_middleware(Gate, settings=settings, metrics=metrics)
    problems.install(app)
    add_routes(app)
    add_page(app)
    return app


def add_routes(app: FastAPI) -> None:
    """All dialects."""
    from regard.serve.api import (
        corrections,
        deepl,
        dictionary,
        documents,
        glossaries,
        keys,
        learning,
        libretranslate,
        memory,
        projects,
        status,
        translate,
    )

    for module in (
        translate,
        memory,
        glossaries,
        dictionary,
        projects,
        documents,
        corrections,
        learning,
        keys,
        status,
        libretranslate,
        deepl,
    ):
        app.include_router(module.router)


def add_page(app: FastAPI) -> None:
    """The web page, where the package has it built; whatever no route takes is looked for there."""
    folder = Path(str(files("regard.serve") / "web"))
    if folder.is_dir():
        app.mount("/", StaticFiles(directory=folder, html=True), name="page")

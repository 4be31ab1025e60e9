"""/health, /ready, /metrics, /v1/status and /docs: how the server is, for programs and for people."""

import html
import time
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import HTMLResponse, JSONResponse, Response

from regard import __version__
from regard.serve.api.common import Ours, Reader, secret_of
from regard.serve.settings import is_loopback
from regard.serve.store import adapters

router = APIRouter(tags=["status"])


@router.get("/health")
async def health() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok"}


@router.get("/ready")
def ready(server: Ours) -> JSONResponse:
    """Whether it can translate: the model is loaded and the database answers."""
    engine, database = server.dispatcher.state, "ready" if server.database.check() else "unavailable"
    good = engine == database == "ready"
    values = {"status": "ready" if good else "unavailable", "engine": engine, "database": database}
    return JSONResponse(values, 200 if good else 503)


@router.get("/metrics")
def metrics(request: Request, server: Ours) -> Response:
    """Numbers for Prometheus: on this machine for everybody, elsewhere for admins."""
    if not (server.settings.on_loopback and is_loopback(request.state.address)):
        server.access.identify(secret_of(request), request.state.address).need("admin")
    return Response(server.metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/v1/status")
def status(server: Ours, caller: Reader) -> dict[str, Any]:
    """Model, engine, store, limits, and what the caller may do."""
    engine, settings = server.dispatcher, server.settings
    uptime = time.monotonic() - server.started
    with server.database.read() as session:
        found = adapters.listed(session, caller.owner)
    translator = engine.translator
    return {
        "version": __version__,
        "ready": engine.ready,
        "owner": caller.owner,
        "scopes": sorted(caller.scopes),
        "keys_required": settings.keys_required,
        "model": {"name": server.model, "directions": translator.directions if translator else []},
        "engine": {
            "state": engine.state,
            "waiting": engine.waiting,
            "running": engine.running,
            "characters_waiting": engine.characters_waiting,
            "restarts": engine.restarts,
            "sentences": engine.sentences_done,
            "sentences_per_second": round(engine.sentences_done / max(uptime, 1e-3), 2),
            "uptime": round(uptime, 1),
        },
        "database": {"kind": server.database.kind, "ready": True},
        "limits": {
            "characters": settings.max_characters,
            "texts": settings.max_texts,
            "alternatives": 5,
            "file_bytes": settings.max_file,
        },
        "formats": server.background.formats,
        "adapters": [{"id": a.id, "source": a.source, "target": a.target, "active": a.active} for a in found],
        "learning": server.learning.available,
    }


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """The API for reading, without a script or anything from elsewhere."""
    schema = request.app.openapi()
    rows = []
    for path, operations in sorted(schema["paths"].items()):
        for method, operation in operations.items():
            cells = (method.upper(), path, operation.get("description", operation.get("summary", "")))
            rows.append("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>")
    page = (
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>Regard: the API</title>'
        f"<h1>Regard {html.escape(__version__)}: the API</h1><p>For programs: "
        '<a href="openapi.json">openapi.json</a></p><table>' + "\n".join(rows) + "</table></html>"
    )
    return HTMLResponse(page)

"""/v1/learn and /v1/adapters: corrections into weights, with a gate and a way back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import Field

from regard.serve.api.common import Body, Learner, Ours, Page, Reader
from regard.serve.errors import not_found
from regard.serve.store import adapters
from regard.serve.store.tables import Adapter, Run

router = APIRouter(prefix="/v1", tags=["learning"])


class DirectionBody(Body):
    """A direction of translation."""

    source: str = Field(max_length=20, examples=["en"])
    target: str = Field(max_length=20, examples=["de"])


@router.post("/learn", status_code=202)
def learn(body: DirectionBody, server: Ours, caller: Learner) -> dict[str, Any]:
    """Train an adapter from this owner's corrections; it is used only if it helps and does no harm."""
    source, target = server.directions.check(body.source, body.target)
    return run_values(server.learning.begin(caller.owner, source, target))


@router.get("/learn/{run}")
def run(run: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """How far a run is, and what came of it."""
    with server.database.read() as session:
        found = session.get(Run, run)
    if found is None or found.owner != caller.owner:
        raise not_found("run")
    return run_values(found)


@router.get("/adapters")
def listed(
    server: Ours,
    caller: Reader,
    page: Annotated[Page, Depends()],
    source: Annotated[str | None, Query(max_length=20)] = None,
    target: Annotated[str | None, Query(max_length=20)] = None,
) -> dict[str, Any]:
    """Adapters, newest first."""
    with server.database.read() as session:
        return page.of([adapter_values(a) for a in adapters.listed(session, caller.owner, source, target)])


@router.post("/adapters/rollback")
def roll_back(body: DirectionBody, server: Ours, caller: Learner) -> dict[str, Any]:
    """Go back to what was used before: an earlier adapter, or the model as it is."""
    source, target = server.directions.check(body.source, body.target)
    with server.database.write() as session:
        found = adapters.roll_back(session, caller.owner, source, target)
        return {"active": adapter_values(found) if found else None}


@router.post("/adapters/{adapter}/activate")
def activate(adapter: str, server: Ours, caller: Learner) -> dict[str, Any]:
    """Use an adapter from the next sentence on."""
    with server.database.write() as session:
        found = adapters.get(session, caller.owner, adapter)
        adapters.activate(session, found)
        return adapter_values(found)


@router.delete("/adapters/{adapter}", status_code=204)
def remove(adapter: str, server: Ours, caller: Learner) -> None:
    """Delete an adapter; where it was in use, the model translates as it is."""
    server.learning.remove(caller.owner, adapter)


def adapter_values(adapter: Adapter) -> dict[str, Any]:
    """What JSON says of an adapter."""
    return {
        "id": adapter.id,
        "source": adapter.source,
        "target": adapter.target,
        "active": adapter.active,
        "created": adapter.created,
        "corrections": adapter.corrections,
        "report": adapter.report,
    }


def run_values(run: Run) -> dict[str, Any]:
    """What JSON says of a run."""
    return {
        "id": run.id,
        "source": run.source,
        "target": run.target,
        "state": run.state,
        "progress": run.progress,
        "corrections": run.corrections,
        "adapter": run.adapter,
        "report": run.report,
        "error": run.error,
        "created": run.created,
    }

"""/v1/learn and /v1/adapters: corrections into weights, with a gate and a way back."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends

from regard.serve.api.common import DirectedBody, Learner, Narrowed, Ours, Page, Reader, values_of
from regard.serve.store import adapters, runs
from regard.serve.store.tables import Adapter, Run

router = APIRouter(prefix="/v1", tags=["learning"])


@router.post("/learn", status_code=202)
def learn(body: DirectedBody, server: Ours, caller: Learner) -> dict[str, Any]:
    """Train an adapter from this owner's corrections; it is used only if it helps and does no harm."""
    source, target = body.direction(server)
    return run_values(server.learning.begin(caller.owner, source, target))


@router.get("/learn")
def learnt(
    server: Ours, caller: Reader, page: Annotated[Page, Depends()], pair: Annotated[Narrowed, Depends()]
) -> dict[str, Any]:
    """Runs, newest first: what was tried, and what came of it."""
    with server.database.read() as session:
        found, total = runs.listed(session, caller.owner, pair.source, pair.target, page.offset, page.limit)
    return page.of([run_values(run) for run in found], total)


@router.get("/learn/{run}")
def run(run: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """How far a run is, and what came of it."""
    with server.database.read() as session:
        return run_values(runs.get(session, caller.owner, run))


@router.get("/adapters")
def listed(
    server: Ours, caller: Reader, page: Annotated[Page, Depends()], pair: Annotated[Narrowed, Depends()]
) -> dict[str, Any]:
    """Adapters, newest first."""
    with server.database.read() as session:
        found = adapters.listed(session, caller.owner, pair.source, pair.target)
    return page.of([adapter_values(adapter) for adapter in found])


@router.post("/adapters/rollback")
def roll_back(body: DirectedBody, server: Ours, caller: Learner) -> dict[str, Any]:
    """Go back to what was used before: an earlier adapter, or the model as it is."""
    source, target = body.direction(server)
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
    return values_of(adapter, "id source target active created corrections report")


def run_values(run: Run) -> dict[str, Any]:
    """What JSON says of a run."""
    return values_of(run, "id source target state progress corrections adapter report error created")

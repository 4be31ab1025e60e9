"""/v1/keys: API keys."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import Field

from regard.serve.api.common import Admin, Body, Ours, Page, values_of
from regard.serve.store import keys
from regard.serve.store.tables import Key

router = APIRouter(prefix="/v1/keys", tags=["keys"])


class KeyBody(Body):
    """A new key."""

    name: str = Field(min_length=1, max_length=200, examples=["Weblate"])
    owner: str = Field(min_length=1, max_length=64, pattern=r"^[\w.@-]+$", examples=["team"])
    scopes: list[Literal["translate", "write", "learn", "admin"]] = Field(["translate"], min_length=1, max_length=4)
    characters_per_day: int | None = Field(None, ge=1, le=10**15)
    requests_per_minute: int | None = Field(None, ge=1, le=10**6)


@router.get("")
def listed(server: Ours, caller: Admin, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """All keys; their secrets are known to nobody but those who have them."""
    with server.database.read() as session:
        return page.of([_values(key) for key in keys.listed(session)])


@router.post("", status_code=201)
def create(body: KeyBody, server: Ours, caller: Admin) -> dict[str, Any]:
    """A new key; the answer is the only place where its secret stands."""
    with server.database.write() as session:
        key, secret = keys.create(session, **body.model_dump())
        return _values(key) | {"secret": secret}


@router.delete("/{key}", status_code=204)
def revoke(key: str, server: Ours, caller: Admin) -> None:
    """Let a key open nothing any more."""
    with server.database.write() as session:
        keys.revoke(session, key)


def _values(key: Key) -> dict[str, Any]:
    return values_of(key, "id name owner scopes characters_per_day requests_per_minute created last_used revoked")

"""What the routes share: the caller, pages of lists, and strict bodies."""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from regard.serve.access import Caller
from regard.serve.server import Server, server_of

Ours = Annotated[Server, Depends(server_of)]


class Body(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class DirectedBody(Body):
    """A body that names a direction of translation."""

    source: str = Field(max_length=20, examples=["en"])
    target: str = Field(max_length=20, examples=["de"])

    def direction(self, server: Server) -> tuple[str, str]:
        """Our codes of the two languages.

        Raises:
            ServeError: 400, there is no such direction.
        """
        return server.directions.check(self.source, self.target)


class Narrowed:
    """The direction that a list is narrowed to; a language that is not named is any."""

    def __init__(
        self,
        source: Annotated[str | None, Query(max_length=20)] = None,
        target: Annotated[str | None, Query(max_length=20)] = None,
    ):
        self.source, self.target = source, target


class Page:
    """Which part of a list."""

    def __init__(
        self, offset: Annotated[int, Query(ge=0, le=10**9)] = 0, limit: Annotated[int, Query(ge=1, le=500)] = 50
    ):
        self.offset, self.limit = offset, limit

    def of(self, items: list[Any], total: int | None = None) -> dict[str, Any]:
        """The answer: ``items`` are the page already where ``total`` is given, else all there are."""
        if total is None:
            items, total = items[self.offset : self.offset + self.limit], len(items)
        return {"items": items, "total": total}


def values_of(row: Any, names: str) -> dict[str, Any]:
    """What JSON says of a row: those of its columns that are named, in that order."""
    return {name: getattr(row, name) for name in names.split()}


def secret_of(request: Request) -> str | None:
    """The key that came with a request, in any of the headers that clients use."""
    authorization = request.headers.get("authorization", "")
    kind, _, secret = authorization.partition(" ")
    if kind.lower() in ("bearer", "deepl-auth-key") and secret.strip():
        return secret.strip()
    return request.headers.get("x-api-key") or None


def needs(scope: str) -> Callable[[Request], Caller]:
    """A dependency that is the caller, who must have ``scope``."""

    def caller(request: Request) -> Caller:
        found = server_of(request).access.identify(secret_of(request), request.state.address)
        found.need(scope)
        return found

    return caller


Reader = Annotated[Caller, Depends(needs("translate"))]
Writer = Annotated[Caller, Depends(needs("write"))]
Learner = Annotated[Caller, Depends(needs("learn"))]
Admin = Annotated[Caller, Depends(needs("admin"))]

"""What every request passes on its way in, and every answer on its way out."""

import time
import uuid
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from regard.serve.errors import ServeError
from regard.serve.logs import log
from regard.serve.metrics import Metrics
from regard.serve.problems import error_response
from regard.serve.settings import Settings, is_loopback

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; media-src 'self' blob:; worker-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
}
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_METHODS = _SAFE | {"POST", "PUT", "PATCH", "DELETE"}


class Gate:
    """Refuses what comes from elsewhere or is too large; counts, times and logs the rest."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics):
        self._app, self._settings, self._metrics = app, settings, metrics
        self._hosts = {host.lower() for host in settings.allow_host} | {settings.host.lower()}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allow_origin}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        scope["state"]["address"] = self._address(scope, headers)
        scope["state"]["request_id"] = request_id = uuid.uuid4().hex[:12]
        start, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._add_headers(message, headers, request_id)
            await send(message)

        problem = self._refusal(scope, headers)
        try:
            if problem is not None:
                await error_response(scope["path"], problem)(scope, receive, answer)
            elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
                await Response(status_code=204)(scope, receive, answer)
            else:
                await self._app(scope, self._limited(receive, headers), answer)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            seconds = time.perf_counter() - start
            method = scope["method"] if scope["method"] in _METHODS else "other"  # a client may make up any
            self._metrics.requests.labels(method, route, status).inc()
            self._metrics.seconds.labels(route).observe(seconds)
            log(
                "request",
                id=request_id,
                method=method,
                route=route,
                status=status,
                ms=round(1000 * seconds, 1),
            )

    def _refusal(self, scope: Scope, headers: dict[str, str]) -> ServeError | None:
        host = urlsplit("//" + headers.get("host", "")).hostname or ""
        # A page elsewhere may point its own name at this machine's loopback address (DNS rebinding).
        if self._settings.on_loopback and not (is_loopback(host) or host in self._hosts):
            return ServeError(403, "bad_host", "this server is not called by that name. Allow it with --allow-host.")
        origin = headers.get("origin", "").lower().rstrip("/")
        if origin and scope["method"] not in _SAFE and not self._is_own(origin, headers):
            return ServeError(403, "bad_origin", "web pages elsewhere may not call this server. See --allow-origin.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > self._most_bytes(headers):
            return ServeError(413, "too_long", f"the request is larger than {self._most_bytes(headers):,} bytes.")
        return None

    def _is_own(self, origin: str, headers: dict[str, str]) -> bool:
        return origin in self._origins or urlsplit(origin).netloc == headers.get("host", "").lower()

    def _most_bytes(self, headers: dict[str, str]) -> int:
        multipart = headers.get("content-type", "").lower().startswith("multipart/form-data")
        return self._settings.max_file + 10_000 if multipart else self._settings.max_body

    def _limited(self, receive: Receive, headers: dict[str, str]) -> Receive:
        """Count what really comes: a chunked request names no length."""
        most, seen = self._most_bytes(headers), 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > most:
                    raise HTTPException(413, f"the request is larger than {most:,} bytes.")
            return message

        return counted

    def _add_headers(self, message: Message, headers: dict[str, str], request_id: str) -> None:
        more: dict[str, Any] = {**_HEADERS, "x-request-id": request_id}
        origin = headers.get("origin", "").lower().rstrip("/")
        if origin in self._origins:
            more |= {
                "access-control-allow-origin": headers["origin"],
                "access-control-allow-headers": "authorization, content-type",
                "access-control-allow-methods": "GET, POST, PUT, PATCH, DELETE",
                "vary": "origin",
            }
        there = {name for name, _ in message["headers"]}
        extra = [(k.encode(), v.encode()) for k, v in more.items() if k.encode() not in there]
        message["headers"] = [*message["headers"], *extra]

    def _address(self, scope: Scope, headers: dict[str, str]) -> str:
        """The client's address: what the outermost proxy that we trust saw."""
        peer = scope["client"][0] if scope.get("client") else ""
        trusted = self._settings.trusted_proxies
        forwarded = [part.strip() for part in headers.get("x-forwarded-for", "").split(",") if part.strip()]
        return forwarded[-trusted] if trusted and len(forwarded) >= trusted else peer

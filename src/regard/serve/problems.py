"""Errors as answers, in the words of the dialect that was spoken."""

from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from regard.base.errors import RegardError
from regard.serve.errors import ServeError
from regard.serve.logs import log_failure

_CODES = {404: "not_found", 405: "method_not_allowed", 413: "too_long"}
#: Statuses that DeepL's clients know for what goes by 429 elsewhere.
_DEEPL_STATUS = {"quota_exceeded": 456, "busy": 529}


def error_response(path: str, error: ServeError) -> Response:
    """The answer that says ``error`` to a client of the dialect that ``path`` belongs to."""
    headers = {}
    message = str(error).encode("utf-8", errors="replace").decode("utf-8")  # it may quote half a character
    if error.retry_after is not None:
        headers["retry-after"] = str(max(1, round(error.retry_after)))
    if error.status == 401:
        headers["www-authenticate"] = "Bearer"
    if path.startswith("/v2/"):
        status = _DEEPL_STATUS.get(error.code, error.status)
        return JSONResponse({"message": message}, 403 if status == 401 else status, headers)
    body: dict[str, Any] = {"error": message, "code": error.code}
    if error.details:
        body["details"] = error.details
    # LibreTranslate's clients know a wrong key by 403.
    status = 403 if error.status == 401 and not path.startswith("/v1/") else error.status
    return JSONResponse(body, status, headers)


def install(app: FastAPI) -> None:
    """Let ``app`` answer every error so."""

    def regard_error(request: Request, error: Exception) -> Response:
        if not isinstance(error, ServeError):
            error = ServeError(400, "invalid", str(error))
        return error_response(request.url.path, error)

    def validation_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        return error_response(request.url.path, ServeError(422, "invalid", f"Invalid request: {message}."))

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = _CODES.get(error.status_code, "invalid")
        answer = error_response(request.url.path, ServeError(error.status_code, code, str(error.detail)))
        answer.headers.update(error.headers or {})
        return answer

    def unexpected(request: Request, error: Exception) -> Response:
        log_failure("unexpected", error, route=getattr(request.scope.get("route"), "path", "other"))
        return error_response(
            request.url.path, ServeError(500, "internal", "something went wrong here; it was logged.")
        )

    app.add_exception_handler(RegardError, regard_error)
    app.add_exception_handler(RequestValidationError, validation_error)
    app.add_exception_handler(HTTPException, http_error)
    app.add_exception_handler(Exception, unexpected)

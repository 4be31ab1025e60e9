"""``regard serve``: the translation server and its page."""

import dataclasses
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard.base.errors import RegardError
from regard.cli.arguments import parse
from regard.serve.settings import Settings

if TYPE_CHECKING:
    import uvicorn


@dataclass(frozen=True)
class Options(Settings):
    """Serve translations and the page on this machine, until Ctrl-C."""

    log: bool = False
    """Write a line of JSON for each request on standard error; never what was translated."""


def main(argv: Sequence[str]) -> int:
    """Serve until interrupted."""
    options = parse(Options, argv, prog="regard serve")
    from regard.serve.app import create_app
    from regard.serve.logs import log_to_stderr

    if options.log:
        log_to_stderr()
    values = {field.name: getattr(options, field.name) for field in dataclasses.fields(Settings)}
    with listening(options.host, options.port) as opened:
        # The port that was taken, not 0: it is part of what the server answers to.
        settings = Settings(**values | {"port": opened.getsockname()[1]})
        app = create_app(settings)
        app.state.server.database.upgrade()  # where it is not to be reached, this says so in one line
        print(f"Regard is at {address(settings)} (Ctrl-C ends it)", flush=True)
        if settings.keys_required:
            print("Everybody needs an API key. Make one with: regard keys add NAME", file=sys.stderr)
        server = make_server(app)
        server.run(sockets=[opened])
    return 0 if server.started else 1


def make_server(app: Any) -> "uvicorn.Server":
    """The HTTP server around the application."""
    import logging

    import uvicorn

    # Its tracebacks may quote what was translated; ours do not (regard.serve.logs).
    logging.getLogger("uvicorn.error").disabled = True
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        lifespan="on",
        timeout_keep_alive=30,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=64 * 1024,
        limit_concurrency=2048,
    )
    return uvicorn.Server(config)


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Raises:
        RegardError: the address cannot be used.
    """
    opened = None
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(where)
        opened.listen(2048)
    except OSError as error:
        if opened:
            opened.close()
        reason = error.strerror or error
        raise RegardError(f"cannot listen on {host}, port {port}: {reason}. Choose another --port.") from error
    return opened


def address(settings: Settings) -> str:
    """Where the page is."""
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"

"""``regard learn``: have a running server learn from its corrections, or go back to what it used before."""

import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from regard.base.errors import RegardError
from regard.cli.arguments import parse


@dataclass(frozen=True)
class Options:
    """Train an adapter from the corrections that a running server has, and use it if it helps and does no harm."""

    source: str
    """Language of the texts, such as en."""
    target: str
    """Language they are translated into."""
    server: str = "http://127.0.0.1:5000"
    """Address of the server."""
    key: str = ""
    """API key, where the server wants one."""
    rollback: bool = False
    """Learn nothing: go back to the adapter that was used before, or to the model as it is."""


def main(argv: Sequence[str]) -> int:
    """Learn; 0 when an adapter was admitted, 1 when not."""
    options = parse(Options, argv, prog="regard learn")
    direction = {"source": options.source, "target": options.target}
    if options.rollback:
        active = ask(options, "/v1/adapters/rollback", direction)["active"]
        print(f"now in use: {active['id'] if active else 'the model as it is'}")
        return 0
    run = ask(options, "/v1/learn", direction)
    print(f"learning from {run['corrections']} corrections", file=sys.stderr)
    while run["state"] in ("queued", "running"):
        time.sleep(1.0)
        run = ask(options, f"/v1/learn/{run['id']}")
    print(as_text(run))
    return 0 if run["state"] == "admitted" else 1


def as_text(run: dict[str, Any]) -> str:
    """What came of a run, for reading."""
    if run["state"] == "failed":
        return f"failed: {run['error']}"
    report = run["report"]
    lines = [f"{run['state']}: adapter {run['adapter']}" if run["adapter"] else str(run["state"])]
    for name, title in (("held_out", "held-out corrections"), ("general", "general sentences")):
        lines.append(f"  {title}: {report['metric']} {report[name + '_before']} → {report[name + '_after']}")
    for example in report["examples"]:
        lines += ["", f"  {example['source']}", f"  - {example['before']}", f"  + {example['after']}"]
    return "\n".join(lines)


def ask(options: Options, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One call of the server's API.

    Raises:
        RegardError: it cannot be reached, or says no.
    """
    if not options.server.startswith(("http://", "https://")):
        raise RegardError(f"'{options.server}' is not an address; write it like http://127.0.0.1:5000.")
    headers = {"content-type": "application/json"}
    if options.key:
        headers["authorization"] = f"Bearer {options.key}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(options.server.rstrip("/") + path, data, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            try:
                message = json.load(error)["error"]
            except (ValueError, KeyError):
                message = f"status {error.code}"
        raise RegardError(f"the server says: {message}") from None
    except urllib.error.URLError as error:
        raise RegardError(f"no server at {options.server}: {error.reason}. Start one with: regard serve") from None

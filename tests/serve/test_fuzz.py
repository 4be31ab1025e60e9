"""Whatever the OpenAPI document allows, and what it does not: no answer is a 5xx."""

from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from starlette.testclient import TestClient

# Waits for a file on purpose, or ends the session's own keys.
LEFT_OUT = ("/translate_file", "/v1/keys")


def calls() -> list[tuple[str, str]]:
    from regard.serve import Settings, create_app

    paths = create_app(Settings()).openapi()["paths"]
    return [(method.upper(), path) for path in sorted(paths) if not path.startswith(LEFT_OUT) for method in paths[path]]


@pytest.fixture(scope="module")
def schema(app_client: TestClient) -> Any:
    return schemathesis.openapi.from_dict(app_client.app.openapi())  # type: ignore[attr-defined]


@pytest.mark.parametrize(("method", "path"), calls())
def test_no_call_breaks_the_server(schema: Any, client: TestClient, method: str, path: str) -> None:
    @given(case=schema[path][method].as_strategy())
    @settings(
        max_examples=6,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def each(case: Any) -> None:
        arguments = case.as_transport_kwargs(base_url=str(client.base_url))
        arguments.pop("cookies", None)
        if files := arguments.get("files"):  # parts as the client writes them: a name, and text or bytes
            pairs = files.items() if isinstance(files, dict) else files
            arguments["files"] = [(name, written(value)) for name, value in pairs]
        answer = client.request(**arguments)
        assert answer.status_code < 500, answer.text

    each()


def written(value: Any) -> Any:
    """A form's value as a part of a multipart body."""
    if isinstance(value, tuple):
        return tuple(written(part) for part in value)
    return value if value is None or isinstance(value, str | bytes) else str(value)

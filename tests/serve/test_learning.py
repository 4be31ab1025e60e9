"""Corrections into an adapter: trained, judged, admitted or not, used without a restart, taken back."""

from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from regard.serve.learning import general_set, is_admitted
from regard.serve.store import adapters
from regard.serve.store.tables import Adapter

from .conftest import wait_until

DIRECTION = {"source": "en", "target": "de"}


@pytest.mark.parametrize(
    ("held_out", "general", "admitted"),
    [
        ((20, 25), (30, 30), True),
        ((20, 25), (30, 29.7), True),
        ((20, 25), (30, 29.6), False),
        ((20, 20), (30, 31), False),
    ],
)
def test_the_gate(held_out: tuple[float, float], general: tuple[float, float], admitted: bool) -> None:
    report = dict(
        zip(("held_out_before", "held_out_after", "general_before", "general_after"), held_out + general, strict=True)
    )
    assert is_admitted(report) is admitted


def test_the_general_set_is_there_for_every_direction_of_the_model(client: TestClient) -> None:
    for language in client.get("/v1/languages").json()["languages"]:
        for target in language["targets"]:
            assert len(general_set(None, language["code"], target)) >= 100


def test_too_few_corrections_say_how_many_are_missing(client: TestClient) -> None:
    answer = client.post("/v1/learn", json=DIRECTION)
    assert (answer.status_code, answer.json()["code"]) == (409, "too_few")
    assert answer.json()["details"]["missing"] == 10


@pytest.mark.slow
def test_a_run_from_corrections_to_a_report(client: TestClient, app_client: TestClient) -> None:
    words = ["ship", "house", "garden", "book", "table", "letter", "street", "window", "dog", "river", "tree", "chair"]
    for word in words:
        body = {**DIRECTION, "source_text": f"The {word} is old.", "text": f"Das Ding namens {word} ist alt."}
        assert client.post("/v1/corrections", json=body).json()["accepted"]
    run = client.post("/v1/learn", json=DIRECTION).json()
    assert run["state"] == "queued"
    assert client.post("/v1/learn", json=DIRECTION).json()["code"] == "running"
    path = f"/v1/learn/{run['id']}"
    done = wait_until(lambda: (r := client.get(path).json())["state"] not in ("queued", "running") and r, 120)
    assert done["state"] in ("admitted", "rejected"), done["error"]
    assert done["state"] == ("admitted" if is_admitted(done["report"]) else "rejected")
    assert done["report"]["held_out"] >= 1
    listed = client.get("/v1/adapters").json()["items"]
    assert [a["active"] for a in listed] == ([True] if done["state"] == "admitted" else [])
    folder = app_client.app.state.server.learning.folder(run["adapter"])  # type: ignore[attr-defined]
    assert folder.exists() is (done["state"] == "admitted")


def test_an_adapter_is_used_and_taken_back(client: TestClient, trained: Callable[[str], str]) -> None:
    """With weights that clearly change the translation: activation, choice by request, rollback, deletion."""
    body = {"text": "The bread is still warm.", **DIRECTION}

    def text(**more: str) -> str:
        return client.post("/v1/translate", json=body | more).json()["translations"][0]["text"]

    plain = text()
    adapter = trained(client.get("/v1/status").json()["owner"])
    assert text() == plain
    changed = text(adapter=adapter)
    assert changed != plain
    client.post(f"/v1/adapters/{adapter}/activate")
    sentence = client.post("/v1/translate", json=body).json()["translations"][0]["sentences"][0]
    assert (sentence["text"], sentence["adapter"]) == (changed, adapter)
    assert text(adapter="none") == plain
    assert client.post("/v1/adapters/rollback", json=DIRECTION).json() == {"active": None}
    assert text() == plain
    client.post(f"/v1/adapters/{adapter}/activate")
    client.delete(f"/v1/adapters/{adapter}")
    assert text() == plain
    assert client.post(f"/v1/adapters/{adapter}/activate").status_code == 404


@pytest.fixture
def trained(app_client: TestClient) -> Callable[[str], str]:
    """Makes an adapter of random weights, of a folder such as a run leaves behind."""

    def make(owner: str) -> str:
        import torch

        from regard.model.folder import load_model, model_hash
        from regard.tasks.translation import shipped_model
        from regard.tune import Lora, attach, parameters_of, save_adapter
        from regard.tune.adapters import short

        server = app_client.app.state.server  # type: ignore[attr-defined]
        model, _ = load_model(shipped_model())
        attach(model, Lora(rank=4), "x")
        weights = {short(n): 0.3 * torch.randn_like(p) for n, p in parameters_of(model, "x").items()}
        with server.database.write() as session:
            adapter = Adapter(owner=owner, **DIRECTION, corrections=1)
            session.add(adapter)
            session.flush()
            assert adapters.active(session, owner, "en", "de") is None
        save_adapter(
            server.learning.folder(adapter.id), Lora(rank=4), weights, base=model_hash(shipped_model()), about={}
        )
        return adapter.id

    return make

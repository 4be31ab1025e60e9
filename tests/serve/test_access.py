"""Who may do what: keys, scopes, owners, rates, quotas; and what the gate turns away."""

import dataclasses
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from regard.serve import Settings
from regard.serve.access import Access
from regard.serve.errors import ServeError
from regard.serve.store.database import Database

from .conftest import start, wait_until

NewOwner = Callable[..., TestClient]
HELLO = {"text": "Good morning.", "source": "en", "target": "de"}


def things_of(client: TestClient) -> list[tuple[str, str, dict[str, Any] | None]]:
    """Makes one of everything and returns (method, path, body) of every call that reaches it."""
    entry = {"source": "en", "target": "de", "source_text": "Hidden words.", "target_text": "Verborgene Worte."}
    memory = client.post("/v1/memory/entries", json=entry).json()["id"]
    terms = [{"source": "bread", "target": "Gebäck"}]
    glossary = client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms}).json()
    correction = {"source": "en", "target": "de", "source_text": "Hidden too.", "text": "Auch verborgen."}
    correction_id = client.post("/v1/corrections", json=correction).json()["id"]
    file = {"file": ("letter.txt", b"Good morning.")}
    document = client.post("/v1/documents", data={"source": "en", "target": "de"}, files=file).json()["id"]
    form = {"name": "D", "format": "tsv", "source": "en", "target": "de"}
    dictionary = client.post("/v1/dictionaries", data=form, files={"file": ("d.tsv", b"a\tb")}).json()["id"]
    project = client.post("/v1/projects", json={"name": "P", "source": "en", "target": "de", "text": "Hi."}).json()[
        "id"
    ]
    segment = client.get(f"/v1/projects/{project}/segments").json()["items"][0]["id"]
    g, t = f"/v1/glossaries/{glossary['id']}", glossary["terms"][0]["id"]
    d, p, s = f"/v1/documents/{document}", f"/v1/projects/{project}", f"/v1/segments/{segment}"
    return [
        ("DELETE", f"/v1/memory/entries/{memory}", None),
        ("GET", g, None),
        ("PATCH", g, {"name": "Mine"}),
        ("GET", f"{g}/export", None),
        ("POST", f"{g}/terms", terms[0]),
        ("DELETE", f"{g}/terms/{t}", None),
        ("DELETE", g, None),
        ("GET", f"/v2/glossaries/{glossary['id']}/entries", None),
        ("POST", "/v1/translate", HELLO | {"glossaries": [glossary["id"]]}),
        ("POST", f"/v1/corrections/{correction_id}/accept", None),
        ("DELETE", f"/v1/corrections/{correction_id}", None),
        ("GET", d, None),
        ("GET", f"{d}/result", None),
        ("GET", f"{d}/bilingual", None),
        ("POST", f"{d}/cancel", None),
        ("POST", f"{d}/resume", None),
        ("DELETE", d, None),
        ("POST", f"/v2/document/{document}", None),
        ("POST", f"/v2/document/{document}/result", None),
        ("DELETE", f"/v1/dictionaries/{dictionary}", None),
        ("GET", p, None),
        ("PATCH", p, {"name": "Mine"}),
        ("POST", f"{p}/translate", None),
        ("GET", f"{p}/segments", None),
        ("GET", f"{p}/export", None),
        ("DELETE", p, None),
        ("GET", s, None),
        ("PATCH", s, {"version": 1, "text": "Mine"}),
        ("POST", f"{s}/undo", {"version": 1}),
        ("GET", f"{s}/history", None),
        ("GET", f"{s}/comments", None),
        ("POST", f"{s}/comments", {"text": "Mine"}),
    ]


def test_what_belongs_to_another_is_not_there(new_owner: NewOwner) -> None:
    ann, bob = new_owner(), new_owner()
    for method, path, body in things_of(ann):
        answer = bob.request(method, path, json=body)
        assert answer.status_code == 404, f"{method} {path}: {answer.status_code} {answer.text}"
    for path in ("/v1/memory/entries", "/v1/glossaries", "/v1/corrections", "/v1/documents", "/v1/dictionaries"):
        assert ann.get(path).json()["total"] >= 1
        assert bob.get(path).json() == {"items": [], "total": 0}
    assert "Hidden" not in bob.get("/v1/memory/export").text
    search = {"text": "Hidden words.", "source": "en", "target": "de", "minimum": 1}
    assert bob.post("/v1/memory/search", json=search).json() == {"matches": []}
    assert (
        bob.post("/v1/translate", json=HELLO | {"text": "Hidden words."}).json()["translations"][0]["sentences"][0][
            "origin"
        ]
        == "machine"
    )


def test_two_keys_of_one_owner_share(new_owner: NewOwner) -> None:
    one, two = new_owner(owner="team"), new_owner(owner="team")
    one.post("/v1/glossaries", json={"name": "Shared", "source": "en", "target": "de"})
    assert two.get("/v1/glossaries").json()["total"] >= 1


@pytest.mark.parametrize(
    ("scope", "method", "path", "body"),
    [
        ("translate", "POST", "/v1/glossaries", {"name": "x", "source": "en", "target": "de"}),
        ("write", "POST", "/v1/learn", {"source": "en", "target": "de"}),
        ("write", "POST", "/v1/translate", HELLO),
        ("learn", "GET", "/v1/keys", None),
        ("write", "POST", "/v1/keys", {"name": "x", "owner": "x", "scopes": ["admin"]}),
    ],
)
def test_a_key_does_what_its_scopes_say(
    new_owner: NewOwner, scope: str, method: str, path: str, body: dict[str, Any] | None
) -> None:
    answer = new_owner(scope).request(method, path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (403, "not_allowed")


def test_a_revoked_key_opens_nothing(new_owner: NewOwner, app_client: TestClient) -> None:
    client = new_owner(owner="leaver")
    key = next(k for k in app_client.get("/v1/keys?limit=500").json()["items"] if k["owner"] == "leaver")
    assert client.get("/v1/status").json()["owner"] == "leaver"
    app_client.delete(f"/v1/keys/{key['id']}")
    answer = client.get("/v1/status")
    assert (answer.status_code, answer.json()["code"]) == (401, "key_invalid")


def test_a_listed_key_has_no_secret(new_owner: NewOwner, app_client: TestClient) -> None:
    secret = new_owner().headers["authorization"].removeprefix("Bearer ")
    assert secret not in app_client.get("/v1/keys?limit=500").text


def test_too_many_requests_are_told_when_to_come_again(new_owner: NewOwner) -> None:
    client = new_owner(requests_per_minute=3)
    answers = [client.get("/v1/status") for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 20


def test_a_quota_is_a_days_and_says_when_the_next_begins(new_owner: NewOwner) -> None:
    client = new_owner("translate", characters_per_day=20)
    assert client.post("/v1/translate", json=HELLO).status_code == 200
    answer = client.post("/v1/translate", json=HELLO)
    assert (answer.status_code, answer.json()["code"]) == (429, "quota_exceeded")
    assert int(answer.headers["retry-after"]) <= 86_400


def test_without_a_key_where_keys_are_required(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'r.sqlite3'}")
    database.upgrade()
    for settings, required in [
        (Settings(), False),
        (Settings(host="0.0.0.0"), True),
        (Settings(require_keys=True), True),
        (Settings(host="::1"), False),
    ]:
        access = Access(settings, database)
        if required:
            with pytest.raises(ServeError, match="needs an API key"):
                access.identify(None, "127.0.0.1")
        else:
            assert access.identify(None, "127.0.0.1").owner == "local"
        with pytest.raises(ServeError, match="unknown"):
            access.identify("rg_wrong", "127.0.0.1")
    database.close()


# ---- the gate


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "169.254.169.254", ""])
def test_other_names_for_this_machine_are_turned_away(app_client: TestClient, host: str) -> None:
    answer = app_client.get("/health", headers={"host": host})
    assert (answer.status_code, answer.json()["code"]) == (403, "bad_host")


@pytest.mark.parametrize("host", ["localhost:5000", "127.0.0.1", "[::1]:5000"])
def test_the_usual_names_are_taken(app_client: TestClient, host: str) -> None:
    assert app_client.get("/health", headers={"host": host}).status_code == 200


def test_pages_elsewhere_change_nothing(app_client: TestClient) -> None:
    form = {"q": "Good morning.", "source": "en", "target": "de"}
    for origin in ("https://evil.example", "null", "http://127.0.0.1:5001"):
        assert app_client.post("/translate", data=form, headers={"origin": origin}).status_code == 403
    assert app_client.post("/translate", data=form, headers={"origin": "http://127.0.0.1:5000"}).status_code == 200
    assert (
        "access-control-allow-origin" not in app_client.get("/health", headers={"origin": "https://x.example"}).headers
    )


def test_every_answer_has_a_strict_policy(app_client: TestClient) -> None:
    for path in ("/health", "/", "/docs", "/nothing/here", "/v1/status"):
        policy = app_client.get(path).headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "http:" not in policy
        assert app_client.get(path).headers["x-content-type-options"] == "nosniff"


def test_large_bodies_are_turned_away_also_without_a_length(app_client: TestClient) -> None:
    answer = app_client.post("/v1/translate", content=b" " * 2_000_001, headers={"content-type": "application/json"})
    assert answer.status_code == 413

    def chunks():  # a body whose length nobody says
        for _ in range(30):
            yield b" " * 100_000

    answer = app_client.post("/v1/translate", content=chunks(), headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (413, "too_long")


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/download_file/..%2f..%2fetc%2fpasswd",
        "/v1/documents/../keys/x",
    ],
)
def test_no_path_leads_out(app_client: TestClient, path: str) -> None:
    answer = app_client.get(path)
    assert answer.status_code in (400, 404, 405)
    assert "root:" not in answer.text


def test_the_address_behind_proxies(tmp_path: Path) -> None:
    """What a client writes into the header itself is to the left of what the proxies add."""
    from regard.serve.gate import Gate

    headers = {"x-forwarded-for": "6.6.6.6, 1.2.3.4, 10.0.0.1"}
    scope = {"client": ("10.0.0.2", 1)}
    for trusted, address in [(0, "10.0.0.2"), (1, "10.0.0.1"), (2, "1.2.3.4"), (4, "10.0.0.2")]:
        gate = Gate(lambda *a: None, Settings(trusted_proxies=trusted), None)  # type: ignore[arg-type]
        assert gate._address(scope, headers) == address


def test_metrics_are_for_this_machine_and_name_no_text(app_client: TestClient, client: TestClient) -> None:
    client.post("/v1/translate", json=HELLO | {"text": "Zanzibar."})
    page = TestClient(app_client.app, base_url="http://127.0.0.1:5000", client=("127.0.0.1", 1)).get("/metrics").text
    assert 'route="/v1/translate"' in page
    assert "Zanzibar" not in page
    assert client.headers["authorization"].removeprefix("Bearer ") not in page
    other = TestClient(app_client.app, base_url="http://127.0.0.1:5000", client=("10.1.1.1", 1))
    assert other.get("/metrics", headers={"authorization": "Bearer rg_wrong"}).status_code == 403


def test_methods_and_lengths_that_a_client_makes_up(app_client: TestClient) -> None:
    for number in range(3):
        assert app_client.request(f"MADEUP{number}", "/health").status_code in (404, 405)
    page = TestClient(app_client.app, base_url="http://127.0.0.1:5000", client=("127.0.0.1", 1)).get("/metrics").text
    assert "MADEUP" not in page
    assert 'method="other"' in page
    answer = app_client.post("/v1/detect", content=b"{}", headers={"content-length": "9" * 5000})
    assert answer.status_code == 413


def test_half_a_character_is_refused_in_every_dialect(app_client: TestClient) -> None:
    half = "\ud800"
    for path, body in [
        ("/translate", {"q": "x", "source": half, "target": "de"}),
        ("/v2/translate", {"text": ["x"], "target_lang": half}),
        ("/v2/glossaries", {"name": half, "source_lang": "en", "target_lang": "de", "entries": "a\tb"}),
        ("/v1/glossaries", {"name": half, "source": "en", "target": "de"}),
    ]:
        sent = json.dumps(body)  # with the half as an escape, which is how a client can send it
        answer = app_client.post(path, content=sent, headers={"content-type": "application/json"})
        assert 400 <= answer.status_code < 500, (path, answer.status_code)


def test_a_key_is_good_where_its_use_cannot_be_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from regard.serve.store import keys

    database = Database(f"sqlite:///{tmp_path / 'r.sqlite3'}")
    database.upgrade()
    with database.write() as session:
        _, secret = keys.create(session, "k", "ann", ["translate"])

    def full() -> None:
        raise ServeError(507, "disk_full", "there is no space left")

    monkeypatch.setattr(database, "write", full)
    assert Access(Settings(), database).identify(secret, "127.0.0.1").owner == "ann"
    database.close()


def test_logs_have_no_text(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    import logging

    with caplog.at_level(logging.INFO, logger="regard.serve"):
        client.post("/v1/translate", json=HELLO | {"text": "Zanzibar."})
        client.get("/v1/memory/entries?q=Zanzibar")
        client.post("/translate", params={"q": "Zanzibar", "source": "en", "target": "de"})
    records = [str(vars(record)) for record in caplog.records]
    assert len(records) >= 3
    assert not [record for record in records if "Zanzibar" in record]


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes")
def test_the_data_folder_is_for_its_user_alone(app_client: TestClient, tmp_path: Path) -> None:
    """Also where the database is elsewhere."""
    server = app_client.app.state.server  # type: ignore[attr-defined]
    moved = dataclasses.replace(server, settings=Settings(data=tmp_path / "data", database="sqlite://"))
    before = os.umask(0o022)
    try:
        files = moved.folder("files")
    finally:
        os.umask(before)
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (files, files.parent)] == [0o700, 0o700]


def test_a_store_from_before_is_there_again(tmp_path: Path, shipped_model: Path) -> None:
    for value, total in (("Guten Tag.", 0), ("Hallo.", 1)):
        with start(Settings(data=tmp_path)) as client:
            wait_until(lambda: client.get("/ready").status_code == 200)
            assert client.get("/v1/memory/entries").json()["total"] == total
            entry = {"source": "en", "target": "de", "source_text": "Hello.", "target_text": value}
            assert client.post("/v1/memory/entries", json=entry).status_code == 201

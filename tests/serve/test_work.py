"""Projects, documents, memory, glossaries and dictionaries through the API, as a translator uses them."""

import io
import zipfile
from typing import Any

import pytest
from starlette.testclient import TestClient

from .conftest import wait_until

TEXT = "The bread is still warm. Try it!\n\nMy brother works in a hospital."


def new_project(client: TestClient, **more: Any) -> dict[str, Any]:
    body = {"name": "Leaflet", "source": "en", "target": "de", "text": TEXT, **more}
    answer = client.post("/v1/projects", json=body)
    assert answer.status_code == 201, answer.text
    path = f"/v1/projects/{answer.json()['id']}"
    return wait_until(lambda: (p := client.get(path).json())["state"] == "ready" and p)


def upload(client: TestClient, name: str, data: bytes, source: str = "en", target: str = "de") -> dict[str, Any]:
    answer = client.post("/v1/documents", data={"source": source, "target": target}, files={"file": (name, data)})
    assert answer.status_code == 202, answer.text
    path = f"/v1/documents/{answer.json()['id']}"
    return wait_until(lambda: (d := client.get(path).json())["state"] in ("done", "failed") and d)


def test_a_project_from_text_to_text(client: TestClient) -> None:
    project = new_project(client)
    assert project["segments"] == {"total": 3, "empty": 0, "machine": 3, "memory": 0, "draft": 0, "confirmed": 0}
    path = f"/v1/projects/{project['id']}"
    segments = client.get(f"{path}/segments").json()["items"]
    assert [s["source_text"] for s in segments] == [
        "The bread is still warm.",
        "Try it!",
        "My brother works in a hospital.",
    ]
    assert all(s["status"] == "machine" and 0 < s["confidence"] <= 1 for s in segments)
    confident = [s["confidence"] for s in client.get(f"{path}/segments?order=confidence").json()["items"]]
    assert confident == sorted(confident)

    saved = client.patch(
        f"/v1/segments/{segments[1]['id']}",
        json={"version": segments[1]["version"], "text": "Probier!", "seconds": 2.5},
    ).json()
    assert (saved["status"], saved["origin"], saved["edit_seconds"]) == ("draft", "human", 2.5)
    assert saved["edit_distance"] > 0
    done = client.patch(
        f"/v1/segments/{segments[1]['id']}", json={"version": saved["version"], "status": "confirmed"}
    ).json()
    assert done["correction"]["accepted"]
    assert client.get(path).json()["segments"]["confirmed"] == 1
    found = client.post("/v1/memory/search", json={"text": "Try it!", "source": "en", "target": "de"}).json()["matches"]
    assert (found[0]["match"], found[0]["target_text"]) == (100, "Probier!")

    text = client.get(f"{path}/export").text
    assert "Probier!\n\n" in text
    assert client.get(f"{path}/export?format=bilingual").text.splitlines()[0] == "source,target"
    assert "Probier!" in client.get(f"{path}/export?format=tmx").text
    assert client.get(f"{path}/export?format=document").status_code == 400
    again = new_project(client)
    assert again["segments"]["memory"] == 1


def test_a_conflict_shows_both(client: TestClient) -> None:
    project = new_project(client, text="Good morning.")
    segment = client.get(f"/v1/projects/{project['id']}/segments").json()["items"][0]
    path = f"/v1/segments/{segment['id']}"
    first = client.patch(path, json={"version": segment["version"], "text": "Morgen!"}).json()
    answer = client.patch(path, json={"version": segment["version"], "text": "Tag!"})
    assert answer.status_code == 409
    details = answer.json()["details"]
    assert details["mine"]["text"] == "Tag!"
    assert details["theirs"] | {"text": "Morgen!", "version": first["version"]} == details["theirs"]
    won = client.patch(path, json={"version": details["theirs"]["version"], "text": "Tag!"}).json()
    back = client.post(f"{path}/undo", json={"version": won["version"]}).json()
    assert (back["text"], back["can_redo"]) == ("Morgen!", True)
    assert client.post(f"{path}/redo", json={"version": back["version"]}).json()["text"] == "Tag!"
    assert [h["text"] for h in client.get(f"{path}/history").json()["items"]][1:] == ["Morgen!", "Tag!"]
    client.post(f"{path}/comments", json={"text": "Too short?"})
    assert client.get(path).json()["comments"] == 1
    assert client.get(f"{path}/comments").json()["items"][0]["text"] == "Too short?"


def test_a_file_as_a_project(client: TestClient) -> None:
    html = b"<h1>Good morning</h1><p>The <b>bread</b> is still warm.</p>"
    form = {"name": "Page", "source": "en", "target": "de"}
    answer = client.post("/v1/projects", data=form, files={"file": ("page.html", html)})
    path = f"/v1/projects/{answer.json()['id']}"
    wait_until(lambda: client.get(path).json()["state"] == "ready")
    segments = client.get(f"{path}/segments").json()["items"]
    assert segments[1]["source_text"] == "The <1>bread</1> is still warm."
    client.patch(
        f"/v1/segments/{segments[1]['id']}", json={"version": segments[1]["version"], "text": "Das <1>Brot</1> ist da."}
    )
    assert "<p>Das <b>Brot</b> ist da.</p>" in client.get(f"{path}/export?format=document").text


def docx(*paragraphs: str) -> bytes:
    body = "".join(f"<w:p><w:r><w:t>{p}</w:t></w:r></w:p>" for p in paragraphs)
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", f'<w:document xmlns:w="{word}"><w:body>{body}</w:body></w:document>')
    return out.getvalue()


def test_documents_come_back_translated(client: TestClient) -> None:
    files = {
        "letter.txt": b"Good night.\n\nThe bread is still warm.\n",
        "page.html": b"<p>The <b>bread</b> is still warm.</p>",
        "letter.docx": docx("Good night.", "The bread is still warm."),
        "data.json": b'{"title": "The bread is still warm.", "count": 3}',
    }
    for name, data in files.items():
        document = upload(client, name, data)
        assert document["state"] == "done", document
        assert document["segments"]["translated"] == document["segments"]["total"] > 0
        result = client.get(f"/v1/documents/{document['id']}/result")
        assert result.status_code == 200
        assert name.partition(".")[0] + ".de." in result.headers["content-disposition"]
        content = result.content
        if name.endswith("docx"):
            content = zipfile.ZipFile(io.BytesIO(content)).read("word/document.xml")
        assert b"night" not in content
        assert b"bread" not in content
        assert "Brot" in content.decode()
        rows = client.get(f"/v1/documents/{document['id']}/bilingual").text.splitlines()
        assert len(rows) == 1 + document["segments"]["total"]


def test_a_line_break_in_a_paragraph_divides_words(client: TestClient, warm_bread: str) -> None:
    data = docx("Good night.</w:t><w:br/><w:t>The bread is still warm.")
    document = upload(client, "break.docx", data)
    result = client.get(f"/v1/documents/{document['id']}/result").content
    content = zipfile.ZipFile(io.BytesIO(result)).read("word/document.xml").decode()
    assert content.count("<w:br/>") == 1
    assert warm_bread in content.partition("<w:br/>")[2]


def test_what_stayed_the_same_is_listed(client: TestClient) -> None:
    entry = {"source": "en", "target": "de", "source_text": "Okay then.", "target_text": "Okay then."}
    client.post("/v1/memory/entries", json=entry)
    document = upload(client, "a.txt", b"Okay then.\n\nGood morning.")
    assert document["unchanged"] == [{"position": 0, "text": "Okay then."}]


def test_a_document_is_cancelled_and_goes_on(client: TestClient) -> None:
    data = "\n\n".join(f"Please open the door number {i} now." for i in range(30)).encode()
    answer = client.post("/v1/documents", data={"source": "en", "target": "de"}, files={"file": ("l.txt", data)})
    path = f"/v1/documents/{answer.json()['id']}"
    assert client.get(f"{path}/result").status_code == 409
    assert client.post(f"{path}/cancel").json()["state"] == "cancelled"
    assert client.post(f"{path}/cancel").status_code == 409
    assert client.post(f"{path}/resume").json()["state"] in ("queued", "running")
    done = wait_until(lambda: (d := client.get(path).json())["state"] == "done" and d)
    assert done["segments"] == {"total": 30, "translated": 30}
    client.delete(path)
    assert client.get(path).status_code == 404


BOMB = io.BytesIO()
with zipfile.ZipFile(BOMB, "w", zipfile.ZIP_DEFLATED) as _archive:
    _archive.writestr("word/document.xml", b" " * 300_000_000)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("bomb.docx", BOMB.getvalue()),
        ("no.docx", b"this is no archive"),
        ("cut.docx", docx("Hello.")[:100]),
        ("evil.xlf", b'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><xliff version="1.2">&e;</xliff>'),
        ("laughs.xlf", b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><xliff version="1.2">&b;</xliff>'),
        ("broken.json", b"{"),
        ("what.exe", b"MZ"),
        ("noname", b"x"),
        ("../../etc/cron.d/evil", b"x"),
    ],
)
def test_hostile_files_are_refused(client: TestClient, name: str, data: bytes) -> None:
    answer = client.post("/v1/documents", data={"source": "en", "target": "de"}, files={"file": (name, data)})
    assert answer.status_code == 400, answer.text
    assert "root:" not in answer.text
    assert client.get("/v1/documents").json()["total"] == 0


def test_memory_through_tmx(client: TestClient) -> None:
    entry = {"source": "en", "target": "de", "source_text": "Good night.", "target_text": "Nacht!"}
    client.post("/v1/memory/entries", json=entry)
    data = client.get("/v1/memory/export").content
    client.delete(f"/v1/memory/entries/{client.get('/v1/memory/entries').json()['items'][0]['id']}")
    assert client.get("/v1/memory/entries").json()["total"] == 0
    answer = client.post("/v1/memory/import", files={"file": ("m.tmx", data)})
    assert answer.json() == {"added": 1, "replaced": 0, "skipped": 0}
    entries = client.get("/v1/memory/entries?q=night&source=en&target=de").json()
    assert entries["items"][0] | entry | {"origin": "import"} == entries["items"][0]
    bad = client.post("/v1/memory/import", files={"file": ("m.tmx", b"<!DOCTYPE tmx [<!ENTITY a 'b'>]><tmx/>")})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid")


def test_glossary_through_csv(client: TestClient) -> None:
    glossary = client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de"}).json()
    path = f"/v1/glossaries/{glossary['id']}"
    csv = b"source,target,note\nbread,Brot,\nroll,Semmel,Austrian\n"
    assert client.post(f"{path}/import", files={"file": ("g.csv", csv)}).json()["added"] == 2
    for kind in ("csv", "tbx"):
        exported = client.get(f"{path}/export?format={kind}").content
        assert client.post(f"{path}/import", files={"file": (f"g.{kind}", exported)}).json()["replaced"] == 2
    terms = client.get(path).json()["terms"]
    assert [(t["source"], t["target"], t["note"]) for t in terms] == [
        ("bread", "Brot", ""),
        ("roll", "Semmel", "Austrian"),
    ]


def test_a_word_in_its_context(client: TestClient) -> None:
    form = {"name": "Mine", "format": "tsv", "source": "en", "target": "de"}
    loaded = client.post("/v1/dictionaries", data=form, files={"file": ("d.tsv", b"bank\tBank; Ufer\n")}).json()
    assert loaded["size"] == 1
    for source_text, target_text in [
        ("He went to the bank to get money.", "Er ging zur Bank, um Geld zu holen."),
        ("She sat on the bank of the river.", "Sie saß am Ufer des Flusses."),
        ("The embankment is old.", "Der Damm ist alt."),
    ]:
        entry = {"source": "en", "target": "de", "source_text": source_text, "target_text": target_text}
        client.post("/v1/memory/entries", json=entry)
    body = {"word": "bank", "context": "We sat on the bank of a river.", "source": "en", "target": "de"}
    found = client.post("/v1/dictionary/lookup", json=body).json()
    assert found["entries"][0]["senses"] == ["Bank", "Ufer"]
    assert [e["target"] for e in found["examples"]] == [
        "Sie saß am Ufer des Flusses.",
        "Er ging zur Bank, um Geld zu holen.",
    ]
    start, end = found["examples"][0]["source_spans"][0]
    assert found["examples"][0]["source"][start:end] == "bank"
    client.delete(f"/v1/dictionaries/{loaded['id']}")
    assert client.post("/v1/dictionary/lookup", json=body).json()["entries"] == []

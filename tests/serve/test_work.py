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


@pytest.mark.parametrize("kind", ["csv", "tbx"])
def test_a_glossary_keeps_all_it_has(client: TestClient, kind: str) -> None:
    """Through an export and back, into the terms that are there and a glossary without; and through a shorter file."""
    bread = {"source": "bread", "target": "Brot", "variants": ["Brote", "a|b"], "case_sensitive": True, "note": "warm"}
    roll = {"source": "roll", "target": "Semmel", "variants": [], "case_sensitive": False, "note": ""}
    body = {"name": "G", "source": "en", "target": "de"}
    path, other = (
        f"/v1/glossaries/{client.post('/v1/glossaries', json=body | terms).json()['id']}"
        for terms in ({"terms": [bread, roll]}, {})
    )

    def terms_of(path: str) -> list[dict[str, Any]]:
        return [{name: term[name] for name in bread} for term in client.get(path).json()["terms"]]

    exported = client.get(f"{path}/export?format={kind}").content
    for there in (path, other):
        client.post(f"{there}/import", files={"file": (f"g.{kind}", exported)})
        assert terms_of(there) == [bread, roll]
    answer = client.post(f"{path}/import", files={"file": ("g.csv", b"bread,Laib\n")})
    assert answer.json() == {"added": 0, "replaced": 1, "skipped": 0}
    assert terms_of(path) == [bread | {"target": "Laib"}, roll]


def test_terms_that_are_too_long_are_skipped(client: TestClient) -> None:
    glossary = client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de"}).json()
    path = f"/v1/glossaries/{glossary['id']}"
    rows = ["a,b,", f"b,c,{'x' * 501}", f"c,d,{'x|' * 51}", f"{'x' * 501},d,"]
    data = "\n".join(["source,target,variants", *rows]).encode()
    answer = client.post(f"{path}/import", files={"file": ("g.csv", data)})
    assert answer.json() == {"added": 1, "replaced": 0, "skipped": 3}


def test_a_long_document_does_not_hold_up_what_comes_after_it(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regard.serve.background._SECONDS_OF_A_TURN", 0.0)
    lines = "\n\n".join(f"Please open door number {i} of the old house." for i in range(600))
    form, file = {"source": "en", "target": "de"}, {"file": ("doors.txt", lines.encode())}
    document = client.post("/v1/documents", data=form, files=file).json()["id"]
    project = {"name": "P", **form, "text": "The bread is still warm."}
    path = f"/v1/projects/{client.post('/v1/projects', json=project).json()['id']}"
    wait_until(lambda: client.get(path).json()["state"] == "ready")
    found = client.get(f"/v1/documents/{document}").json()
    assert found["state"] in ("queued", "running")
    assert client.delete(f"/v1/documents/{document}").status_code == 204


def test_a_document_that_is_deleted_while_it_is_written_leaves_nothing(
    client: TestClient, app_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    background = app_client.app.state.server.background  # type: ignore[attr-defined]
    fill, written = background._fill, []

    def delete_meanwhile(*arguments: Any) -> bytes:
        client.delete(f"/v1/documents/{document}")
        written.append(document)
        return fill(*arguments)

    monkeypatch.setattr(background, "_fill", delete_meanwhile)
    form, file = {"source": "en", "target": "de"}, {"file": ("letter.txt", b"Good morning.")}
    document = client.post("/v1/documents", data=form, files=file).json()["id"]
    wait_until(lambda: written)
    wait_until(lambda: not list(background._path(document, "x").parent.glob(f"{document}.*")))
    monkeypatch.undo()
    assert client.get(f"/v1/documents/{document}").status_code == 404


def test_a_missing_term_is_found_in_what_a_person_writes(client: TestClient) -> None:
    terms = [{"source": "bread", "target": "Laib"}]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    project = {"name": "P", "source": "en", "target": "de", "text": "The bread is still warm."}
    path = f"/v1/projects/{client.post('/v1/projects', json=project).json()['id']}"
    wait_until(lambda: client.get(path).json()["state"] == "ready")
    segment = client.get(f"{path}/segments").json()["items"][0]
    assert "Laib" in segment["text"]
    change = {"version": segment["version"], "text": "Das Brot ist noch warm."}
    edited = client.patch(f"/v1/segments/{segment['id']}", json=change).json()
    assert [(check["kind"], check["value"]) for check in edited["checks"]] == [("term", "Laib")]
    undone = client.post(f"/v1/segments/{segment['id']}/undo", json={"version": edited["version"]}).json()
    assert undone["checks"] == []


def test_a_correction_that_leads_elsewhere_is_held_back(client: TestClient) -> None:
    body = {"source": "en", "target": "de", "source_text": "My sister speaks three languages."}
    body["machine_text"] = "Meine Schwester spricht drei Sprachen."
    held = client.post("/v1/corrections", json=body | {"text": "Der Bus fährt in fünf Minuten vom Hafen ab."}).json()
    assert (held["accepted"], held["reasons"]) == (False, ["round_trip"])
    good = client.post("/v1/corrections", json=body | {"text": "Drei Sprachen spricht meine Schwester."}).json()
    assert (good["accepted"], good["reasons"]) == (True, [])


def test_how_fluent_a_translation_is(client: TestClient) -> None:
    body = {"source": "en", "target": "de", "source_text": "My brother works in a hospital."}
    good = client.post("/v1/fluency", json=body | {"text": "Mein Bruder arbeitet in einem Krankenhaus."}).json()
    text = "Mein Bruder arbeitet in einem Gemüse."
    odd = client.post("/v1/fluency", json=body | {"text": text}).json()
    assert good["confidence"] > odd["confidence"]
    worst = min(odd["words"], key=lambda word: word["confidence"])
    assert text[worst["start"] : worst["end"]] == "Gemüse"
    two_steps = client.post("/v1/fluency", json=body | {"source": "fr", "text": text}).json()
    assert two_steps == {"confidence": None, "words": []}


def test_the_dictionary_that_ships_comes_after_the_users(client: TestClient) -> None:
    body = {"word": "Houses", "context": "Old houses stand there.", "source": "en", "target": "de"}
    (entry,) = client.post("/v1/dictionary/lookup", json=body).json()["entries"]
    assert entry["dictionary"] is None
    assert "Häuser" in entry["senses"]
    assert len(entry["shares"]) == len(entry["senses"])
    assert sum(entry["shares"]) == pytest.approx(1, abs=0.01)
    form = {"name": "Mine", "format": "tsv", "source": "en", "target": "de"}
    client.post("/v1/dictionaries", data=form, files={"file": ("d.tsv", b"house\tGeb\xc3\xa4ude\n")})
    found = client.post("/v1/dictionary/lookup", json=body).json()["entries"]
    assert [entry["dictionary"] for entry in found] == ["Mine", None]


def test_a_chinese_character_is_looked_up_with_what_stands_around_it(client: TestClient) -> None:
    body = {"word": "啡", "context": "我想喝咖啡。", "source": "zh", "target": "en"}
    entry = client.post("/v1/dictionary/lookup", json=body).json()["entries"][0]
    assert (entry["headword"], entry["senses"][0]) == ("咖啡", "coffee")


def test_a_dictionary_that_was_learnt_is_loaded(client: TestClient) -> None:
    import gzip

    form = {"name": "Learnt", "format": "learnt", "source": "en", "target": "de"}
    file = {"file": ("en-de.tsv.gz", gzip.compress(b"quokka\tKurzschwanzk\xc3\xa4nguru=7\tQuokka=2\n"))}
    assert client.post("/v1/dictionaries", data=form, files=file).json()["size"] == 1
    body = {"word": "quokka", "source": "en", "target": "de"}
    assert client.post("/v1/dictionary/lookup", json=body).json()["entries"][0]["senses"][1] == "Quokka"
    bad = client.post("/v1/dictionaries", data=form, files={"file": ("x.gz", b"quokka\tx")})
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid")


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
    left = client.post("/v1/dictionary/lookup", json=body).json()["entries"]
    assert [entry["dictionary"] for entry in left] == [None]

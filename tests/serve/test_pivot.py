"""Directions that the model lacks, through English: marked as such, and with all that other directions have."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

FRENCH = {"source": "fr", "target": "de"}


def translate(client: TestClient, text: str, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/translate", json={"text": text, **FRENCH} | more)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_answer_says_that_there_were_two_steps(client: TestClient) -> None:
    found = translate(client, "Le pain est encore chaud. Où sont les clés ?", alignment=True)
    assert found["pivot"] == "en"
    first, second = found["translations"][0]["sentences"]
    assert (first["pivot"]["language"], second["pivot"]["language"]) == ("en", "en")
    english = client.post(
        "/v1/translate", json={"text": "Le pain est encore chaud.", "source": "fr", "target": "en"}
    ).json()
    assert english["pivot"] is None
    assert english["translations"][0]["sentences"][0]["pivot"] is None
    assert first["pivot"]["text"] == english["translations"][0]["text"]
    assert first["confidence"] <= english["translations"][0]["confidence"]
    words = [word["text"] for word in first["alignment"]["source_words"]]
    bread = next(i for i, word in enumerate(first["words"]) if word["text"] == "Brot")
    assert "pain" in [words[s] for s, t in first["alignment"]["links"] if t == bread]


def test_languages_name_what_takes_two_steps(client: TestClient) -> None:
    languages = {each["code"]: each for each in client.get("/v1/languages").json()["languages"]}
    assert languages["en"]["pivoted"] == []
    assert set(languages["fr"]["pivoted"]) == {"de", "zh"}
    assert set(languages["fr"]["targets"]) == {"en", "de", "zh"}
    dialect = {each["code"]: each["targets"] for each in client.get("/languages").json()}
    assert {"de", "en", "zh", "zh-Hans"} <= set(dialect["fr"])


def test_terms_are_kept_and_the_memory_is_used(client: TestClient) -> None:
    terms = [{"source": "pain", "target": "Laib"}]
    client.post("/v1/glossaries", json={"name": "G", **FRENCH, "terms": terms})
    sentence = translate(client, "Le pain est encore chaud.")["translations"][0]["sentences"][0]
    assert "Laib" in sentence["text"]
    assert sentence["terms"][0]["kept"]
    assert sentence["pivot"]["language"] == "en"
    wish = {"source_text": "Le pain est encore chaud.", "text": "Noch ist der Laib warm.", **FRENCH}
    assert client.post("/v1/corrections", json=wish).json()["accepted"]
    sentence = translate(client, "Le pain est encore chaud.")["translations"][0]["sentences"][0]
    assert (sentence["text"], sentence["origin"], sentence["pivot"]) == ("Noch ist der Laib warm.", "memory", None)


def test_placeholders_numbers_and_markup_come_through(client: TestClient) -> None:
    text = "<p>Ouvrez <b>{fichier}</b> avant le 12345.</p>"
    found = translate(client, text, target="zh", format="html")["translations"][0]
    for part in ("<p>", "<b>{fichier}</b>", "12345"):
        assert part in found["text"]


def test_a_stream_shows_the_last_step_only(client: TestClient) -> None:
    body = {"text": "Le pain est encore chaud.", **FRENCH}
    with client.stream("POST", "/v1/translate/stream", json=body) as answer:
        lines = [line for line in answer.iter_lines() if line]
    events = list(zip([line[7:] for line in lines[::2]], [json.loads(line[6:]) for line in lines[1::2]], strict=True))
    assert events[0][1]["pivot"] == "en"
    english = next(data["pivot"]["text"] for name, data in events if name == "sentence")
    partial = [data["text"] for name, data in events if name == "partial"]
    assert partial
    assert english not in partial
    assert [name for name, _ in events][-2:] == ["translation", "done"]


def test_other_ways_to_go_on_are_those_of_the_last_step(client: TestClient) -> None:
    body = {"text": "Le pain est encore chaud.", **FRENCH, "prefix": "Das ", "limit": 3}
    found = client.post("/v1/alternatives", json=body).json()["alternatives"]
    assert found
    assert all(each["text"].startswith("Das ") for each in found)


def test_there_is_nothing_to_learn_for_two_steps_at_once(client: TestClient) -> None:
    answer = client.post("/v1/learn", json=FRENCH)
    assert (answer.status_code, answer.json()["code"]) == (409, "pivoted")


@pytest.mark.parametrize("path", ["/translate", "/v2/translate"])
def test_other_dialects_go_the_same_way(client: TestClient, path: str) -> None:
    text = "Le pain est encore chaud."
    body = {"q": text, **FRENCH} if path == "/translate" else {"text": [text], "source_lang": "FR", "target_lang": "DE"}
    wanted = translate(client, text)["translations"][0]["text"]
    assert wanted in client.post(path, json=body).text

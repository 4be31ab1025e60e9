"""/v1: translations with their reasons, streaming, alternatives, detection."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from regard.serve.checks import missing_terms, repetition
from regard.serve.terms import Wanted


def translate(client: TestClient, text: Any, **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/translate", json={"text": text, "source": "en", "target": "de", **more})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_each_sentence_says_where_it_stands_and_comes_from(client: TestClient) -> None:
    text = "The bread is still warm.\n\n  Try it! 42 🙂"
    answer = translate(client, text, alignment=True, alternatives=2)
    assert (answer["source"], answer["target"], answer["detected"]) == ("en", "de", None)
    (translation,) = answer["translations"]
    assert len(translation["sentences"]) == 2
    for sentence in translation["sentences"]:
        assert text[sentence["source_start"] : sentence["source_end"]] == sentence["source"]
        assert translation["text"][sentence["start"] : sentence["end"]] == sentence["text"]
        assert sentence["origin"] == "machine"
        assert 0 < sentence["confidence"] <= 1
        for word in sentence["words"]:
            assert sentence["text"][word["start"] : word["end"]] == word["text"]
        alignment = sentence["alignment"]
        assert len(alignment["weights"]) == len(sentence["words"])
        for row in alignment["weights"]:
            assert sum(row) == pytest.approx(1, abs=0.01)
        assert 1 <= len(sentence["alternatives"]) <= 2
    assert translation["text"].endswith("42 🙂")
    assert "\n\n  " in translation["text"]


def test_the_same_as_the_library_says(client: TestClient) -> None:
    from regard import Translator

    texts = ["The bread is still warm.", "My brother works in a hospital. He likes it.", "", "42", "🙂"]
    expected = Translator.from_pretrained().translate(texts, "en", "fr")
    answer = translate(client, texts, target="fr")
    assert [t["text"] for t in answer["translations"]] == [t.text for t in expected]


def test_streaming_ends_with_what_the_whole_answer_says(client: TestClient) -> None:
    body = {"text": ["The bread is still warm. Try it!", "Good night."], "source": "en", "target": "de"}
    whole = client.post("/v1/translate", json=body).json()
    events = events_of(client.post("/v1/translate/stream", json=body).text)
    kinds = [kind for kind, _ in events]
    assert kinds[0] == "start"
    assert kinds[-1] == "done"
    assert kinds.count("sentence") == 3
    final = {data["index"]: data["text"] for kind, data in events if kind == "translation"}
    assert [final[0], final[1]] == [t["text"] for t in whole["translations"]]
    parts = [data["text"] for kind, data in events if kind == "partial" and (data["index"], data["sentence"]) == (0, 0)]
    assert len(parts) >= 3
    assert max(map(len, parts)) > len(parts[0])


def test_a_stream_says_what_is_wrong(client: TestClient) -> None:
    answer = client.post("/v1/translate/stream", json={"text": "x", "source": "en", "target": "tlh"})
    (event,) = events_of(answer.text)
    assert event[0] == "error"
    assert event[1]["code"] == "unknown_language"


def events_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    events = []
    for block in text.strip().split("\n\n"):
        kind, data = block.split("\n", 1)
        events.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


def test_alternatives_begin_with_the_prefix_and_differ_in_the_next_word(client: TestClient) -> None:
    body = {"text": "The bread is still warm.", "source": "en", "target": "de", "prefix": "Das Brot ist "}
    found = client.post("/v1/alternatives", json=body).json()["alternatives"]
    assert len(found) >= 2
    assert all(a["text"].startswith("Das Brot ist " + a["next"]) for a in found)
    assert len({a["next"] for a in found}) == len(found)


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Where is the station?", "en"),
        ("Wo ist der Bahnhof?", "de"),
        ("Où est la gare ?", "fr"),
        ("车站在哪里？", "zh"),
        ("我用 Python 写程序 (version 3.11)", "zh"),
        ("Guten Morgen! https://example.org/the/and/of", "de"),
    ],
)
def test_detection(client: TestClient, text: str, language: str) -> None:
    found = client.post("/v1/detect", json={"text": text}).json()["detections"]
    assert found[0]["language"] == language
    assert found[0]["confidence"] > 0.5


def test_nothing_is_detected_in_what_has_no_letters(client: TestClient) -> None:
    assert client.post("/v1/detect", json={"text": "42 🙂 !!"}).json() == {"detections": []}


def test_the_source_is_found_out_and_a_text_in_the_target_language_comes_back(client: TestClient) -> None:
    answer = translate(client, "Das Wetter ist heute sehr schön.", source="auto", target="en")
    assert answer["detected"]["language"] == "de"
    answer = translate(client, "The weather is very nice today.", source="auto", target="en")
    assert answer["translations"][0]["text"] == "The weather is very nice today."


@pytest.mark.parametrize("code", ["zh", "ZH", "zh-CN", "zh_Hans", "zh-TW", "zt"])
def test_chinese_by_any_name(client: TestClient, code: str) -> None:
    assert translate(client, "Good morning.", target=code)["target"] == "zh"


def test_markup_is_kept(client: TestClient) -> None:
    html = '<p>The <b>bread</b> is still warm.</p><p class="x">Try <a href="https://example.org">it</a>!</p>'
    text = translate(client, html, format="html")["translations"][0]["text"]
    for part in ("<p>", "<b>", "</b>", '<p class="x">', '<a href="https://example.org">', "</a>"):
        assert text.count(part) == html.count(part)
    assert "bread" not in text
    markdown = translate(client, "# The bread\n\nIt is **still** warm.\n", format="markdown")["translations"][0]["text"]
    assert markdown.startswith("# ")
    assert markdown.count("**") == 2


def test_placeholders_come_back(client: TestClient) -> None:
    text = "Hello {name}, you have %d new messages at https://example.org/x?y=1."
    translation = translate(client, text)["translations"][0]
    for part in ("{name}", "%d", "https://example.org/x?y=1"):
        assert part in translation["text"]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"text": "x", "target": "tlh"}, 400, "unknown_language"),
        ({"text": "x"}, 422, "invalid"),
        ({"text": "x", "target": "de", "beam": 50}, 422, "invalid"),
        ({"text": "x", "target": "de", "alternatives": 10_000}, 422, "invalid"),
        ({"text": ["x"] * 129, "target": "de"}, 413, "too_long"),
        ({"text": "x" * 20_001, "target": "de"}, 413, "too_long"),
        ({"text": "x", "source": "en", "target": "de", "adapter": "nope"}, 404, "not_found"),
        ({"text": "x", "source": "en", "target": "de", "glossaries": ["nope"]}, 404, "not_found"),
        ({"text": 5, "target": "de"}, 422, "invalid"),
    ],
)
def test_what_cannot_be_is_said(client: TestClient, body: dict[str, Any], status: int, code: str) -> None:
    answer = client.post("/v1/translate", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["error"]


def test_half_a_character_is_refused(client: TestClient) -> None:
    sent = b'{"text": "\\ud800", "source": "en", "target": "de"}'
    answer = client.post("/v1/translate", content=sent, headers={"content-type": "application/json"})
    assert answer.status_code in (400, 422)


# ---- memory, glossaries, corrections at work


def test_a_correction_counts_at_once(client: TestClient) -> None:
    text = "Please close the window."
    before = translate(client, text)["translations"][0]["sentences"][0]
    assert before["origin"] == "machine"
    body = {"source": "en", "target": "de", "source_text": text, "machine_text": before["text"], "text": "Fenster zu!"}
    correction = client.post("/v1/corrections", json=body).json()
    assert correction["accepted"]
    after = translate(client, f"Hello. {text}")["translations"][0]
    assert [s["origin"] for s in after["sentences"]] == ["machine", "memory"]
    assert (
        after["sentences"][1] | {"text": "Fenster zu!", "match": 100, "memory": correction["memory"]}
        == after["sentences"][1]
    )
    assert after["text"].endswith("Fenster zu!")
    assert translate(client, text, memory=False)["translations"][0]["text"] == before["text"]
    client.delete(f"/v1/corrections/{correction['id']}")
    assert translate(client, text)["translations"][0]["text"] == before["text"]


def test_a_correction_of_several_sentences_or_with_tags_counts_too(client: TestClient) -> None:
    for source_text, text in [
        ("Hello. Come in!", "Tag, komm rein!"),
        ("The <1>bread</1> is old.", "<1>Brot</1>, alt."),
    ]:
        body = {"source": "en", "target": "de", "source_text": source_text, "text": text}
        assert client.post("/v1/corrections", json=body).json()["accepted"]
    text = "\n Hello. Come in! "
    translation = translate(client, [text, "Come in!"])["translations"][0]
    assert translation["text"] == "\n Tag, komm rein! "
    (sentence,) = translation["sentences"]
    assert text[sentence["source_start"] : sentence["source_end"]] == "Hello. Come in!"
    assert translation["text"][sentence["start"] : sentence["end"]] == "Tag, komm rein!"
    html = translate(client, "<p>The <b>bread</b> is old.</p>", format="html")["translations"][0]
    assert html["text"] == "<p><b>Brot</b>, alt.</p>"
    assert [s["origin"] for s in html["sentences"]] == ["memory"]


def test_a_correction_serves_sentences_with_other_numbers(client: TestClient) -> None:
    body = {"source": "en", "target": "de", "source_text": "Bus 12 leaves now.", "text": "Die Linie 12 fährt jetzt ab."}
    client.post("/v1/corrections", json=body)
    sentence = translate(client, "Bus 345 leaves now.")["translations"][0]["sentences"][0]
    assert sentence["text"] == "Die Linie 345 fährt jetzt ab."
    assert sentence["origin"] == "memory"
    assert sentence["match"] < 100


@pytest.mark.parametrize(
    ("source_text", "text", "reason"),
    [
        ("The bread is still warm.", " ", "empty"),
        ("The bread is still warm.", "The bread is still warm.", "same_as_source"),
        ("The bread is still warm.", "Das Brot " * 20 + "ist warm.", "length"),
        ("The bread is still warm, my friend.", "Le pain est encore chaud, mon ami.", "language"),
        ("We paid 48 euros for the bread.", "Wir haben Geld für das Brot bezahlt.", "numbers"),
        ("The bread is still warm.", "Das Brot Brot Brot Brot ist warm.", "repetition"),
    ],
)
def test_garbage_is_kept_but_not_used(client: TestClient, source_text: str, text: str, reason: str) -> None:
    body = {"source": "en", "target": "de", "source_text": source_text, "text": text}
    correction = client.post("/v1/corrections", json=body).json()
    assert not correction["accepted"]
    assert reason in correction["reasons"]
    assert client.get("/v1/corrections?accepted=false").json()["total"] == 1
    assert client.get("/v1/memory/entries").json()["total"] == 0
    accepted = client.post(f"/v1/corrections/{correction['id']}/accept").json()
    assert accepted["accepted"]
    assert client.get("/v1/memory/entries").json()["total"] == 1


TERMS = [
    ("The bread is still warm.", "en", "de", "bread", "Gebäck"),
    ("My brother eats bread in the garden.", "en", "de", "garden", "Grünanlage"),
    ("She reads the newspaper every morning.", "en", "fr", "newspaper", "gazette"),
    ("The children are playing in the street.", "en", "zh", "street", "大街"),
    ("他每天早上看报纸。", "zh", "en", "报纸", "gazette"),
    ("Where is the station?", "en", "de", "station", "Haltepunkt"),
]


@pytest.mark.parametrize(("text", "source", "target", "term", "wanted"), TERMS)
def test_a_term_is_in_the_translation(
    client: TestClient, text: str, source: str, target: str, term: str, wanted: str
) -> None:
    plain = translate(client, text, source=source, target=target)["translations"][0]
    assert wanted not in plain["text"]
    body = {"name": "G", "source": source, "target": target, "terms": [{"source": term, "target": wanted}]}
    glossary = client.post("/v1/glossaries", json=body).json()
    with_term = translate(client, text, source=source, target=target)["translations"][0]
    assert wanted in with_term["text"]
    assert with_term["sentences"][0]["terms"] == [
        {"source": term, "target": wanted, "glossary": glossary["id"], "kept": True}
    ]
    assert not [c for c in with_term["checks"] if c["kind"] == "term"]
    client.patch(f"/v1/glossaries/{glossary['id']}", json={"active": False})
    assert translate(client, text, source=source, target=target)["translations"][0]["text"] == plain["text"]
    named = translate(client, text, source=source, target=target, glossaries=[glossary["id"]])["translations"][0]
    assert named["text"] == with_term["text"]


def test_several_terms_and_a_variant_that_counts(client: TestClient) -> None:
    terms = [
        {"source": "bread", "target": "Laib"},
        {"source": "garden", "target": "Park"},
        {"source": "brother", "target": "Geschwister", "variants": ["Bruder"]},
    ]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    translation = translate(client, "My brother eats bread in the garden.")["translations"][0]
    assert "Laib" in translation["text"]
    assert "Park" in translation["text"]
    assert [t["kept"] for t in translation["sentences"][0]["terms"]] == [True, True, True]


def test_a_term_is_a_whole_word(client: TestClient) -> None:
    terms = [{"source": "art", "target": "Gemälde"}]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    sentence = translate(client, "The party starts at eight.")["translations"][0]["sentences"][0]
    assert sentence["terms"] == []


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("My bread is new and your bread is old.", 2),
        ("The loaf and the bread.", 2),
        ("Bread, bread and more bread for everybody.", 3),
    ],
)
def test_a_term_is_there_as_often_as_in_the_source(client: TestClient, text: str, count: int) -> None:
    terms = [{"source": source, "target": "Krustenlaib"} for source in ("bread", "loaf")]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    translation = translate(client, text)["translations"][0]
    assert translation["text"].count("Krustenlaib") == count
    assert [t["kept"] for t in translation["sentences"][0]["terms"]] == [True] * count
    assert not [c for c in translation["checks"] if c["kind"] == "term"]


def test_a_term_that_is_there_once_and_wanted_twice_is_said_so() -> None:
    wanted = [Wanted("bread", "Laib", (), False, "g", start, start + 5) for start in (0, 20)]
    (found,) = missing_terms(wanted, "Der Laib und das Brot.")
    assert "less often" in found.message
    assert missing_terms(wanted, "Der Laib und der Laib.") == []


def test_tags_keep_to_a_term(client: TestClient) -> None:
    terms = [{"source": "bread", "target": "Krustenlaib"}]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    translation = translate(client, "<p>The <b>bread</b> is hot.</p>", format="html")["translations"][0]
    assert "<b>Krustenlaib</b>" in translation["text"]
    word = next(w for w in translation["sentences"][0]["words"] if w["text"].startswith("Krustenlaib"))
    assert word["end"] - word["start"] == len("Krustenlaib")


def test_what_the_memory_says_against_the_glossary_is_flagged(client: TestClient) -> None:
    text = "The ship leaves at noon."
    client.post(
        "/v1/corrections",
        json={"source": "en", "target": "de", "source_text": text, "text": "Das Schiff fährt am Mittag."},
    )
    terms = [{"source": "ship", "target": "Kahn"}]
    client.post("/v1/glossaries", json={"name": "G", "source": "en", "target": "de", "terms": terms})
    translation = translate(client, text)["translations"][0]
    assert translation["sentences"][0]["origin"] == "memory"
    assert [c["value"] for c in translation["checks"] if c["kind"] == "term"] == ["Kahn"]


@pytest.mark.parametrize(
    ("source", "text", "found"),
    [
        ("Ha ha!", "Hamhahahahaha!", "ha"),
        ("Hahahaha!", "Hahahaha!", ""),
        ("Mississippi", "Mississippi", ""),
        ("Very old.", "Sehr sehr sehr alt.", "sehr"),
        ("No.", "Nein, das ist es nicht.", ""),
    ],
)
def test_what_is_said_again_and_again(source: str, text: str, found: str) -> None:
    assert repetition(source, text) == found

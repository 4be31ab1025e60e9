"""The clients that other people wrote, against a server behind a real socket."""

import io
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deepl
import pytest
from deep_translator import LibreTranslator
from libretranslatepy import LibreTranslateAPI
from starlette.testclient import TestClient

from .test_work import docx


@pytest.fixture
def secret(client: TestClient) -> str:
    return client.headers["authorization"].removeprefix("Bearer ")


@pytest.fixture
def libre(address: str, secret: str) -> LibreTranslateAPI:
    return LibreTranslateAPI(address, api_key=secret)


@pytest.fixture
def deepl_client(address: str, secret: str) -> deepl.DeepLClient:
    return deepl.DeepLClient(secret, server_url=address)


def test_libretranslatepy(libre: LibreTranslateAPI) -> None:
    assert "Brot" in libre.translate("The bread is still warm.", "en", "de")
    assert libre.detect("Das Brot ist noch warm.")[0]["language"] == "de"
    languages = {entry["code"]: entry["targets"] for entry in libre.languages()}
    assert {"en", "de", "fr", "zh", "zh-Hans"} == set(languages)
    assert "de" in languages["en"]


def test_deep_translator(address: str, secret: str) -> None:
    translator = LibreTranslator(source="en", target="de", custom_url=f"{address}/", api_key=secret)
    assert "Brot" in translator.translate("The bread is still warm.")
    assert len(translator.translate_batch(["Good morning.", "Good night."])) == 2


def test_deepl_translates(deepl_client: deepl.DeepLClient) -> None:
    results = deepl_client.translate_text(["The bread is still warm.", "Good night."], target_lang="DE")
    assert isinstance(results, list)
    assert "Brot" in results[0].text
    assert results[0].detected_source_lang == "EN"
    one = deepl_client.translate_text(
        "<p>Good <b>night</b>.</p>", source_lang="EN", target_lang="FR", tag_handling="html"
    )
    assert not isinstance(one, list)
    assert one.text.startswith("<p>")
    assert {language.code for language in deepl_client.get_source_languages()} == {"EN", "DE", "FR", "ZH"}
    assert deepl_client.get_usage().character.valid


def test_deepl_glossaries(deepl_client: deepl.DeepLClient) -> None:
    glossary = deepl_client.create_glossary("Bakery", "EN", "DE", {"bread": "Gebäck"})
    assert deepl_client.get_glossary_entries(glossary) == {"bread": "Gebäck"}
    assert [g.glossary_id for g in deepl_client.list_glossaries()] == [glossary.glossary_id]
    text = "The bread is still warm."
    plain = deepl_client.translate_text(text, source_lang="EN", target_lang="DE")
    with_term = deepl_client.translate_text(text, source_lang="EN", target_lang="DE", glossary=glossary)
    assert not isinstance(plain, list)
    assert not isinstance(with_term, list)
    assert "Gebäck" not in plain.text
    assert "Gebäck" in with_term.text
    assert len(deepl_client.get_glossary_languages()) == 6
    deepl_client.delete_glossary(glossary)
    assert deepl_client.list_glossaries() == []


def test_deepl_glossary_entries_without_an_end(client: TestClient) -> None:
    body = {"name": "G", "source_lang": "en", "target_lang": "de", "entries_format": "csv"}
    answer = client.post("/v2/glossaries", json=body | {"entries": 'a,"b' + "x" * 200_000})
    assert answer.status_code == 400
    assert "quotation mark" in answer.json()["message"]


def test_deepl_documents(deepl_client: deepl.DeepLClient, tmp_path: Path) -> None:
    file, result = tmp_path / "letter.txt", tmp_path / "brief.txt"
    file.write_text("Good morning.\nThe bread is still warm.\n", encoding="utf-8")
    status = deepl_client.translate_document_from_filepath(file, result, source_lang="EN", target_lang="DE")
    assert status.done
    assert result.read_text(encoding="utf-8").count("\n") == 2


def test_deepl_says_what_is_wrong(address: str, deepl_client: deepl.DeepLClient) -> None:
    with pytest.raises(deepl.AuthorizationException):
        deepl.DeepLClient("wrong", server_url=address).get_usage()
    with pytest.raises(deepl.DeepLException, match="not supported"):
        deepl_client.translate_text("x", target_lang="TLH")


def test_deepl_quota(new_owner: Callable[..., TestClient], address: str) -> None:
    client = new_owner("translate", characters_per_day=20)
    secret = client.headers["authorization"].removeprefix("Bearer ")
    translator = deepl.DeepLClient(secret, server_url=address)
    translator.translate_text("Good morning.", source_lang="EN", target_lang="DE")
    with pytest.raises(deepl.QuotaExceededException):
        translator.translate_text("Good morning.", source_lang="EN", target_lang="DE")
    assert translator.get_usage().character.count == 13


def test_npm_translate(address: str, secret: str, tmp_path: Path, npm_translate: Path) -> None:
    program = (
        f"import translate from '{npm_translate.as_uri()}';"
        f"translate.engine='libre'; translate.url='{address}/translate'; translate.key='{secret}';"
        "console.log(await translate('The bread is still warm.', {from: 'en', to: 'de'}));"
    )
    (tmp_path / "run.mjs").write_text(program, encoding="utf-8")
    done = subprocess.run(["node", str(tmp_path / "run.mjs")], capture_output=True, text=True, timeout=60, check=False)
    assert "Brot" in done.stdout, done.stderr


def test_libretranslate_files(client: TestClient, warm_bread: str) -> None:
    form = {"source": "en", "target": "de"}
    answer = client.post("/translate_file", data=form, files={"file": ("a.txt", b"The bread is still warm.\n")})
    url = answer.json()["translatedFileUrl"]
    assert client.get(url).text == f"{warm_bread}\n"
    assert client.post("/translate_file", data=form).json()["error"] == "Invalid request: missing file parameter"


def test_the_language_of_a_file_is_guessed_from_its_text(client: TestClient, warm_bread: str) -> None:
    """Also where the text is packed."""
    for name, data in (("a.txt", b"The bread is still warm.\n"), ("a.docx", docx("The bread is still warm."))):
        form = {"source": "auto", "target": "de"}
        answer = client.post("/translate_file", data=form, files={"file": (name, data)})
        assert answer.status_code == 200, answer.text
        translated = client.get(answer.json()["translatedFileUrl"]).content
        if name == "a.docx":
            translated = zipfile.ZipFile(io.BytesIO(translated)).read("word/document.xml")
        assert warm_bread in translated.decode()
        answer = client.post("/v2/document", data={"target_lang": "DE"}, files={"file": (name, data)})
        document = client.get(f"/v1/documents/{answer.json()['document_id']}").json()
        assert document["source"] == "en"
    for path, form in (
        ("/translate_file", {"source": "auto", "target": "de"}),
        ("/v2/document", {"target_lang": "DE"}),
    ):
        answer = client.post(path, data=form, files={"file": ("a.txt", b"1 2 3\n")})
        assert answer.status_code == 400
        assert "language of the file is not clear" in answer.text


# ---- LibreTranslate's dialect in the ways that clients send it


def send(client: TestClient, way: str, **values: Any) -> Any:
    if way == "json":
        return client.post("/translate", json=values)
    if way == "query":
        return client.post("/translate", params=values)
    if way == "multipart":
        return client.post("/translate", files={name: (None, value) for name, value in values.items()})
    return client.post("/translate", data=values)


@pytest.mark.parametrize("way", ["json", "form", "multipart", "query"])
def test_libretranslate_takes_parameters_in_any_way(client: TestClient, way: str, warm_bread: str) -> None:
    answer = send(client, way, q="The bread is still warm.", source="EN", target="de", format="text")
    assert answer.json() == {"translatedText": warm_bread}


def test_libretranslate_suggestion_counts_at_once(client: TestClient) -> None:
    suggestion = {"q": "Good evening.", "s": "Schönen guten Abend.", "source": "en", "target": "de"}
    assert client.post("/suggest", json=suggestion).json() == {"success": True}
    answer = client.post("/translate", json={"q": "Good evening.", "source": "en", "target": "de"})
    assert answer.json() == {"translatedText": "Schönen guten Abend."}


def test_libretranslate_answers_in_the_shape_of_the_question(client: TestClient) -> None:
    body = {"q": ["Good morning.", "Good night."], "source": "auto", "target": "zh-CN", "alternatives": 2}
    answer = client.post("/translate", json=body).json()
    assert len(answer["translatedText"]) == len(answer["detectedLanguage"]) == len(answer["alternatives"]) == 2
    assert answer["detectedLanguage"][0]["language"] == "en"
    assert 50 < answer["detectedLanguage"][0]["confidence"] <= 100
    single = client.post("/translate", json=body | {"q": "Good morning."}).json()
    assert isinstance(single["translatedText"], str)
    assert isinstance(single["detectedLanguage"], dict)
    assert all(isinstance(text, str) for text in single["alternatives"])
    assert client.post("/translate", json={"q": [], "source": "en", "target": "de"}).json() == {"translatedText": []}
    assert client.post("/translate", json={"q": "", "source": "en", "target": "de"}).json() == {"translatedText": ""}


def test_libretranslate_keeps_weblates_masks(client: TestClient) -> None:
    answer = client.post("/translate", json={"q": "Open [X12X] now.", "source": "en", "target": "de"})
    assert "[X12X]" in answer.json()["translatedText"]


@pytest.mark.parametrize(
    ("sent", "status", "error"),
    [
        ({"source": "en", "target": "de"}, 400, "Invalid request: missing q parameter"),
        ({"q": "x", "target": "de"}, 400, "Invalid request: missing source parameter"),
        ({"q": "x", "source": "zz", "target": "de"}, 400, "zz is not supported"),
        ({"q": "x" * 20_001, "source": "en", "target": "de"}, 400, "exceeds text limit (20000)"),
        ({"q": "x", "source": "en", "target": "de", "format": "pdf"}, 400, "pdf format is not supported"),
        ({"q": {"a": 1}, "source": "en", "target": "de"}, 400, "q is neither"),
        ({"q": "x", "source": 5, "target": "de"}, 400, "source is not a string"),
        ({"q": "x", "source": "zz", "target": "zz"}, 400, "zz is not supported"),
        ({"q": "x" * 20_001, "source": "en", "target": "en"}, 400, "exceeds text limit (20000)"),
        ({"q": "x", "source": "en", "target": "de", "alternatives": "many"}, 400, "alternatives is not a number"),
        ({"q": "x", "source": "en", "target": "de", "api_key": "wrong"}, 403, "unknown"),
    ],
)
def test_libretranslate_errors(client: TestClient, sent: dict[str, Any], status: int, error: str) -> None:
    answer = client.post("/translate", json=sent)
    assert answer.status_code == status
    assert error in answer.json()["error"]


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "[1]"])
def test_libretranslate_numbers_that_are_none(client: TestClient, number: str) -> None:
    body = f'{{"q": "x", "source": "en", "target": "de", "alternatives": {number}}}'
    answer = client.post("/translate", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]) == (400, "Invalid request: alternatives is not a number")


@pytest.mark.parametrize(("source", "target"), [("en", "en"), ("EN", "en-GB"), ("zh-Hans", "zh")])
def test_libretranslate_leaves_a_language_that_stays_as_it_is(client: TestClient, source: str, target: str) -> None:
    """``/languages`` lists each among its own targets."""
    body = {"q": "The bread  is <b>warm.", "source": source, "target": target}
    assert client.post("/translate", json=body).json() == {"translatedText": body["q"]}
    several = body | {"q": [body["q"], ""], "alternatives": 2, "format": "html"}
    answer = client.post("/translate", json=several).json()
    assert answer == {"translatedText": [body["q"], ""], "alternatives": [[], []]}
    alone = client.post("/translate", json=body | {"alternatives": 1}).json()
    assert alone == {"translatedText": body["q"], "alternatives": []}


def test_libretranslate_counts_what_it_leaves_as_it_is(new_owner: Callable[..., TestClient]) -> None:
    client = new_owner("translate", characters_per_day=10)
    body = {"q": "12345678", "source": "en", "target": "en"}
    assert [client.post("/translate", json=body).status_code for _ in range(2)] == [200, 429]


def test_libretranslate_other_routes(client: TestClient) -> None:
    settings = client.get("/frontend/settings").json()
    assert settings["charLimit"] == 20_000
    assert ".docx" in settings["supportedFilesFormat"]
    assert client.get("/spec").json()["openapi"].startswith("3.")
    assert client.get("/health").json() == {"status": "ok"}
    assert (
        client.post("/detect", data={"q": "车站在哪里？"}).json()[0] | {"language": "zh-Hans"}
        == client.post("/detect", data={"q": "车站在哪里？"}).json()[0]
    )

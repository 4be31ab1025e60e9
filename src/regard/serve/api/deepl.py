"""DeepL's dialect, below /v2, as its own client speaks it."""

import csv
import io
import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from regard.serve.access import Caller
from regard.serve.api.common import Ours, Reader, Writer
from regard.serve.errors import invalid
from regard.serve.languages import base_code, language_of
from regard.serve.server import Server
from regard.serve.store import documents, glossaries, keys
from regard.serve.store.tables import Glossary
from regard.serve.translating import Ask

router = APIRouter(prefix="/v2", tags=["DeepL"])

#: What is said to have no limit.
_NO_LIMIT = 1_000_000_000_000


async def sent_with(request: Request) -> dict[str, list[Any]]:
    """Parameters of a form or of JSON, each as a list."""
    if request.headers.get("content-type", "").lower().startswith("application/json"):
        try:
            body = json.loads(await request.body())
        except (ValueError, RecursionError):
            raise invalid("the body is not valid JSON.") from None
        if not isinstance(body, dict):
            raise invalid("the body is not a JSON object.")
        return {name: value if isinstance(value, list) else [value] for name, value in body.items()}
    form = await request.form()
    return {name: form.getlist(name) for name in form}


def text_of(sent: dict[str, list[Any]], name: str, default: str | None = None) -> str:
    """One parameter as text.

    Raises:
        ServeError: 400, it is missing.
    """
    values = sent.get(name) or []
    if values and isinstance(values[0], str) and values[0]:
        return values[0]
    if default is None:
        raise invalid(f"Value for '{name}' not specified.")
    return default


@router.post("/translate")
async def translate(request: Request, server: Ours, caller: Reader) -> dict[str, Any]:
    """Translate ``text``, once or several times."""
    sent = await sent_with(request)
    texts = sent.get("text") or []
    if not texts or not all(isinstance(text, str) for text in texts):
        raise invalid("Parameter 'text' not specified.")
    glossary = text_of(sent, "glossary_id", "")
    ask = Ask(
        texts=texts,
        source=text_of(sent, "source_lang", "auto"),
        target=text_of(sent, "target_lang"),
        format="html" if text_of(sent, "tag_handling", "") in ("html", "xml") else "text",
        glossaries=[glossary] if glossary else None,
        seconds=server.settings.deadline,
    )
    work, answers = await server.translate(request, caller, ask)
    source = work.source.upper()
    return {
        "translations": [
            {"detected_source_language": source, "text": answer.text, "billed_characters": len(answer.source)}
            for answer in answers
        ]
    }


@router.get("/languages")
def languages(server: Ours, caller: Reader, type: str = "source") -> list[dict[str, Any]]:
    """Languages to translate from, or into."""
    directions = server.directions
    listed = []
    for code in dict.fromkeys(pair[0 if type == "source" else 1] for pair in directions.pairs):
        entry: dict[str, Any] = {"language": code.upper(), "name": language_of(code).name}
        if type == "target":
            entry["supports_formality"] = False
        listed.append(entry)
    return listed


@router.get("/usage")
def usage(server: Ours, caller: Reader) -> dict[str, int]:
    """Characters of the day, and how many there may be."""
    count = 0
    if caller.key:
        with server.database.read() as session:
            count = keys.spent(session, caller.key)
    return {"character_count": count, "character_limit": caller.characters_per_day or _NO_LIMIT}


# ---- documents


@router.post("/document")
async def upload(request: Request, server: Ours, caller: Writer) -> dict[str, str]:
    """Have a file translated; its id and a key, which here is the id again: both cannot be guessed."""
    sent = await sent_with(request)
    file = (sent.get("file") or [None])[0]
    if not isinstance(file, UploadFile):
        raise invalid("Parameter 'file' not specified.")
    name = text_of(sent, "filename", file.filename or "")
    source = base_code(text_of(sent, "source_lang", "")) or "auto"
    target = text_of(sent, "target_lang")
    data = await file.read()
    await request.close()
    document = await server.in_thread(server.background.add_document, caller, name, data, source, target)
    return {"document_id": document, "document_key": document}


@router.post("/document/{document}")
@router.get("/document/{document}")
def poll(document: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """How far a document is."""
    with server.database.read() as session:
        found = documents.get(session, caller.owner, document)
        total, translated = documents.counts(session, found.id)
        billed = sum(len(part.source_text) for part in documents.parts(session, found.id))
    states = {"queued": "queued", "running": "translating", "done": "done"}
    state = states.get(found.state, "error")
    values: dict[str, Any] = {"document_id": found.id, "status": state}
    if state == "translating":
        values["seconds_remaining"] = 1 + (total - translated) // 10
    if state == "done":
        values["billed_characters"] = billed
    if state == "error":
        values["message"] = values["error_message"] = found.error or "the translation was cancelled."
    return values


@router.post("/document/{document}/result")
@router.get("/document/{document}/result")
def result(document: str, server: Ours, caller: Reader) -> FileResponse:
    """The translated file."""
    return server.background.result(caller.owner, document)


# ---- glossaries


@router.get("/glossary-language-pairs")
def pairs(server: Ours, caller: Reader) -> dict[str, Any]:
    """Directions that a glossary can have."""
    return {"supported_languages": [{"source_lang": s, "target_lang": t} for s, t in server.directions.pairs]}


@router.post("/glossaries", status_code=201)
async def create_glossary(request: Request, server: Ours, caller: Writer) -> dict[str, Any]:
    """A new glossary; as with DeepL it is used where a request names it."""
    sent = await sent_with(request)
    name, entries = text_of(sent, "name"), text_of(sent, "entries")
    source, target = server.directions.check(text_of(sent, "source_lang"), text_of(sent, "target_lang"))
    kind = text_of(sent, "entries_format", "tsv")
    return await server.in_thread(_create, server, caller, name[:200], source, target, entries, kind)


def _create(
    server: Server, caller: Caller, name: str, source: str, target: str, entries: str, kind: str
) -> dict[str, Any]:
    rows = csv.reader(io.StringIO(entries), delimiter="\t" if kind == "tsv" else ",")
    try:
        pairs = [(row[0].strip(), row[1].strip()) for row in rows if len(row) >= 2]
    except csv.Error as error:
        where = f"line {rows.line_num}"
        raise invalid(f"the entries cannot be read ({where}: {error}); is a quotation mark missing?") from error
    if not pairs or not all(source and target and max(len(source), len(target)) <= 500 for source, target in pairs):
        raise invalid("the entries are not pairs of terms, each of 1 to 500 characters.")
    with server.database.write() as session:
        glossary = glossaries.create(session, caller.owner, name, source, target)
        glossary.active = False
        glossaries.put_terms(session, glossary, [{"source": term, "target": other} for term, other in pairs])
        session.refresh(glossary)
        return _glossary_values(glossary, len(glossary.terms))


@router.get("/glossaries")
def list_glossaries(server: Ours, caller: Reader) -> dict[str, Any]:
    """All glossaries."""
    with server.database.read() as session:
        found = glossaries.listed(session, caller.owner)
    return {"glossaries": [_glossary_values(glossary, size) for glossary, size in found]}


@router.get("/glossaries/{glossary}")
def get_glossary(glossary: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """One glossary."""
    with server.database.read() as session:
        found = glossaries.get(session, caller.owner, glossary)
        return _glossary_values(found, len(found.terms))


@router.get("/glossaries/{glossary}/entries")
def entries(glossary: str, server: Ours, caller: Reader) -> Response:
    """Its terms, separated by tabs."""
    with server.database.read() as session:
        found = glossaries.get(session, caller.owner, glossary)
        lines = [f"{' '.join(term.source.split())}\t{' '.join(term.target.split())}" for term in found.terms]
    return Response("\n".join(lines), media_type="text/tab-separated-values; charset=utf-8")


@router.delete("/glossaries/{glossary}", status_code=204)
def delete_glossary(glossary: str, server: Ours, caller: Writer) -> None:
    """Delete a glossary."""
    with server.database.write() as session:
        session.delete(glossaries.get(session, caller.owner, glossary))


def _glossary_values(glossary: Glossary, size: int) -> dict[str, Any]:
    return {
        "glossary_id": glossary.id,
        "name": glossary.name,
        "ready": True,
        "source_lang": glossary.source,
        "target_lang": glossary.target,
        "creation_time": glossary.created.isoformat(),
        "entry_count": size,
    }

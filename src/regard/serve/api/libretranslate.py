"""LibreTranslate's dialect, at the root, as its clients speak it."""

import json
from typing import Any

from fastapi import APIRouter, Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse

from regard.serve.access import Caller
from regard.serve.answer import Answer
from regard.serve.api.common import Ours, secret_of
from regard.serve.correcting import Corrected, reasons_against
from regard.serve.detection import detect
from regard.serve.errors import ServeError, invalid
from regard.serve.languages import language_of
from regard.serve.server import Server
from regard.serve.store import corrections
from regard.serve.translating import Ask

router = APIRouter(tags=["LibreTranslate"])


async def parameters(request: Request) -> dict[str, Any]:
    """What was sent: in the query, as a form or as JSON, the body before the query."""
    found: dict[str, Any] = {}
    for name in request.query_params:
        values = request.query_params.getlist(name)
        found[name] = values if len(values) > 1 else values[0]
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind in ("application/x-www-form-urlencoded", "multipart/form-data"):
        form = await request.form()
        for name in form:
            values = form.getlist(name)
            found[name] = values if len(values) > 1 else values[0]
    elif body := await request.body():
        try:
            sent = json.loads(body)
        except (ValueError, RecursionError):
            raise invalid("Invalid request: the body is not valid JSON") from None
        if not isinstance(sent, dict):
            raise invalid("Invalid request: the body is not a JSON object")
        found |= sent
    return found


def required(sent: dict[str, Any], *names: str) -> list[str]:
    """Parameters that must be there, as text.

    Raises:
        ServeError: 400, in LibreTranslate's words.
    """
    for name in names:
        if not sent.get(name) and sent.get(name) != "":
            raise invalid(f"Invalid request: missing {name} parameter")
        if not isinstance(sent[name], str):
            raise invalid(f"Invalid request: {name} is not a string")
    return [sent[name] for name in names]


async def caller_of(request: Request, server: Server, sent: dict[str, Any], scope: str = "translate") -> Caller:
    """Who calls: LibreTranslate's clients send the key among the parameters."""
    secret = sent.get("api_key") or secret_of(request)
    caller = await server.in_thread(
        server.access.identify, secret if isinstance(secret, str) else None, request.state.address
    )
    caller.need(scope)
    return caller


@router.post("/translate")
async def translate(request: Request, server: Ours) -> dict[str, Any]:
    """Translate ``q``, a string or a list."""
    sent = await parameters(request)
    caller = await caller_of(request, server, sent)
    q = sent.get("q")
    if not q and q != "" and q != []:
        raise invalid("Invalid request: missing q parameter")
    texts = [text for text in (q if isinstance(q, list) else [q]) if isinstance(text, str)]
    if (isinstance(q, list) and len(texts) < len(q)) or not isinstance(q, list | str):
        raise invalid("Invalid request: q is neither a string nor a list of strings")
    source, target = required(sent, "source", "target")
    ask = Ask(
        texts=texts,
        source=source,
        target=target,
        format=_format(sent),
        alternatives=_alternatives(sent),
        seconds=server.settings.deadline,
    )
    detected = None
    try:
        if _to_itself(server, source, target):
            await server.in_thread(server.admit, caller, texts)
            answers = [Answer(text, text) for text in texts]
        else:
            work, answers = await server.translate(request, caller, ask)
            detected = work.detected
    except ServeError as error:
        if error.code == "too_long":  # clients look for 400 here
            raise invalid(str(error)) from None
        raise
    result: dict[str, Any] = {"translatedText": [answer.text for answer in answers]}
    if detected:
        one = {"confidence": round(100 * detected.confidence), "language": _listed(detected.language)}
        result["detectedLanguage"] = [one] * len(texts)
    if ask.alternatives:
        result["alternatives"] = [_whole_alternatives(answer, ask.alternatives) for answer in answers]
    return result if isinstance(q, list) else {name: values[0] for name, values in result.items()}


@router.post("/detect")
async def detect_language(request: Request, server: Ours) -> list[dict[str, Any]]:
    """Which language ``q`` is in."""
    sent = await parameters(request)
    await caller_of(request, server, sent)
    (q,) = required(sent, "q")
    server.check_size([q])
    found = detect(q, server.directions.codes)
    return [{"confidence": round(100 * d.confidence), "language": _listed(d.language)} for d in found] or [
        {"confidence": 0.0, "language": "en"}
    ]


@router.get("/languages")
async def languages(server: Ours) -> list[dict[str, Any]]:
    """Languages and what each is translated into; Chinese under both names that clients use."""
    directions = server.directions
    listed = []
    for code in directions.codes:
        targets = sorted({name for t in [code, *directions.targets(code)] for name in _names(t)})
        listed += [{"code": name, "name": language_of(code).name, "targets": targets} for name in _names(code)]
    return listed


@router.post("/suggest")
async def suggest(request: Request, server: Ours) -> dict[str, bool]:
    """Take a better translation: a correction, which enters the memory unless the filter holds it back."""
    sent = await parameters(request)
    caller = await caller_of(request, server, sent, "write")
    q, s, source, target = required(sent, "q", "s", "source", "target")
    server.check_size([q, s])
    source, target = server.directions.check(source, target)

    made = Corrected(source, target, q, "", s)

    def save() -> None:
        reasons = reasons_against(server, made)
        with server.database.write() as session:
            corrections.add(session, caller.owner, **vars(made), reasons=reasons)

    await server.in_thread(save)
    return {"success": True}


@router.post("/translate_file")
async def translate_file(request: Request, server: Ours) -> dict[str, str]:
    """Translate a file and say where the result can be had."""
    sent = await parameters(request)
    caller = await caller_of(request, server, sent, "write")
    file = sent.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise invalid("Invalid request: missing file parameter")
    source, target = required(sent, "source", "target")
    data = await file.read()
    await request.close()
    document = await server.in_thread(server.background.add_document, caller, file.filename, data, source, target)
    await server.in_thread(server.background.wait_for, caller.owner, document)
    base = str(request.base_url).rstrip("/")
    return {"translatedFileUrl": f"{base}/download_file/{document}"}


@router.get("/download_file/{name}")
async def download_file(name: str, request: Request, server: Ours) -> FileResponse:
    """A translated file: its id is what makes it findable, and nobody can guess it."""
    return await server.in_thread(server.background.result_by_id, name)


@router.get("/frontend/settings")
async def frontend_settings(server: Ours) -> dict[str, Any]:
    """What LibreTranslate's own page asks for."""
    directions = server.directions
    first = directions.pairs[0]
    return {
        "apiKeys": server.settings.keys_required,
        "charLimit": server.settings.max_characters,
        "frontendTimeout": 500,
        "keyRequired": server.settings.keys_required,
        "filesTranslation": True,
        "supportedFilesFormat": [f".{name}" for name in server.background.formats],
        "suggestions": True,
        "language": {
            "source": {"code": first[0], "name": language_of(first[0]).name},
            "target": {"code": first[1], "name": language_of(first[1]).name},
        },
    }


@router.get("/spec")
async def spec(request: Request) -> dict[str, Any]:
    """The description of the API for programs."""
    return request.app.openapi()


def _listed(code: str) -> str:
    """The name that goes out: LibreTranslate calls simplified Chinese zh-Hans."""
    return "zh-Hans" if code == "zh" else code


def _names(code: str) -> list[str]:
    return ["zh-Hans", "zh"] if code == "zh" else [code]


def _to_itself(server: Server, source: str, target: str) -> bool:
    """Whether both name one language: ``/languages`` lists each among its own targets, as LibreTranslate does."""
    if source.strip().lower() == "auto":
        return False
    return server.directions.resolve(source) == server.directions.resolve(target)


def _format(sent: dict[str, Any]) -> Any:
    wish = sent.get("format") or "text"
    if wish not in ("text", "html"):
        raise invalid(f"{str(wish)[:40]} format is not supported")
    return wish


def _alternatives(sent: dict[str, Any]) -> int:
    try:
        count = int(sent.get("alternatives") or 0)
    except (TypeError, ValueError, OverflowError):  # JSON's 1e400 is infinite
        raise invalid("Invalid request: alternatives is not a number") from None
    return max(0, min(count, 5))


def _whole_alternatives(answer: Answer, count: int) -> list[str]:
    """Other translations of a whole text: of each sentence its next best."""
    found = []
    for rank in range(count):
        text, changed = answer.text, False
        for sentence in reversed(answer.sentences):
            if rank < len(sentence["alternatives"]) and sentence["start"] is not None:
                text = text[: sentence["start"]] + sentence["alternatives"][rank]["text"] + text[sentence["end"] :]
                changed = True
        if changed:
            found.append(text)
    return found

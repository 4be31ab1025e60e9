"""/v1: translating, streaming, other ways to go on, detection, languages."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field
from starlette.responses import JSONResponse, StreamingResponse

from regard.base.errors import RegardError
from regard.serve.answer import Answer, probability
from regard.serve.api.common import Body, DirectedBody, Ours, Reader
from regard.serve.detection import detect
from regard.serve.languages import language_of
from regard.serve.logs import log_failure
from regard.serve.server import Server
from regard.serve.translating import Ask, Work

router = APIRouter(prefix="/v1", tags=["translate"])

Text = Annotated[str, Field(max_length=1_000_000)]


class TranslateBody(Body):
    """What to translate, and how."""

    text: Text | list[Text] = Field(examples=[["The bread is still warm."]])
    source: str = Field("auto", max_length=20, examples=["en"])
    target: str = Field(max_length=20, examples=["de"])
    format: Literal["text", "html", "markdown"] = "text"
    alternatives: int = Field(0, ge=0, le=5)
    alignment: bool = False
    memory: bool = True
    glossaries: list[str] | None = Field(None, max_length=50)
    adapter: str = Field("active", max_length=40)
    deadline: float | None = Field(None, gt=0)

    def ask(self, server: Server) -> Ask:
        """The same as the server works with."""
        longest = server.settings.deadline
        return Ask(
            texts=[self.text] if isinstance(self.text, str) else self.text,
            source=self.source,
            target=self.target,
            format=self.format,
            alternatives=self.alternatives,
            alignment=self.alignment,
            memory=self.memory,
            glossaries=self.glossaries,
            adapter=self.adapter,
            seconds=min(self.deadline or longest, longest),
        )


@router.post("/translate", response_model=dict[str, Any])
async def translate(request: Request, body: TranslateBody, server: Ours, caller: Reader) -> JSONResponse:
    """Translate a text or several, with the reasons for each sentence."""
    work, answers = await server.translate(request, caller, body.ask(server))
    return JSONResponse(_values(work, answers))  # as it is: checking it would take longer than writing it


@router.post("/translate/stream")
async def stream(request: Request, body: TranslateBody, server: Ours, caller: Reader) -> StreamingResponse:
    """The same as it comes, as server-sent events: start, partial, sentence, translation, done."""
    events: asyncio.Queue[tuple[str, dict[str, Any]] | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def emit(event: str, data: dict[str, Any]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended: nobody listens
            loop.call_soon_threadsafe(events.put_nowait, (event, data))

    work = await server.in_thread(server.work, caller, body.ask(server), emit)

    async def run() -> None:
        start = time.perf_counter()
        try:
            await server.in_thread(work.run)
            emit("done", {"seconds": round(time.perf_counter() - start, 3)})
        except RegardError as error:
            emit("error", {"error": str(error), "code": getattr(error, "code", "invalid")})
        except Exception as error:
            log_failure("unexpected", error, route="/v1/translate/stream")
            emit("error", {"error": "something went wrong here; it was logged.", "code": "internal"})
        loop.call_soon_threadsafe(events.put_nowait, None)

    async def lines() -> AsyncIterator[str]:
        task = asyncio.create_task(run())
        try:
            while (item := await events.get()) is not None:
                yield f"event: {item[0]}\ndata: {json.dumps(item[1], ensure_ascii=False)}\n\n"
        finally:  # also when the client goes
            work.cancel()
            await asyncio.wait([task])

    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(lines(), media_type="text/event-stream", headers=headers)


class AlternativesBody(DirectedBody):
    """A sentence, and its translation up to the word to replace."""

    text: str = Field(min_length=1, max_length=2000, examples=["The bread is still warm."])
    prefix: str = Field("", max_length=2000, examples=["Das Brot ist "])
    limit: int = Field(5, ge=1, le=10)


@router.post("/alternatives")
async def alternatives(request: Request, body: AlternativesBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """Other ways to go on after the beginning of a translation."""
    ask = Ask(
        [body.text],
        body.source,
        body.target,
        alternatives=2 * body.limit,
        memory=False,
        glossaries=[],
        seconds=server.settings.deadline,
        options={"prefix": body.prefix},
    )
    _, answers = await server.translate(request, caller, ask)
    found: dict[str, dict[str, Any]] = {}
    for sentence in answers[0].sentences[:1]:
        start = _common(sentence["text"], body.prefix)
        for text, confidence in [(sentence["text"], sentence["confidence"])] + [
            (other["text"], other["confidence"]) for other in sentence["alternatives"]
        ]:
            word = _next_word(text[start:], body.target)
            if word and word not in found:
                found[word] = {"text": text, "next": word, "confidence": confidence}
    return {"alternatives": list(found.values())[: body.limit]}


class FluencyBody(DirectedBody):
    """A source and a translation of it, by whomever."""

    source_text: str = Field(min_length=1, max_length=2000, examples=["The bread is still warm."])
    text: str = Field(min_length=1, max_length=2000, examples=["Das Brot ist noch warm."])


@router.post("/fluency")
async def fluency(body: FluencyBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """How probable the model finds a translation, and each word of it; null where it cannot say."""
    server.check_size([body.source_text, body.text])
    direction = body.direction(server)
    found = await server.in_thread(server.judge.fluency, body.source_text, body.text, *direction)
    if found is None:
        return {"confidence": None, "words": []}
    words = [
        {"text": w.text, "start": w.place.start, "end": w.place.stop, "confidence": probability(w.score)}
        for w in found.words
    ]
    return {"confidence": probability(found.score), "words": words}


class DetectBody(Body):
    """A text."""

    text: Text = Field(examples=["Das Brot ist noch warm."])


@router.post("/detect")
def detect_language(body: DetectBody, server: Ours, caller: Reader) -> dict[str, Any]:
    """Which language a text is in."""
    server.check_size([body.text])
    found = detect(body.text, server.directions.codes)
    return {"detections": [{"language": d.language, "confidence": d.confidence} for d in found]}


@router.get("/languages")
def languages(server: Ours, caller: Reader) -> dict[str, Any]:
    """What the model translates."""
    directions = server.directions
    return {
        "languages": [
            {
                "code": code,
                "name": language_of(code).name,
                "native_name": language_of(code).native_name,
                "targets": directions.targets(code),
                "pivoted": directions.pivoted(code),
            }
            for code in directions.codes
        ]
    }


def _values(work: Work, answers: list[Answer]) -> dict[str, Any]:
    detected = work.detected
    return {
        "source": work.source,
        "target": work.target,
        "pivot": work.via,
        "detected": {"language": detected.language, "confidence": detected.confidence} if detected else None,
        "translations": [answer.values() for answer in answers],
    }


def _common(text: str, prefix: str) -> int:
    """Length of the beginning of ``text`` that is ``prefix``, white space aside."""
    place = 0
    for character in prefix:
        if character.isspace():
            continue
        while place < len(text) and text[place].isspace():
            place += 1
        if place < len(text) and text[place] == character:
            place += 1
    return place


def _next_word(rest: str, target: str) -> str:
    from regard.tasks.alignment import words_of

    words = words_of(["▁" + part for part in rest.split()]) if target != "zh" else words_of([*rest.strip()])
    return words[0].text if words else ""

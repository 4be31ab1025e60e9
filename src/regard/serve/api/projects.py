"""/v1/projects and /v1/segments: proofreading, with autosave, undo and more than one person at it."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import Field, ValidationError
from sqlalchemy.orm import Session
from starlette.datastructures import UploadFile
from starlette.responses import Response, StreamingResponse

from regard import __version__
from regard.data.documents import FORMATS
from regard.serve.api.common import Body, DirectedBody, Ours, Page, Reader, Writer, values_of
from regard.serve.background import bilingual
from regard.serve.correcting import Corrected, reasons_against
from regard.serve.errors import ServeError, invalid
from regard.serve.exchange import write_tmx
from regard.serve.problems import error_response
from regard.serve.server import Server
from regard.serve.store import corrections, glossaries, projects
from regard.serve.store.tables import Comment, MemoryEntry, Project, Segment, Term, now

router = APIRouter(prefix="/v1", tags=["projects"])

Version = Annotated[int, Field(ge=0, le=2**31 - 1)]


class ProjectBody(DirectedBody):
    """A new project of a text; of a file, send a form with ``file`` in place of ``text``."""

    name: str = Field(min_length=1, max_length=200, examples=["Leaflet"])
    text: str = Field(max_length=2_000_000, examples=["The bread is still warm. Try it!"])


class NameBody(Body):
    """Another name."""

    name: str = Field(min_length=1, max_length=200)


class SegmentBody(Body):
    """What becomes of a segment that was read at ``version``."""

    version: Version
    text: str | None = Field(None, max_length=20_000)
    status: Literal["draft", "confirmed"] | None = None
    seconds: float = Field(0.0, ge=0, le=3600)


class VersionBody(Body):
    """The version that was read."""

    version: Version


class CommentBody(Body):
    """What to say."""

    text: str = Field(min_length=1, max_length=5000)


@router.get("/projects")
def listed(server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """All projects, newest first."""
    with server.database.read() as session:
        found = projects.listed(session, caller.owner)
        shown = [project_values(session, project) for project in found[page.offset : page.offset + page.limit]]
    return page.of(shown, len(found))


_CREATE_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": ProjectBody.model_json_schema()},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["name", "source", "target", "file"],
                    "properties": {
                        **{name: {"type": "string"} for name in ("name", "source", "target")},
                        "file": {"type": "string", "format": "binary"},
                    },
                }
            },
        },
    }
}


@router.post("/projects", status_code=201, openapi_extra=_CREATE_BODY)
async def create(request: Request, server: Ours, caller: Writer) -> dict[str, Any]:
    """A new project of a text or a file; its translation begins in the background."""
    if request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile) or not file.filename:
                raise invalid("the form has no file.")
            body = _checked({**{k: v for k, v in form.items() if isinstance(v, str)}, "text": ""})
            arguments = body.name, file.filename, await file.read(), body.source, body.target
        project = await server.in_thread(server.background.add_project_of_file, caller, *arguments)
    else:
        body = _checked(await request.body())
        project = await server.in_thread(
            server.background.add_project, caller, body.name, body.source, body.target, body.text
        )
    return await server.in_thread(one, project, server, caller)


def _checked(sent: Any) -> ProjectBody:
    try:
        return ProjectBody.model_validate_json(sent) if isinstance(sent, bytes) else ProjectBody.model_validate(sent)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "body"
        raise ServeError(422, "invalid", f"Invalid request: {where}: {first['msg']}.") from None


@router.get("/projects/{project}")
def one(project: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """A project and how far it is."""
    with server.database.read() as session:
        return project_values(session, projects.get(session, caller.owner, project))


@router.patch("/projects/{project}")
def rename(project: str, body: NameBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Give it another name."""
    with server.database.write() as session:
        found = projects.get(session, caller.owner, project)
        found.name = body.name
        return project_values(session, found)


@router.delete("/projects/{project}", status_code=204)
def remove(project: str, server: Ours, caller: Writer) -> None:
    """Delete a project with its segments and its file."""
    server.background.delete_project(caller.owner, project)


@router.post("/projects/{project}/translate", status_code=202)
def translate(project: str, server: Ours, caller: Writer) -> dict[str, Any]:
    """Translate what is still empty."""
    with server.database.write() as session:
        found = projects.get(session, caller.owner, project)
        found.state, found.error = "translating", None
        session.flush()
        values = project_values(session, found)
    server.background.wake()
    return values


@router.get("/projects/{project}/segments")
def segments(
    project: str,
    server: Ours,
    caller: Reader,
    page: Annotated[Page, Depends()],
    status: Literal["empty", "machine", "draft", "confirmed"] | None = None,
    origin: Literal["machine", "memory", "human"] | None = None,
    q: Annotated[str, Query(max_length=200)] = "",
    order: Literal["position", "confidence"] = "position",
) -> dict[str, Any]:
    """Segments in order, or the least sure first."""
    with server.database.read() as session:
        found, total = projects.segments(
            session,
            projects.get(session, caller.owner, project).id,
            status=status,
            origin=origin,
            query=q,
            by_confidence=order == "confidence",
            offset=page.offset,
            limit=page.limit,
        )
        comments = projects.comment_counts(session, [segment.id for segment in found])
    return page.of([segment_values(segment, comments.get(segment.id, 0)) for segment in found], total)


@router.get("/projects/{project}/export")
def export(
    project: str,
    server: Ours,
    caller: Reader,
    format: Literal["text", "document", "bilingual", "tmx"] = "text",
) -> Response:
    """The translation: as text, in the file it came in, beside its source, or as TMX."""
    with server.database.read() as session:
        found = projects.get(session, caller.owner, project)
        every, _ = projects.segments(session, found.id)
    if format == "document":
        texts = {segment.position: segment.text for segment in every if segment.text}
        return _file(server.background.filled(found, texts), FORMATS[found.format].media_type, found.format)
    if format == "bilingual":
        rows = [(segment.source_text, segment.text) for segment in every if segment.source_text]
        return _file(bilingual(rows), "text/csv; charset=utf-8", "csv")
    if format == "tmx":
        entries = [
            MemoryEntry(
                source=found.source,
                target=found.target,
                source_text=segment.source_text,
                target_text=segment.text,
                created=segment.updated,
            )
            for segment in every
            if segment.status == "confirmed"
        ]
        headers = {"content-disposition": 'attachment; filename="project.tmx"'}
        return StreamingResponse(write_tmx(entries, __version__), media_type="application/x-tmx+xml", headers=headers)
    return _file("".join(joined(every, found.target)), "text/plain; charset=utf-8", "txt")


def joined(every: list[Segment], target: str) -> list[str]:
    """Texts of segments with what separates them; in Chinese a space between sentences goes, elsewhere one comes."""
    found = []
    for i, segment in enumerate(every):
        separator = segment.separator
        if i < len(every) - 1 and segment.source_text:
            if target == "zh" and separator == " ":
                separator = ""
            elif target != "zh" and not separator:
                separator = " "
        found += [segment.text or segment.source_text, separator]
    return found


def _file(content: str | bytes, media_type: str, suffix: str) -> Response:
    headers = {"content-disposition": f'attachment; filename="project.{suffix}"'}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/segments/{segment}")
def segment(segment: str, server: Ours, caller: Reader) -> dict[str, Any]:
    """One segment."""
    with server.database.read() as session:
        return _with_comments(session, projects.get_segment(session, caller.owner, segment))


@router.patch("/segments/{segment}")
def save(segment: str, body: SegmentBody, server: Ours, caller: Writer) -> Any:
    """Save a segment; confirming it makes a correction, which is in the memory before the answer comes."""
    server.check_size([body.text or ""])
    wish = projects.Change(body.text, body.status, body.seconds)
    confirmed = _confirmed(server, caller.owner, segment, wish)
    with _conflicts(segment) as conflict, server.database.write() as session:
        found = projects.get_segment(session, caller.owner, segment, lock=True)
        projects.change(session, found, body.version, wish, caller.key or caller.owner, _terms(session, found))
        values = _with_comments(session, found)
        if confirmed:
            made, reasons = confirmed
            correction = corrections.add(session, caller.owner, **vars(made), reasons=reasons)
            values["correction"] = values_of(correction, "id accepted reasons")
        return values
    return conflict.answer


def _confirmed(server: Server, owner: str, segment: str, wish: projects.Change) -> tuple[Corrected, list[str]] | None:
    """The correction that comes of a change, and what speaks against it: asked before the transaction begins."""
    with server.database.read() as session:
        found = projects.get_segment(session, owner, segment)
        project = found.project
        was = found.status == "confirmed"
    changed = wish.text is not None and wish.text != found.text
    will_be = wish.status == "confirmed" or (wish.status is None and was and not changed)
    if not will_be or (was and wish.text is None):
        return None
    text = found.text if wish.text is None else wish.text
    made = Corrected(project.source, project.target, found.source_text, found.machine_text, text)
    return made, reasons_against(server, made)


@router.post("/segments/{segment}/undo")
def undo(segment: str, body: VersionBody, server: Ours, caller: Writer) -> Any:
    """One step back."""
    return _step(segment, body.version, -1, server, caller)


@router.post("/segments/{segment}/redo")
def redo(segment: str, body: VersionBody, server: Ours, caller: Writer) -> Any:
    """One step forth again."""
    return _step(segment, body.version, 1, server, caller)


@router.get("/segments/{segment}/history")
def history(segment: str, server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """Texts that the segment had, oldest first."""
    with server.database.read() as session:
        found = projects.history(session, projects.get_segment(session, caller.owner, segment).id)
    return page.of(
        [
            {
                "version": v.version,
                "text": v.text,
                "status": v.status,
                "origin": v.origin,
                "author": v.author,
                "created": v.created,
            }
            for v in found
        ]
    )


@router.get("/segments/{segment}/comments")
def comments(segment: str, server: Ours, caller: Reader, page: Annotated[Page, Depends()]) -> dict[str, Any]:
    """What was said about a segment."""
    with server.database.read() as session:
        found = projects.comments(session, projects.get_segment(session, caller.owner, segment).id)
    return page.of([_comment_values(comment) for comment in found])


@router.post("/segments/{segment}/comments", status_code=201)
def comment(segment: str, body: CommentBody, server: Ours, caller: Writer) -> dict[str, Any]:
    """Say something about a segment."""
    with server.database.write() as session:
        found = projects.get_segment(session, caller.owner, segment)
        said = Comment(segment_id=found.id, text=body.text, author=caller.key or caller.owner, created=now())
        session.add(said)
        session.flush()
        return _comment_values(said)


class _conflicts:
    """Makes the answer to a conflict, which shows both texts."""

    def __init__(self, segment: str):
        self._path = f"/v1/segments/{segment}"
        self.answer: Response | None = None

    def __enter__(self) -> "_conflicts":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> bool:
        if not isinstance(error, projects.Conflict):
            return False
        theirs = segment_values(error.theirs, 0)
        theirs["updated"] = theirs["updated"].isoformat()
        answer = ServeError(409, "conflict", str(error), mine=error.mine, theirs=theirs)
        self.answer = error_response(self._path, answer)
        return True


def _step(segment: str, version: int, direction: int, server: Server, caller: Any) -> Any:
    with _conflicts(segment) as conflict, server.database.write() as session:
        found = projects.get_segment(session, caller.owner, segment, lock=True)
        projects.step(session, found, version, direction, _terms(session, found))
        return _with_comments(session, found)
    return conflict.answer


def _terms(session: Session, segment: Segment) -> list[tuple[Term, str]]:
    project = segment.project
    return glossaries.terms_for(session, project.owner, project.source, project.target, None)


def project_values(session: Session, project: Project) -> dict[str, Any]:
    """What JSON says of a project."""
    row = values_of(project, "id name source target created document format state error")
    return row | projects.counts(session, project.id)


def segment_values(segment: Segment, comment_count: int) -> dict[str, Any]:
    """What JSON says of a segment."""
    columns = "id position source_text text machine_text status origin match confidence checks version updated"
    return values_of(segment, columns) | {
        "project": segment.project_id,
        "edit_seconds": round(segment.edit_seconds, 1),
        "edit_distance": projects.edit_distance(segment),
        "can_undo": segment.current > 1,
        "can_redo": segment.current < segment.newest,
        "comments": comment_count,
    }


def _with_comments(session: Session, segment: Segment) -> dict[str, Any]:
    return segment_values(segment, projects.comment_counts(session, [segment.id]).get(segment.id, 0))


def _comment_values(comment: Comment) -> dict[str, Any]:
    return values_of(comment, "id text author created")

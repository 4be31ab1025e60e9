"""Work that nobody waits for with a hand on the key: documents and projects, segment by segment.

What is done stands in the database after every few segments, so that a server that was killed
goes on where it was.
"""

import contextlib
import csv
import io
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.responses import FileResponse

from regard.base.errors import RegardError
from regard.base.files import write_atomic
from regard.data.documents import FORMATS, Limits, Marked, format_of, open_document
from regard.serve.access import Caller
from regard.serve.answer import Answer
from regard.serve.detection import detect
from regard.serve.errors import ServeError, invalid, not_found
from regard.serve.exchange import safe_cell
from regard.serve.logs import log, log_failure
from regard.serve.store import documents, projects
from regard.serve.store.tables import Document, Project, new_id
from regard.serve.translating import Ask, Work

if TYPE_CHECKING:
    from regard.serve.server import Server

#: Segments that are translated, and saved, together: few, so that cancelling and people are answered soon.
_CHUNK = 8
_SECONDS = 600.0
_SECONDS_OF_A_TURN = 5.0
_LOOK_AGAIN = 30.0


class Background:
    """A thread that works through documents and projects by turns."""

    def __init__(self, server: "Server"):
        self._server = server
        self._news = threading.Condition()
        self._stopping = False
        self._work: Work | None = None
        self._opened: tuple[str, list[Marked]] = ("", [])
        self._turn, self._turn_ends = "", 0.0
        self._thread = threading.Thread(target=self._run, name="regard-background", daemon=True)

    @property
    def formats(self) -> list[str]:
        """Formats of documents, by name."""
        return list(FORMATS)

    def start(self) -> None:
        """Begin; what an earlier server left undone comes first."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the present segments."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._work:
            self._work.cancel()
        self._thread.join(timeout=30)

    def wake(self) -> None:
        """There is something to do."""
        with self._news:
            self._news.notify_all()

    # ---- documents

    def add_document(self, caller: Caller, name: str, data: bytes, source: str, target: str) -> str:
        """Take in a file and return the document's id; ``source`` may be ``auto``.

        Raises:
            ServeError: its format or language is not known, or a direction is not there.
            DataError: it cannot be read.
        """
        if source.strip().lower() == "auto":
            source = self._language_of(name, data, target)
        source, target = self._server.directions.check(source, target)
        kind, texts = self._read(name, data, source, target)
        self._server.access.spend(caller, sum(map(len, texts)))
        identity = new_id()
        write_atomic(self._path(identity, "source"), data)
        with self._server.database.write() as session:
            documents.create(
                session,
                caller.owner,
                Path(name).name[:200],
                kind,
                source,
                target,
                len(data),
                texts,
                self._server.settings.file_days,
                identity,
            )
        self.wake()
        return identity

    def wait_for(self, owner: str, document: str) -> None:
        """Wait until a document is done.

        Raises:
            ServeError: it failed, was cancelled, or takes too long.
        """
        until = time.monotonic() + _SECONDS
        while time.monotonic() < until:
            with self._server.database.read() as session:
                found = documents.get(session, owner, document)
            if found.state == "done":
                return
            if found.state not in documents.UNFINISHED:
                raise invalid(found.error or "the translation of the file was cancelled.")
            with self._news:
                self._news.wait(timeout=0.2)
        raise ServeError(504, "deadline", "the file takes too long; ask for it later.")

    def result(self, owner: str, document: str) -> FileResponse:
        """A translated file.

        Raises:
            ServeError: 409 where it is not done, 404 where there is none.
        """
        with self._server.database.read() as session:
            found = documents.get(session, owner, document)
        return self._file(found)

    def result_by_id(self, document: str) -> FileResponse:
        """The same for whoever knows the id."""
        with self._server.database.read() as session:
            found = session.get(Document, document)
        if found is None:
            raise not_found("document")
        return self._file(found)

    def delete(self, owner: str, document: str) -> None:
        """Forget a document and its files."""
        with self._server.database.write() as session:
            session.delete(documents.get(session, owner, document))
        self._remove_files(document)

    def _file(self, document: Document) -> FileResponse:
        if document.state != "done":
            raise ServeError(409, "not_ready", f"the document is {document.state}; its translation is not there.")
        path = self._path(document.id, "result")
        if not path.is_file():
            raise not_found("document")
        stem, dot, suffix = document.name.rpartition(".")
        name = f"{stem or suffix}.{document.target}{dot}{suffix if stem else ''}"
        media_type = FORMATS[document.format].media_type
        return FileResponse(path, media_type=media_type, filename=name, content_disposition_type="attachment")

    # ---- projects

    def add_project(self, caller: Caller, name: str, source: str, target: str, text: str) -> str:
        """A project of a text's sentences; its id."""
        from regard.data.sentences import split_sentences

        source, target = self._server.directions.check(source, target)
        self._server.access.spend(caller, len(text))
        spans = split_sentences(text, source)
        if not any(span.text for span in spans):
            raise invalid("the text is empty; a project needs at least one sentence.")
        with self._server.database.write() as session:
            pairs = [(span.text, span.separator_after) for span in spans]
            project = projects.create(session, caller.owner, name, source, target, pairs)
        self.wake()
        return project.id

    def add_project_of_file(self, caller: Caller, name: str, file: str, data: bytes, source: str, target: str) -> str:
        """A project of a document's segments; its id."""
        source, target = self._server.directions.check(source, target)
        kind, texts = self._read(file, data, source, target)
        self._server.access.spend(caller, sum(map(len, texts)))
        identity = new_id()
        write_atomic(self._path(identity, "source"), data)
        with self._server.database.write() as session:
            pairs = [(text, "\n") for text in texts]
            project = projects.create(
                session, caller.owner, name, source, target, pairs, format=kind, document=identity
            )
        self.wake()
        return project.id

    def delete_project(self, owner: str, project: str) -> None:
        """Forget a project and its file."""
        with self._server.database.write() as session:
            found = projects.get(session, owner, project)
            session.delete(found)
        if found.document:
            self._remove_files(found.document)

    def filled(self, project: Project, texts: dict[int, str]) -> bytes:
        """The document of a project with translations by position."""
        if project.document is None:
            raise invalid("this project was not made from a file; export it as text.")
        data = self._path(project.document, "source").read_bytes()
        return self._fill(project.format, data, project.source, project.target, texts)

    # ---- the thread

    def _run(self) -> None:
        while not self._stopping:
            busy = False
            try:
                busy = self._server.dispatcher.ready and self._next()
            except Exception as error:  # the database away, the engine failed: try again later
                log_failure("background", error)
            if not busy:
                with self._news:
                    if not self._stopping:
                        self._news.wait(timeout=_LOOK_AGAIN if self._server.dispatcher.ready else 0.2)

    def _next(self) -> bool:
        """Do a few segments of one thing; False where there is nothing to do.

        Each has some seconds and then lets the next one go on, so that nobody waits for the whole of a long one.
        """
        with self._server.database.read() as session:
            waiting = dict.fromkeys(documents.unfinished(session), "document")
            waiting |= dict.fromkeys(projects.translating(session), "project")
        if not waiting:
            self._expire()
            return False
        if self._turn not in waiting or time.monotonic() > self._turn_ends:
            names = list(waiting)
            after = names.index(self._turn) + 1 if self._turn in waiting else 0
            self._turn, self._turn_ends = names[after % len(names)], time.monotonic() + _SECONDS_OF_A_TURN
        name = self._turn
        if waiting[name] == "document":
            self._guarded(lambda: self._document_step(name), self._document_failed, name)
        else:
            self._guarded(lambda: self._project_step(name), self._project_failed, name)
        return True

    def _guarded(self, step: Callable[[], None], failed: Callable[[str, str], None], name: str) -> None:
        try:
            step()
        except ServeError as error:
            if error.status in (429, 499, 503):  # a matter of the moment
                with self._news:
                    if not self._stopping:
                        self._news.wait(timeout=1.0)
                return
            failed(name, str(error))
        except RegardError as error:
            failed(name, str(error))
        except Exception as error:
            log_failure("background", error)
            failed(name, "something went wrong here; it was logged.")

    def _document_step(self, name: str) -> None:
        database = self._server.database
        with database.write() as session:
            documents.set_state(session, name, "running", only=documents.UNFINISHED)
            document = session.get(Document, name)
            parts = documents.waiting_parts(session, name, _CHUNK)
        if document is None or document.state not in documents.UNFINISHED:
            return
        if not parts:
            self._finish_document(document)
            return
        likes = self._likes(document.id, document, [part.position for part in parts])
        answers = self._translate(document, [part.source_text for part in parts], likes)
        with database.write() as session:
            for part, answer in zip(parts, answers, strict=True):
                documents.set_text(session, part, answer.text, answer.checks)

    def _finish_document(self, document: Document) -> None:
        with self._server.database.read() as session:
            texts = {part.position: part.text or part.source_text for part in documents.parts(session, document.id)}
        data = self._path(document.id, "source").read_bytes()
        result = self._fill(document.format, data, document.source, document.target, texts)
        write_atomic(self._path(document.id, "result"), result)
        with self._server.database.write() as session:
            documents.set_state(session, document.id, "done", only=documents.UNFINISHED)
            deleted = session.get(Document, document.id) is None
        if deleted:  # while its result was made
            self._remove_files(document.id)
            return
        log("document", id=document.id, segments=len(texts))
        self.wake()

    def _document_failed(self, name: str, error: str) -> None:
        with self._server.database.write() as session:
            documents.set_state(session, name, "failed", error, only=documents.UNFINISHED)

    def _project_step(self, name: str) -> None:
        database = self._server.database
        with database.read() as session:
            project = session.get(Project, name)
            waiting, _ = projects.segments(session, name, status="empty", limit=_CHUNK)
        if project is None:
            return
        likes = None
        if project.document:
            likes = self._likes(project.document, project, [segment.position for segment in waiting])
        answers = self._translate(project, [segment.source_text for segment in waiting], likes) if waiting else []
        with database.write() as session:
            for segment, answer in zip(waiting, answers, strict=True):
                projects.set_machine(session, segment.id, answer.text, **_origin_of(answer))
            if len(waiting) < _CHUNK:
                projects.set_state(session, name, "ready")

    def _project_failed(self, name: str, error: str) -> None:
        with self._server.database.write() as session:
            projects.set_state(session, name, "failed", error)

    def _likes(self, name: str, kind: Document | Project, positions: list[int]) -> list[Marked]:
        """Segments as the file has them; the file that is being worked on is not read again for each few."""
        if self._opened[0] != name:
            data = self._path(name, "source").read_bytes()
            opened = open_document(
                data, format=kind.format, source=kind.source, target=kind.target, limits=self._limits
            )
            self._opened = name, [segment.source for segment in opened.segments]
        return [self._opened[1][position] for position in positions]

    def _translate(self, thing: Document | Project, texts: list[str], likes: list[Marked] | None) -> list[Answer]:
        server, owner = self._server, thing.owner
        # What nobody took from a file has no tags, even where it looks so.
        kind = "text" if likes is None else "marked"
        ask = Ask(texts, thing.source, thing.target, format=kind, likes=likes, urgent=False, seconds=_SECONDS)
        self._work = Work(server.dispatcher, server.database, server.model, owner, ask)
        server.metrics.characters.inc(sum(map(len, texts)))
        return self._work.run()

    def _expire(self) -> None:
        with self._server.database.read() as session:
            if not documents.expired(session):
                return
        with self._server.database.write() as session:
            gone = documents.expired(session)
            for document in gone:
                session.delete(document)
        for document in gone:
            self._remove_files(document.id)

    # ---- files

    def _read(self, name: str, data: bytes, source: str, target: str) -> tuple[str, list[str]]:
        """Format and segments of a file."""
        if len(data) > self._server.settings.max_file:
            raise ServeError(413, "too_long", f"the file is larger than {self._server.settings.max_file:,} bytes.")
        kind = format_of(Path(name).name)
        if kind is None:
            raise invalid(f"files of this kind are not translated; known are {', '.join(FORMATS)}.")
        opened = open_document(data, format=kind, source=source, target=target, limits=self._limits)
        return kind, [str(segment.source) for segment in opened.segments]

    def _language_of(self, name: str, data: bytes, target: str) -> str:
        """The language that a file seems to be in."""
        _, texts = self._read(name, data, "", target)
        found = detect("\n".join(texts), self._server.directions.codes)
        if not found:
            raise invalid("the language of the file is not clear; name its source language.")
        return found[0].language

    def _fill(self, kind: str, data: bytes, source: str, target: str, texts: dict[int, str]) -> bytes:
        opened = open_document(data, format=kind, source=source, target=target, limits=self._limits)
        translations = {segment.id: texts[i] for i, segment in enumerate(opened.segments) if i in texts}
        return opened.with_translations(translations)

    @property
    def _limits(self) -> Limits:
        return Limits(max_bytes=self._server.settings.max_file)

    def _path(self, document: str, what: str) -> Path:
        return self._server.folder("files") / f"{document}.{what}"

    def _remove_files(self, document: str) -> None:
        for what in ("source", "result"):
            with contextlib.suppress(OSError):
                self._path(document, what).unlink()


def bilingual(rows: list[tuple[str, str]]) -> str:
    """Source and translation side by side, as CSV."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(["source", "target"])
    writer.writerows([safe_cell(source), safe_cell(target)] for source, target in rows)
    return out.getvalue()


def _origin_of(answer: Answer) -> dict[str, Any]:
    """Where a whole segment's translation came from: the memory only where all of it did."""
    remembered = bool(answer.sentences) and all(s["origin"] == "memory" for s in answer.sentences)
    match = min(s["match"] for s in answer.sentences) if remembered else None
    return {
        "origin": "memory" if remembered else "machine",
        "match": match,
        "confidence": answer.confidence,
        "checks": answer.checks,
    }

"""Corrections into an adapter: trained in a process of its own, admitted only where it helps, taken back at will.

A run sets some corrections aside, trains an adapter on the others (``regard tune``), and
translates the held-out ones and a general set with and without it. It is used from then
on if the held-out corrections improve and the general set falls by no more than
:data:`TOLERATED`; the answer shows what changed either way.
"""

import contextlib
import re
import shutil
import subprocess
import sys
import threading
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.base.errors import RegardError
from regard.base.extras import is_installed, missing
from regard.base.files import write_atomic
from regard.data.corpus import Pair, read_lines
from regard.serve.errors import ServeError
from regard.serve.logs import log, log_failure
from regard.serve.store import adapters, corrections, memory, runs
from regard.serve.store.tables import Adapter, Run, new_id
from regard.serve.translating import Ask, Work

if TYPE_CHECKING:
    from regard.serve.server import Server
    from regard.tasks.translation import Translator

#: BLEU points that the general set may lose.
TOLERATED = 0.3
#: One correction in so many is kept out of the training, and judged by.
_HELD_OUT = 5
_EXAMPLES = 50
_BATCH = 16
_SECONDS = 3600.0
_LOOK_AGAIN = 1.0
_STEP = re.compile(rb"(\d{1,3})%")


class Learning:
    """Runs that learn, one at a time, the oldest first; what a killed server left undone is begun again."""

    def __init__(self, server: "Server"):
        self._server = server
        self._news = threading.Condition()
        self._stopping = False
        self._process: subprocess.Popen[bytes] | None = None
        self._work: Work | None = None
        self._thread = threading.Thread(target=self._loop, name="regard-learning", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """Stop; the present run goes on from its last checkpoint when the server starts again."""
        with self._news:
            self._stopping = True
            self._news.notify_all()
        if self._process:
            self._process.terminate()
        if self._work:
            self._work.cancel()
        self._thread.join(timeout=30)

    @property
    def available(self) -> dict[str, Any]:
        """Whether there is something to learn with, and why not."""
        if is_installed("torch"):
            return {"available": True, "reason": None}
        return {"available": False, "reason": str(missing("torch", "learning from corrections"))}

    def begin(self, owner: str, source: str, target: str) -> Run:
        """Queue a run.

        Raises:
            ServeError: 409 where there are too few corrections, or a run of this direction is not finished; 503
                where there is nothing to learn with.
        """
        if not self.available["available"]:
            raise ServeError(503, "learning_unavailable", self.available["reason"])
        if (source, target) not in self._server.directions.pairs:
            raise ServeError(
                409, "pivoted", f"{source}→{target} takes two steps; correct and learn the directions of each step."
            )
        with self._server.database.write() as session:
            _, count = corrections.listed(session, owner, source, target, accepted=True, limit=1)
            least = self._server.settings.min_corrections
            if count < least:
                raise ServeError(
                    409,
                    "too_few",
                    f"{least} accepted corrections of {source}→{target} are needed; there are {count}.",
                    missing=least - count,
                )
            if runs.is_unfinished(session, owner, source, target):
                raise ServeError(409, "running", "a run of this direction is not finished yet.")
            run = Run(owner=owner, source=source, target=target, corrections=count, state="queued", adapter=new_id())
            session.add(run)
            session.flush()
        with self._news:
            self._news.notify_all()
        return run

    def load(self, adapter: str | None) -> "Translator":
        """The translator with an adapter's weights, or as it is; called in the engine's thread."""
        from regard.tasks.translation import Translator

        folder = self._server.settings.model
        if adapter is None:
            return Translator.from_pretrained(folder)
        return Translator.from_pretrained(folder, adapters={adapter: self.folder(adapter)}, shares={adapter: 1.0})

    def remove(self, owner: str, adapter: str) -> None:
        """Delete an adapter and its weights."""
        with self._server.database.write() as session:
            session.delete(adapters.get(session, owner, adapter))
        self._server.dispatcher.refresh(adapter)
        shutil.rmtree(self.folder(adapter), ignore_errors=True)

    def folder(self, adapter: str) -> Path:
        """Where an adapter's weights lie."""
        return self._server.folder("adapters") / adapter

    # ---- the thread

    def _loop(self) -> None:
        while not self._stopping:
            run = self._waiting()
            if run is not None:
                self._guarded(run)
            else:
                with self._news:
                    if not self._stopping:
                        self._news.wait(timeout=_LOOK_AGAIN)

    def _waiting(self) -> Run | None:
        """The run to go on with, if there is one and an engine to judge it by."""
        if not self._server.dispatcher.ready:
            return None
        try:
            with self._server.database.read() as session:
                return runs.next_one(session)
        except Exception as error:  # the database is away: look again
            log_failure("learning", error)
            return None

    def _guarded(self, run: Run) -> None:
        try:
            self._do(run)
        except Exception as error:
            if self._stopping:
                return
            if not isinstance(error, RegardError):
                log_failure("learning", error, run=run.id)
            message = str(error) if isinstance(error, RegardError) else "something went wrong here; it was logged."
            with contextlib.suppress(RegardError):  # the database is away: the run is begun again
                self._clear(run)
                self._enter(run.id, state="failed", error=message)

    def _clear(self, run: Run) -> None:
        """Take away what a run leaves behind that is not used: an adapter, and the corrections it was trained on."""
        assert run.adapter is not None
        with self._server.database.write() as session:
            adapter = session.get(Adapter, run.adapter)
            if adapter is not None and adapter.active:
                return
            if adapter is not None:
                session.delete(adapter)
        self._server.dispatcher.refresh(run.adapter)
        shutil.rmtree(self.folder(run.adapter), ignore_errors=True)
        self._data(run).unlink(missing_ok=True)

    def _do(self, run: Run) -> None:
        assert run.adapter is not None
        self._enter(run.id, state="running")
        with self._server.database.read() as session:
            found, _ = corrections.listed(session, run.owner, run.source, run.target, accepted=True)
        newest = {memory.digest(c.source_text): Pair(_line(c.source_text), _line(c.text)) for c in reversed(found)}
        # By the digest: a correction that was held out once is never trained on later.
        held_out = [pair for mark, pair in newest.items() if int(mark, 16) % _HELD_OUT == 0]
        training = [pair for mark, pair in newest.items() if int(mark, 16) % _HELD_OUT]
        if not held_out or not training:
            raise ServeError(
                409, "too_few", "there are too few different corrections to learn from some and test by others."
            )
        self._train(run, training)
        with self._server.database.write() as session:
            if session.get(Adapter, run.adapter) is None:
                session.add(
                    Adapter(
                        id=run.adapter,
                        owner=run.owner,
                        source=run.source,
                        target=run.target,
                        active=False,
                        corrections=len(training),
                    )
                )
        report = self._judge(run, held_out)
        admitted = is_admitted(report)
        if not admitted:
            self._clear(run)
        outcome = {"state": "admitted", "adapter": run.adapter} if admitted else {"state": "rejected", "adapter": None}
        with self._server.database.write() as session:  # at once, so that no kill comes between
            runs.enter(session, run.id, **outcome, report=report, progress=1.0)
            if admitted:
                adapter = adapters.get(session, run.owner, run.adapter)
                adapter.report = report
                adapters.activate(session, adapter)
        log("learned", run=run.id, admitted=admitted, corrections=len(newest))

    def _train(self, run: Run, pairs: list[Pair]) -> None:
        """Run ``regard tune``; its folder goes on where an earlier attempt stopped."""
        assert run.adapter is not None
        from regard.tasks.translation import shipped_model

        folder, data = self.folder(run.adapter), self._data(run)
        write_atomic(data, "".join(f"{pair.source}\t{pair.target}\n" for pair in pairs))
        command = [sys.executable, "-m", "regard", "tune", "--method", "lora", "--data", str(data)]
        command += ["--source", run.source, "--target", run.target, "--output", str(folder)]
        command += ["--base", str(self._server.settings.model or shipped_model())]
        command += ["--steps", str(self._server.settings.learning_steps), "--threads", "1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            self._process = process
            if self._stopping:  # whoever stops us may not have seen the process
                process.terminate()
            assert process.stderr is not None
            last = b""
            for line in process.stderr:
                last = line.strip() or last
                if match := _STEP.search(line):
                    self._enter(run.id, progress=round(0.9 * min(int(match.group(1)), 100) / 100, 3))
        self._process = None
        data.unlink(missing_ok=True)
        if process.returncode:
            raise ServeError(500, "tune", f"the training ended with: {last.decode('utf-8', errors='replace')[-300:]}")

    def _judge(self, run: Run, held_out: list[Pair]) -> dict[str, Any]:
        """Scores with and without the adapter, and what it changes."""
        from regard.tasks.evaluation import corpus_scores

        assert run.adapter is not None
        general = general_set(self._server.settings.general, run.source, run.target)
        report: dict[str, Any] = {"metric": "BLEU", "held_out": len(held_out), "general": len(general)}
        texts: dict[str, list[str]] = {}
        for moment, adapter in (("before", "none"), ("after", run.adapter)):
            for name, pairs in (("held_out", held_out), ("general", general)):
                translations = self._translate(run, [pair.source for pair in pairs], adapter)
                scores = corpus_scores(
                    translations, [pair.target for pair in pairs], run.target, metrics=("bleu", "chrf")
                )
                report[f"{name}_{moment}"] = round(scores["bleu"].score, 2)
                report[f"{name}_{moment}_chrf"] = round(scores["chrf"].score, 2)
                if name == "held_out":
                    texts[moment] = translations
        report["examples"] = [
            {"source": pair.source, "before": before, "after": after, "reference": pair.target}
            for pair, before, after in zip(held_out, texts["before"], texts["after"], strict=True)
            if before != after
        ][:_EXAMPLES]
        return report

    def _translate(self, run: Run, texts: list[str], adapter: str) -> list[str]:
        server, found = self._server, []
        for start in range(0, len(texts), _BATCH):
            ask = Ask(
                texts[start : start + _BATCH],
                run.source,
                run.target,
                memory=False,
                glossaries=[],
                adapter=adapter,
                urgent=False,
                seconds=_SECONDS,
            )
            self._work = Work(server.dispatcher, server.database, server.model, run.owner, ask)
            found += [answer.text for answer in self._work.run()]
        return found

    def _enter(self, run: str, **values: Any) -> None:
        with self._server.database.write() as session:
            runs.enter(session, run, **values)

    def _data(self, run: Run) -> Path:
        """The corrections that a run is trained on."""
        return self._server.folder("adapters") / f"{run.adapter}.tsv"


def is_admitted(report: dict[str, Any]) -> bool:
    """Whether an adapter helps with what it was made for and does no harm elsewhere."""
    helps = report["held_out_after"] > report["held_out_before"]
    return helps and report["general_after"] >= report["general_before"] - TOLERATED


def general_set(folder: Path | None, source: str, target: str) -> list[Pair]:
    """Everyday sentences, a line each in ``en.txt``, ``de.txt`` and so on, that an adapter must not unlearn.

    Raises:
        ServeError: the folder lacks a language.
    """
    place = folder or Path(str(files("regard") / "assets" / "general"))
    sides = []
    for code in (source, target):
        path = place / f"{code}.txt"
        if not path.is_file():
            raise ServeError(500, "no_general_set", f"{place} has no {code}.txt to test what an adapter unlearns.")
        sides.append(list(read_lines(path)))
    if len(sides[0]) != len(sides[1]):
        raise ServeError(500, "no_general_set", f"{source}.txt and {target}.txt in {place} differ in their lines.")
    return [Pair(*pair) for pair in zip(*sides, strict=True)]


def _line(text: str) -> str:
    return " ".join(text.split())

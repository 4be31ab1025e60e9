"""One engine for everybody: a thread that owns it, a bounded queue, and batches that never stop.

Sentences of all requests share the engine's running batch; they join and leave it at every
step. Short requests overtake long ones, but not for ever, and work in the background
(documents, projects) has an engine of its own over the same weights, which moves when
nobody waits for an answer.
"""

import contextlib
import dataclasses
import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from regard.base.errors import RegardError
from regard.serve.errors import ServeError
from regard.serve.logs import log_failure

if TYPE_CHECKING:
    from regard.decode.request import Hypothesis, Request
    from regard.tasks.pending import Prepared
    from regard.tasks.translated import Sentence
    from regard.tasks.translation import Translator

#: Called in the engine's thread with the number of a sentence and its text so far.
OnPartial = Callable[[int, str], None]
#: Called there with the number of a sentence that is finished, and the sentence.
OnSentence = Callable[[int, "Sentence"], None]
Load = Callable[[str | None], "Translator"]
#: Characters a second until there is a measurement.
_FIRST_RATE = 500.0
#: What was measured counts for less with every step.
_FADE = 0.999
#: With people waiting, one step in so many is the background's, so that it never stands still.
_BACKGROUND_SHARE = 16
#: Adapters whose weights are kept in memory.
_MOST_ADAPTERS = 8


@dataclass(eq=False)
class Job:
    """Sentences that wait for the engine, or run on it."""

    prepared: "Prepared"
    requests: "dict[int, Request]"
    """Number of a sentence in ``prepared`` → what to ask of the engine; the others are not translated."""
    adapter: str | None
    """Which weights; None for the model as it is."""
    urgent: bool
    """Somebody waits for the answer."""
    deadline: float
    """When to give up, on the monotonic clock."""
    partial: OnPartial | None
    finished: OnSentence | None
    future: "Future[dict[int, list[Hypothesis]]]" = field(default_factory=Future)
    arrived: float = field(default_factory=time.monotonic)
    runner: "Runner | None" = None
    found: "dict[int, list[Hypothesis]]" = field(default_factory=dict)
    """Number of a sentence → what the engine made of it, best first."""
    numbers: set[int] = field(default_factory=set)
    """What the engine calls its sentences that run."""
    cancelled: bool = False

    @property
    def characters(self) -> int:
        """Size of the job."""
        return sum(len(self.prepared.cores[index]) for index in self.requests)

    def cancel(self) -> None:
        """Ask for it to be dropped; it is at the engine's next step."""
        self.cancelled = True


@dataclass(eq=False)
class Runner:
    """An engine and whose sentences run on it."""

    translator: "Translator"
    engine: Any
    owners: dict[int, tuple[Job, int]] = field(default_factory=dict)
    """The engine's number of a request → its job and the number of the sentence there."""

    def add(self, job: Job, index: int, request: "Request") -> None:
        """Give a sentence to the engine."""
        number = self.engine.add(request)
        self.owners[number] = (job, index)
        job.numbers.add(number)

    def forget(self, job: Job) -> None:
        """Take a job's sentences off the engine."""
        for number in job.numbers:
            self.owners.pop(number, None)
            self.engine.cancel(number)
        job.numbers.clear()


class Dispatcher:
    """The queue and the thread behind it."""

    def __init__(self, load: Load, *, queue_characters: int = 200_000):
        """
        Args:
            load: gives the translator with an adapter's weights, or, for None, the model as it is.
                It is called in the engine's thread.
            queue_characters: what may wait at a time.
        """
        self._load, self._limit = load, queue_characters
        self._changed = threading.Condition()
        self._waiting: list[Job] = []
        self._running: list[Job] = []
        self._runners: dict[tuple[str | None, bool], Runner] = {}
        self._stale: set[str] = set()
        self._thread: threading.Thread | None = None
        self._stopping = False
        self._done, self._busy = _FIRST_RATE, 1.0  # characters translated, and the seconds that took
        self._turn = itertools.count(1)
        self.translator: Translator | None = None
        """The model as it is, once it is loaded; also what prepares texts."""
        self.started = time.monotonic()
        self.state = "loading"
        self.problem = ""
        self.restarts = 0
        self.sentences_done = 0
        self.steps = 0

    # ---- from any thread

    def start(self) -> None:
        """Load the model and begin to work, in a thread of its own."""
        self._thread = threading.Thread(target=self._run, name="regard-engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Give up what waits and end the thread."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread:
            self._thread.join(timeout=30)

    def submit(
        self,
        prepared: "Prepared",
        requests: "dict[int, Request]",
        *,
        adapter: str | None = None,
        urgent: bool = True,
        seconds: float = 60.0,
        partial: OnPartial | None = None,
        finished: OnSentence | None = None,
    ) -> Job:
        """Queue sentences.

        Args:
            prepared: what :meth:`Translator.prepare` made of the texts.
            requests: which of its sentences to translate, and how.
            adapter: id of the adapter to use.
            urgent: whether somebody waits; else it runs in the background.
            seconds: after which to give up.
            partial: called at each step for each sentence that is not finished.
            finished: called for each sentence that is.

        Raises:
            ServeError: 429 where too much waits already, 503 where there is no engine.
        """
        job = Job(prepared, requests, adapter, urgent, time.monotonic() + seconds, partial, finished)
        with self._changed:
            if self.state == "failed" or self._stopping:
                why = self.problem or "the server is stopping."
                raise ServeError(503, "engine_unavailable", f"the engine is not available: {why}", retry_after=10)
            load = self.characters_waiting
            if load and load + job.characters > self._limit:
                raise ServeError(
                    429, "busy", "too many requests wait already; try again later.", retry_after=load / self.rate
                )
            self._waiting.append(job)
            self._changed.notify()
        return job

    def wait(self, job: Job) -> "dict[int, Sentence]":
        """What became of a job: its sentences by number, made here and not in the engine's thread.

        Raises:
            ServeError: it was cancelled, ran out of time, or the engine failed.
        """
        try:
            found = job.future.result(timeout=max(0.0, job.deadline - time.monotonic()) + 5)
        except CancelledError:
            raise ServeError(499, "cancelled", "the request was cancelled.") from None
        except TimeoutError:  # the engine's thread itself hangs
            job.cancel()
            raise _too_late() from None
        assert job.runner is not None
        return {index: job.runner.translator.sentence(job.prepared, index, each) for index, each in found.items()}

    def refresh(self, adapter: str) -> None:
        """Load this adapter's weights anew when they are next asked for."""
        with self._changed:
            self._stale.add(adapter)

    @property
    def waiting(self) -> int:
        """Jobs that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Jobs that run."""
        return len(self._running)

    @property
    def characters_waiting(self) -> int:
        """Characters of urgent jobs that are not finished; the background has its own bounds."""
        return sum(job.characters for job in [*self._waiting, *self._running] if job.urgent)

    @property
    def rate(self) -> float:
        """Characters a second, measured while there was work."""
        return self._done / max(self._busy, 1e-3)

    @property
    def ready(self) -> bool:
        """Whether the model is loaded."""
        return self.state == "ready"

    # ---- in the engine's thread

    def _run(self) -> None:
        try:
            self.translator = self._runner(None, True).translator
            self.state = "ready"
        except Exception as error:
            self._give_up(error)
            return
        while True:
            with self._changed:
                while not (self._waiting or self._running or self._stopping):
                    self._changed.wait()
                if self._stopping:
                    self._fail_all(ServeError(503, "engine_unavailable", "the server is stopping."))
                    return
            start = time.monotonic()
            try:
                self._turn_once()
                self._busy = _FADE * self._busy + time.monotonic() - start
                self._done *= _FADE
            except Exception as error:  # whatever an engine may raise, the next request finds a fresh one
                log_failure("engine_restart", error)
                self.restarts += 1
                self._runners.clear()
                self._fail_all(ServeError(503, "engine_unavailable", f"the engine failed ({type(error).__name__})."))

    def _give_up(self, error: Exception) -> None:
        self.state, self.problem = "failed", str(error)
        self._fail_all(ServeError(503, "engine_unavailable", f"the engine is not available: {error}"))

    def _turn_once(self) -> None:
        self._admit()
        self._drop_late()
        urgent = {job.runner: None for job in self._running if job.urgent and job.runner}
        slow = {job.runner: None for job in self._running if not job.urgent and job.runner}
        if urgent and next(self._turn) % _BACKGROUND_SHARE:
            slow = {}
        for runner in urgent | slow:
            self._step(runner)

    def _admit(self) -> None:
        """Hand waiting jobs to their engines, the short ones first; each second of waiting makes up for some length."""
        with self._changed:
            jobs = sorted(self._waiting, key=lambda job: job.arrived + job.characters / self.rate)
            self._waiting.clear()
            self._running += jobs
        for job in jobs:
            if job.cancelled:
                continue
            try:
                job.runner = self._runner(job.adapter, job.urgent)
                for index, request in job.requests.items():
                    job.runner.add(job, index, request)
                self._finish_if_done(job)
            except Exception as error:
                # An adapter that cannot be loaded is the trouble of those who asked for it, not of everybody.
                if job.adapter is None and not isinstance(error, RegardError):
                    raise
                self._fail(job, error)

    def _drop_late(self) -> None:
        now = time.monotonic()
        for job in list(self._running):
            if job.cancelled or now > job.deadline:
                if job.runner:
                    job.runner.forget(job)
                self._end(job, None if job.cancelled else _too_late())

    def _step(self, runner: Runner) -> None:
        self.steps += 1
        streaming = any(job.partial for job in self._running if job.runner is runner)
        for result in runner.engine.step(partial=streaming):
            owner = runner.owners.get(result.number)
            if owner is None:
                continue
            job, index = owner
            try:
                if result.finished:
                    del runner.owners[result.number]
                    job.numbers.discard(result.number)
                    self._take(runner, job, index, result.hypotheses)
                elif job.partial:
                    job.partial(index, runner.translator.partial(job.prepared, index, result.hypotheses[0]))
            except Exception as error:  # what is wrong with one sentence is not the others' trouble
                self._fail(job, error)

    def _take(self, runner: Runner, job: Job, index: int, hypotheses: "list[Hypothesis]") -> None:
        # The second attempt's request has the rule in it already, so there is no third.
        again = None if index in job.found else job.prepared.second_chance(index, hypotheses)
        job.found[index] = hypotheses
        self.sentences_done += 1
        if again:
            asked = job.requests[index]
            rule = dataclasses.replace(asked.options, no_repeat_ngram=again.options.no_repeat_ngram)
            runner.add(job, index, dataclasses.replace(asked, options=rule))
        elif job.finished:
            job.finished(index, runner.translator.sentence(job.prepared, index, hypotheses))
        self._finish_if_done(job)

    def _finish_if_done(self, job: Job) -> None:
        if not job.numbers:
            self._done += job.characters
            self._end(job, job.found)

    def _end(self, job: Job, outcome: "dict[int, list[Hypothesis]] | Exception | None") -> None:
        """Say the last word on a job: a result, an error, or None for cancelled."""
        with self._changed, contextlib.suppress(ValueError):
            self._running.remove(job)
        if job.future.done():
            return
        if outcome is None:
            job.future.cancel()
        elif isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)

    def _fail(self, job: Job, error: Exception) -> None:
        """End one job, and take what is left of it off its engine."""
        if job.runner:
            job.runner.forget(job)
        if not isinstance(error, RegardError):
            log_failure("engine", error)
            error = ServeError(500, "internal", "this could not be translated; why was logged.")
        self._end(job, error)

    def _fail_all(self, error: ServeError) -> None:
        with self._changed:
            jobs = [*self._waiting, *self._running]
            self._waiting.clear()
            self._running.clear()
        for job in jobs:
            if not job.future.done():
                job.future.set_exception(error)

    def _runner(self, adapter: str | None, urgent: bool) -> Runner:
        """The engine for these weights; the background's shares them with the urgent one."""
        with self._changed:
            stale, self._stale = self._stale, set()
        for name in stale:  # what runs on the old weights ends on them
            self._runners = {key: r for key, r in self._runners.items() if key[0] != name}
        runner = self._runners.pop((adapter, urgent), None) or self._new_runner(adapter, urgent)
        self._runners[adapter, urgent] = runner  # the last one is the one that was used last
        self._make_room()
        return runner

    def _new_runner(self, adapter: str | None, urgent: bool) -> Runner:
        other = self._runners.get((adapter, not urgent))
        if other is None:
            translator = self._load(adapter)
            return Runner(translator, translator.engine)
        twin = getattr(other.engine, "twin", None)
        return Runner(other.translator, twin()) if twin else other

    def _make_room(self) -> None:
        """Forget adapters that were used longest ago and are idle: each is a copy of the model's weights."""
        adapters = list(dict.fromkeys(name for name, _ in reversed(self._runners) if name))
        for old in adapters[_MOST_ADAPTERS:]:
            if not any(runner.owners for (name, _), runner in self._runners.items() if name == old):
                self._runners = {key: runner for key, runner in self._runners.items() if key[0] != old}


def _too_late() -> ServeError:
    return ServeError(504, "deadline", "the translation took longer than its deadline. Send less at once.")

"""A request on its way: memory first, then the engine, terms made sure of, and reasons for all of it."""

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard.serve.answer import Answer, Origin, sentence_values
from regard.serve.detection import Detection, detect
from regard.serve.dispatch import Dispatcher, Job
from regard.serve.errors import ServeError
from regard.serve.formats import Formatted
from regard.serve.languages import Directions
from regard.serve.store import adapters, glossaries, memory
from regard.serve.store.database import Database
from regard.serve.terms import Wanted, beginning, longest_first, occurrences, place_of, unglued
from regard.tasks.integrity import lost_numbers, severity

if TYPE_CHECKING:
    from regard.data.documents import Marked
    from regard.tasks.translation import Prepared, Sentence, Translator

#: Entries that come near a sentence are looked at for one that differs in numbers only.
_LEAST_NUMBERS_MATCH = 70


@dataclass(frozen=True)
class Ask:
    """What somebody wants translated, and how."""

    texts: list[str]
    source: str
    """A language code, or auto."""
    target: str
    format: str = "text"
    """text, html, markdown, or marked: text with numbered tags."""
    likes: "list[Marked] | None" = None
    """With ``marked``, for each text one that knows what its tags read as."""
    alternatives: int = 0
    alignment: bool = False
    memory: bool = True
    glossaries: list[str] | None = None
    """Ids; None for the active ones of the direction."""
    adapter: str = "active"
    """active, none or an id."""
    seconds: float = 60.0
    urgent: bool = True
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Further options of the search, such as ``prefix``."""


Emit = Callable[[str, dict[str, Any]], None]


class Work:
    """One request; :meth:`run` in a thread, :meth:`cancel` from any other."""

    def __init__(
        self, dispatcher: Dispatcher, database: Database, model: str, owner: str, ask: Ask, emit: Emit | None = None
    ):
        """
        Args:
            dispatcher: the engine.
            database: memory, glossaries and adapters.
            model: name of the model, for the record.
            owner: who asks.
            ask: what.
            emit: told of events while it runs: start, partial, sentence and translation.
        """
        if dispatcher.translator is None:
            state = dispatcher.problem or "the model is still being loaded."
            raise ServeError(503, "engine_unavailable", f"the engine is not ready: {state}", retry_after=3)
        self._dispatcher, self._database, self._model = dispatcher, database, model
        self._translator: Translator = dispatcher.translator
        self._owner, self._ask, self._emit = owner, ask, emit
        self._cancelled = False
        self._job: Job | None = None
        self._until = time.monotonic() + ask.seconds
        self.detected: Detection | None = None
        self.source, self.target = ask.source, ask.target
        self.adapter: str | None = None
        self._origins: dict[int, Origin] = {}
        self._whole: dict[int, memory.MemoryEntry] = {}

    def cancel(self) -> None:
        """Drop it: nobody waits any more."""
        self._cancelled = True
        if self._job:
            self._job.cancel()

    def run(self) -> list[Answer]:
        """Translate; the answers are in the order of the texts.

        Raises:
            ServeError: a language or direction that is not there, no engine, too late, cancelled.
        """
        self.settle_languages()
        if self._emit:
            detected = dataclasses.asdict(self.detected) if self.detected else None
            self._emit("start", {"source": self.source, "target": self.target, "detected": detected})
        if self.source == self.target:  # what is in that language already comes back as it is
            return self._told([Answer(text, text) for text in self._ask.texts])
        from regard.tasks.markup import reading

        options = dict(self._ask.options)
        if self._ask.alternatives:
            options["num_hypotheses"] = self._ask.alternatives + 1
        self._formatted = Formatted(self._ask.texts, self._ask.format, self._ask.likes)
        plain = [reading(piece) for piece in self._formatted.pieces]
        prepared = self._translator.prepare(plain, self.source, self.target, **options)
        self._whole = self._look_up_whole(prepared)
        remembered = self._look_up(prepared)
        where = _places(prepared, self._formatted.text_of)
        for index, sentence in remembered.items():
            if sentence.text:
                self._tell(where, index, sentence)
        found = remembered | self._translate(prepared, where, set(remembered))
        return self._assemble(prepared, found)

    def settle_languages(self) -> None:
        """Our own codes for the languages; the source found out where it is ``auto``."""
        directions = Directions(self._translator.directions)
        if self._ask.source.strip().lower() != "auto":
            self.source, self.target = directions.check(self._ask.source, self._ask.target)
            return
        self.target = directions.resolve(self._ask.target)
        candidates = detect("\n".join(self._ask.texts), directions.codes)
        # Without a letter there is nothing to tell a language by, and nothing to translate.
        self.detected = candidates[0] if candidates else Detection(self.target, 0.0)
        self.source = self.detected.language
        if self.source != self.target:
            directions.check(self.source, self.target)

    # ---- the memory

    def _look_up_whole(self, prepared: "Prepared") -> "dict[int, memory.MemoryEntry]":
        """Pieces of several sentences, or with tags, that were translated before as they are, by number."""
        if not self._ask.memory or self._ask.options.get("prefix"):
            return {}
        texts = {}
        for number, (piece, part) in enumerate(zip(self._formatted.pieces, prepared.parts, strict=True)):
            text = str(piece).strip()
            if text and [segment.core for segment in part if segment.core] != [text]:
                texts[number] = text
        with self._database.read() as session:
            exact = memory.exact(session, self._owner, self.source, self.target, list(texts.values()))
        return {number: exact[text] for number, text in texts.items() if text in exact}

    def _look_up(self, prepared: "Prepared") -> "dict[int, Sentence]":
        """Sentences that were translated before, and terms and adapter of the others."""
        found: dict[int, Sentence] = {}
        with self._database.read() as session:
            self.adapter = adapters.chosen(session, self._owner, self.source, self.target, self._ask.adapter)
            terms = glossaries.terms_for(session, self._owner, self.source, self.target, self._ask.glossaries)
            if self._ask.memory and not self._ask.options.get("prefix"):
                exact = memory.exact(session, self._owner, self.source, self.target, list(prepared.cores))
                for index, core in enumerate(prepared.cores):
                    if core in exact:
                        entry, text, match = exact[core], exact[core].target_text, 100
                    else:
                        near = self._differs_in_numbers(session, core)
                        if near is None:
                            continue
                        entry, text, match = near
                    found[index] = _remembered(core, text)
                    self._origins[index] = Origin("memory", match, entry.id)
        others = {s.core for i, part in enumerate(prepared.parts) if i not in self._whole for s in part}
        for index, core in enumerate(prepared.cores):
            if index not in found:
                self._origins[index] = Origin("machine", terms=tuple(_terms_in(core, terms)))
                if core not in others:  # nobody will see it
                    found[index] = _remembered(core, "")
        entries = [o.memory for o in self._origins.values() if o.memory] + [e.id for e in self._whole.values()]
        if entries:
            with self._database.write() as session:
                memory.used(session, entries)
        return found

    def _differs_in_numbers(self, session: Any, core: str) -> "tuple[memory.MemoryEntry, str, int] | None":
        if not re.search(r"\d", core):
            return None
        near = memory.search(
            session, self._owner, self.source, self.target, core, minimum=_LEAST_NUMBERS_MATCH, limit=3
        )
        for match in near:
            adapted = memory.adapt(match.entry, core)
            if adapted is not None:
                return match.entry, adapted, match.match
        return None

    # ---- the engine

    def _translate(
        self, prepared: "Prepared", where: "dict[int, list[tuple[int, int]]]", known: set[int]
    ) -> "dict[int, Sentence]":
        tagged = {i for i, piece in enumerate(self._formatted.pieces) if piece.tags}
        by_alignment = {s.core for i in tagged for s in prepared.parts[i] if s.core}
        requests = {}
        for index, request in enumerate(prepared.requests):
            if index in known:
                continue
            if self._ask.alignment or self._origins[index].terms or prepared.cores[index] in by_alignment:
                request = dataclasses.replace(request, options=dataclasses.replace(request.options, alignment=True))
            requests[index] = request
        if not requests:
            return {}
        with_terms = {index for index in requests if self._origins[index].terms}

        def partial(index: int, text: str) -> None:
            for text_number, number in where[index]:
                about = {"index": text_number, "sentence": number, "source": prepared.cores[index]}
                self._say("partial", {**about, "text": text})

        def finished(index: int, sentence: "Sentence") -> None:
            if index not in with_terms and not lost_numbers(sentence.source, sentence.text):
                self._tell(where, index, sentence)

        listening = self._emit is not None
        found = self._ask_engine(
            prepared, requests, partial=partial if listening else None, finished=finished if listening else None
        )
        changed = self._keep_numbers(prepared, found)
        changed |= self._keep_terms(prepared, {i: changed.get(i, found[i]) for i in with_terms})
        for index, sentence in changed.items():
            self._tell(where, index, sentence)
        return found | changed

    def _keep_numbers(self, prepared: "Prepared", found: "dict[int, Sentence]") -> "dict[int, Sentence]":
        """Sentences that lost a number, translated again with more care."""
        lost = [i for i, sentence in found.items() if lost_numbers(sentence.source, sentence.text)]
        if not lost:
            return {}
        careful = self._translator.careful(prepared, lost)
        again = self._ask_engine(careful, dict(enumerate(careful.requests)))
        better = {i: again[number] for number, i in enumerate(lost)}
        return {i: s if severity(s.problems) < severity(found[i].problems) else found[i] for i, s in better.items()}

    def _ask_engine(self, prepared: "Prepared", requests: dict[int, Any], **told: Any) -> "dict[int, Sentence]":
        if self._cancelled:
            raise ServeError(499, "cancelled", "the request was cancelled.")
        self._job = self._dispatcher.submit(
            prepared,
            requests,
            adapter=self.adapter,
            urgent=self._ask.urgent,
            seconds=max(0.0, self._until - time.monotonic()),
            **told,
        )
        return self._dispatcher.wait(self._job)

    def _keep_terms(self, prepared: "Prepared", sentences: "dict[int, Sentence]") -> "dict[int, Sentence]":
        """Search again where a term is missing, each time with one more of them settled, from left to right."""
        starts = dict.fromkeys(sentences, "")
        hopeless: set[tuple[int, str]] = set()  # what the tokenizer cannot write; the answer flags it
        tokenizer = self._translator.tokenizers[1]
        while True:
            wanted: dict[int, Wanted] = {}
            requests = {}
            for index, sentence in sentences.items():
                terms = [t for t in self._origins[index].terms if (index, t.source) not in hopeless]
                missing = [t for t in terms if not t.kept_in(sentence.text)]
                if not missing:
                    continue
                settled = len(starts[index])
                place, _, term = min((place_of(t, sentence, settled), t.start, t) for t in missing)
                starts[index], wanted[index] = beginning(term, sentence, place), term
                request = prepared.requests[index]
                requests[index] = dataclasses.replace(
                    request,
                    options=dataclasses.replace(request.options, alignment=True),
                    prefix=tuple(tokenizer.encode(starts[index])),
                )
            if not requests:
                return sentences
            for index, sentence in self._ask_engine(prepared, requests).items():
                sentences[index] = unglued(wanted[index], sentence, starts[index])
                if not wanted[index].kept_in(sentences[index].text):
                    hopeless.add((index, wanted[index].source))

    # ---- the answer

    def _tell(self, where: "dict[int, list[tuple[int, int]]]", index: int, sentence: "Sentence") -> None:
        if self._emit:
            values = self._values(index, sentence)
            for text_number, number in where[index]:
                self._say("sentence", {"index": text_number, "sentence": number, **values})

    def _say(self, event: str, data: dict[str, Any]) -> None:
        if self._emit:
            self._emit(event, data)

    def _values(self, index: int, sentence: "Sentence") -> dict[str, Any]:
        if not self._ask.alignment:
            sentence = dataclasses.replace(sentence, attention=None)
        return sentence_values(sentence, self._origins[index], self._model, self.adapter)

    def _assemble(self, prepared: "Prepared", found: "dict[int, Sentence]") -> list[Answer]:
        from regard.data.documents import Marked
        from regard.tasks.markup import place_tags

        ordered = [found[index] for index in range(len(prepared.cores))]
        values = {core: self._values(i, found[i]) for i, core in enumerate(prepared.cores)}
        translations = self._translator.finish(prepared, ordered)
        pieces = self._formatted.pieces
        marked = [place_tags(piece, translation) for piece, translation in zip(pieces, translations, strict=True)]
        for i, entry in self._whole.items():
            marked[i] = Marked.parse(_within_space(str(pieces[i]), entry.target_text), pieces[i])
        texts = self._formatted.filled(marked)
        answers = [Answer(text, filled) for text, filled in zip(self._formatted.texts, texts, strict=True)]
        for i, (number, translation) in enumerate(zip(self._formatted.text_of, translations, strict=True)):
            answer = answers[number]
            if i in self._whole:
                answer.sentences.append(self._values_of_whole(self._whole[i], str(pieces[i])))
                continue
            for part in translation.parts:
                if part.sentence is None:
                    continue
                own = dict(values[part.sentence.source])
                if self._ask.format == "text":
                    own |= {"source_start": part.source.start, "source_end": part.source.stop}
                    own |= {"start": part.target.start, "end": part.target.stop}
                answer.sentences.append(own)
        return self._told(answers)

    def _values_of_whole(self, entry: "memory.MemoryEntry", text: str) -> dict[str, Any]:
        sentence = _remembered(text.strip(), entry.target_text)
        values = sentence_values(sentence, Origin("memory", 100, entry.id), self._model, None)
        if self._ask.format == "text":
            start = len(text) - len(text.lstrip())
            values |= {"source_start": start, "source_end": start + len(text.strip())}
            values |= {"start": start, "end": start + len(entry.target_text)}
        return values

    def _told(self, answers: list[Answer]) -> list[Answer]:
        for number, answer in enumerate(answers):
            self._say("translation", {"index": number, **answer.values()})
        return answers


def _remembered(core: str, text: str) -> "Sentence":
    from regard.tasks.translation import Sentence

    return Sentence(source=core, text=text, score=0.0, source_pieces=(), pieces=(), log_probs=())


def _within_space(source: str, text: str) -> str:
    """``text`` between the white space that stands around ``source``."""
    start = len(source) - len(source.lstrip())
    return source[:start] + text + source[len(source.rstrip()) :]


def _terms_in(core: str, terms: "list[tuple[glossaries.Term, str]]") -> list[Wanted]:
    found = [
        Wanted(t.source, t.target, tuple(t.variants), t.case_sensitive, glossary, start, end)
        for t, glossary in terms
        for start, end in occurrences(t.source, core, t.case_sensitive)[:1]
    ]
    return longest_first(found)


def _places(prepared: "Prepared", text_of: list[int]) -> dict[int, list[tuple[int, int]]]:
    """Number of a sentence in ``prepared`` → (text, number there) of each of its occurrences.

    Args:
        prepared: pieces of texts taken apart.
        text_of: for each piece the number of its text.
    """
    number_of = {core: index for index, core in enumerate(prepared.cores)}
    where: dict[int, list[tuple[int, int]]] = {index: [] for index in range(len(prepared.cores))}
    counts: Counter[int] = Counter()
    for text_number, part in zip(text_of, prepared.parts, strict=True):
        for segment in part:
            if segment.core:
                where[number_of[segment.core]].append((text_number, counts[text_number]))
                counts[text_number] += 1
    return where

"""A request on its way: memory first, then the engine, terms made sure of, and reasons for all of it."""

import dataclasses
import itertools
import logging
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard.serve.answer import Answer, Origin, sentence_values
from regard.serve.detection import Detection, detect
from regard.serve.dispatch import Dispatcher
from regard.serve.errand import Errand
from regard.serve.errors import ServeError
from regard.serve.formats import Formatted
from regard.serve.languages import Directions
from regard.serve.logs import log
from regard.serve.store import adapters, glossaries, memory
from regard.serve.store.database import Database
from regard.serve.terms import wanted_in

if TYPE_CHECKING:
    from regard.data.documents import Marked
    from regard.tasks.pending import Prepared
    from regard.tasks.translated import Sentence
    from regard.tasks.translation import Translator

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
        self._database, self._model = database, model
        self._translator: Translator = dispatcher.translator
        self._owner, self._ask, self._emit = owner, ask, emit
        self._errand = Errand(dispatcher, self._translator, urgent=ask.urgent, seconds=ask.seconds)
        self.detected: Detection | None = None
        self.source, self.target = ask.source, ask.target
        self.via: str | None = None
        """The language between, where the direction takes two steps."""
        self._adapters: list[str | None] = [None]
        self._origins: dict[int, Origin] = {}
        self._whole: dict[int, memory.MemoryEntry] = {}

    def cancel(self) -> None:
        """Drop it: nobody waits any more."""
        self._errand.cancel()

    def run(self) -> list[Answer]:
        """Translate; the answers are in the order of the texts.

        Raises:
            ServeError: a language or direction that is not there, no engine, too late, cancelled.
        """
        self.settle_languages()
        detected = dataclasses.asdict(self.detected) if self.detected else None
        self._say("start", {"source": self.source, "target": self.target, "pivot": self.via, "detected": detected})
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
        else:
            self.target = directions.resolve(self._ask.target)
            candidates = detect("\n".join(self._ask.texts), directions.codes)
            # Without a letter there is nothing to tell a language by, and nothing to translate.
            self.detected = candidates[0] if candidates else Detection(self.target, 0.0)
            self.source = self.detected.language
            if self.source != self.target:
                directions.check(self.source, self.target)
        self.via = directions.via(self.source, self.target)

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
        if not texts:
            return {}
        with self._database.read() as session:
            exact = memory.exact(session, self._owner, self.source, self.target, list(texts.values()))
        return {number: exact[text] for number, text in texts.items() if text in exact}

    def _look_up(self, prepared: "Prepared") -> "dict[int, Sentence]":
        """Sentences that were translated before, and terms and adapter of the others."""
        found: dict[int, Sentence] = {}
        with self._database.read() as session:
            stops = [self.source, *([self.via] if self.via else []), self.target]
            self._adapters = [
                adapters.chosen(session, self._owner, *step, self._ask.adapter) for step in itertools.pairwise(stops)
            ]
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
                    self._origins[index] = Origin("memory", match, entry.id, tuple(wanted_in(core, terms)))
        others = {s.core for i, part in enumerate(prepared.parts) if i not in self._whole for s in part}
        for index, core in enumerate(prepared.cores):
            if index not in found:
                self._origins[index] = Origin("machine", terms=tuple(wanted_in(core, terms)))
                if core not in others:  # nobody will see it
                    found[index] = _remembered(core, "")
        self._count([o.memory for o in self._origins.values() if o.memory] + [e.id for e in self._whole.values()])
        return found

    def _count(self, entries: list[str]) -> None:
        """Count the use of entries; where that cannot be saved, the translation is good all the same."""
        if not entries:
            return
        try:
            with self._database.write() as session:
                memory.used(session, entries)
        except ServeError as error:
            log("uses_not_counted", logging.WARNING, code=error.code)

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
        wanted = [index for index in range(len(prepared.cores)) if index not in known]

        def partial(index: int, text: str) -> None:
            for text_number, number in where[index]:
                about = {"index": text_number, "sentence": number, "source": prepared.cores[index]}
                self._say("partial", {**about, "text": text})

        def finished(index: int, sentence: "Sentence") -> None:
            self._tell(where, index, sentence)

        listening = self._emit is not None
        return self._errand.run(
            prepared,
            wanted,
            self._adapters,
            terms={i: self._origins[i].terms for i in wanted if self._origins[i].terms},
            aligned=[i for i in wanted if self._ask.alignment or prepared.cores[i] in by_alignment],
            partial=partial if listening else None,
            finished=finished if listening else None,
        )

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
        return sentence_values(sentence, self._origins[index], self._model, self._adapters, self.via)

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
        values = sentence_values(sentence, Origin("memory", 100, entry.id), self._model)
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
    from regard.tasks.translated import Sentence

    return Sentence(source=core, text=text, score=0.0, source_pieces=(), pieces=(), log_probs=())


def _within_space(source: str, text: str) -> str:
    """``text`` between the white space that stands around ``source``."""
    start = len(source) - len(source.lstrip())
    return source[:start] + text + source[len(source.rstrip()) :]


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

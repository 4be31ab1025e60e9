"""Sentences of one request on the engine: asked for, and seen to that numbers and terms are in them."""

import dataclasses
import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from regard.serve.dispatch import Dispatcher, Job
from regard.serve.terms import Wanted, beginning, missing_in, place_of, stands_at_its_place, unglued
from regard.tasks.integrity import lost_numbers, severity
from regard.tasks.pivot import joined, second_step

if TYPE_CHECKING:
    from regard.decode.request import Request
    from regard.tasks.pending import Prepared
    from regard.tasks.translated import Sentence
    from regard.tasks.translation import Translator

Terms = Mapping[int, tuple[Wanted, ...]]
Join = Callable[[int, "Sentence"], "Sentence"]


class Errand:
    """What a request wants of the engine; :meth:`run` in a thread, :meth:`cancel` from any other."""

    def __init__(self, dispatcher: Dispatcher, translator: "Translator", *, urgent: bool, seconds: float):
        """
        Args:
            dispatcher: the engine.
            translator: what prepares and reads its requests.
            urgent: whether somebody waits.
            seconds: after which to give up.
        """
        self._dispatcher, self._translator, self._urgent = dispatcher, translator, urgent
        self._until = time.monotonic() + seconds
        self._cancelled = False
        self._job: Job | None = None

    def cancel(self) -> None:
        """Drop it: nobody waits any more."""
        self._cancelled = True
        if self._job:
            self._job.cancel()

    def run(
        self,
        prepared: "Prepared",
        wanted: Collection[int],
        adapters: "list[str | None]",
        *,
        terms: Terms,
        aligned: Collection[int] = (),
        partial: Callable[[int, str], None] | None = None,
        finished: "Callable[[int, Sentence], None] | None" = None,
    ) -> "dict[int, Sentence]":
        """Translate sentences, by their numbers in ``prepared``.

        Args:
            prepared: the sentences, of a direction of one step or of two.
            wanted: which of them to translate.
            adapters: the adapter of each step.
            terms: what must be in the translations.
            aligned: which translations need their attention for something else.
            partial: told of what there is so far of a sentence, in the engine's thread.
            finished: told of each sentence once, in any thread.

        Raises:
            ServeError: no engine, too late, cancelled.
        """
        if not wanted:
            return {}
        with_attention = {*aligned, *terms}
        first: dict[int, Sentence] = {}
        if prepared.via:
            first = self._step(prepared, _requests(prepared, wanted, with_attention), adapters[0])
            prepared = second_step(self._translator, prepared, first)
        told: set[int] = set()

        def join(index: int, sentence: "Sentence") -> "Sentence":
            return joined(first[index], sentence) if first else sentence

        def tell(index: int, sentence: "Sentence") -> None:
            if finished and index not in terms and not lost_numbers(sentence.source, sentence.text):
                told.add(index)
                finished(index, join(index, sentence))

        requests = _requests(prepared, wanted, with_attention)
        steps = self._step(prepared, requests, adapters[-1], partial=partial, finished=finished and tell)
        found = {index: join(index, sentence) for index, sentence in steps.items()}
        found |= self._keep_terms(prepared, found, terms, adapters[-1], join)
        for index, sentence in found.items():
            if finished and index not in told:
                finished(index, sentence)
        return found

    def _step(
        self, prepared: "Prepared", requests: "dict[int, Request]", adapter: str | None, **told: Any
    ) -> "dict[int, Sentence]":
        """Ask for sentences; those that lost a number once more, with more care."""
        found = self._ask(prepared, requests, adapter, **told)
        lost = [i for i, sentence in found.items() if lost_numbers(sentence.source, sentence.text)]
        if not lost:
            return found
        careful = self._translator.careful(prepared, lost)
        again = self._ask(careful, dict(enumerate(careful.requests)), adapter)
        better = {i: again[number] for number, i in enumerate(lost)}
        return found | {i: s for i, s in better.items() if severity(s.problems) < severity(found[i].problems)}

    def _ask(
        self, prepared: "Prepared", requests: "dict[int, Request]", adapter: str | None, **told: Any
    ) -> "dict[int, Sentence]":
        seconds = max(0.0, self._until - time.monotonic())
        self._job = self._dispatcher.submit(
            prepared, requests, adapter=adapter, urgent=self._urgent, seconds=seconds, **told
        )
        if self._cancelled:  # whoever did so may not have seen this job
            self._job.cancel()
        return self._dispatcher.wait(self._job)

    def _keep_terms(
        self, prepared: "Prepared", found: "dict[int, Sentence]", terms: Terms, adapter: str | None, join: Join
    ) -> "dict[int, Sentence]":
        """Search again where a term is missing, each time with one more of them settled, from left to right."""
        sentences = {index: found[index] for index in terms if index in found}
        starts = dict.fromkeys(sentences, "")
        settled: set[tuple[int, int]] = set()  # they are in the beginning, or the tokenizer cannot write them
        tokenizer = self._translator.tokenizers[1]
        while True:
            wanted: dict[int, Wanted] = {}
            requests = {}
            for index, sentence in sentences.items():
                lacking = {term.target.casefold() for term in missing_in(terms[index], sentence.text)}
                # of a term that is wanted twice and there once, the one that is not where it belongs
                open_ = [t for t in terms[index] if t.target.casefold() in lacking and (index, t.start) not in settled]
                missing = [t for t in open_ if not stands_at_its_place(t, sentence)] or open_
                if not missing:
                    continue
                after = len(starts[index])
                place, _, term = min((place_of(t, sentence, after), t.start, t) for t in missing)
                settled.add((index, term.start))
                starts[index], wanted[index] = beginning(term, sentence, place), term
                request = prepared.requests[index]
                requests[index] = dataclasses.replace(
                    request,
                    options=dataclasses.replace(request.options, alignment=True),
                    prefix=(*prepared.begin, *tokenizer.encode(starts[index])),
                )
            if not requests:
                return sentences
            for index, sentence in self._ask(prepared, requests, adapter).items():
                sentences[index] = unglued(wanted[index], join(index, sentence), starts[index])


def _requests(prepared: "Prepared", wanted: Collection[int], aligned: Collection[int]) -> "dict[int, Request]":
    found = {}
    for index in wanted:
        request = prepared.requests[index]
        if index in aligned:
            request = dataclasses.replace(request, options=dataclasses.replace(request.options, alignment=True))
        found[index] = request
    return found

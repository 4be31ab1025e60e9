"""Translate a document: in steps that can be watched, cancelled and taken up again, with an honest report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from regard.data.documents import Document, DocumentSegment, Marked
from regard.tasks.integrity import Problem, check
from regard.tasks.markup import translate_marked

if TYPE_CHECKING:
    from regard.tasks.translation import Translator

#: Segments translated together, between two looks at whether to go on.
STEP = 64

Origin = Literal["machine", "given"]


@dataclass(frozen=True)
class SegmentResult:
    """What became of a segment."""

    id: str
    """Its number in the document."""
    source: Marked
    """What was to be translated."""
    target: Marked
    """Its translation."""
    origin: Origin = "machine"
    """Who translated it: the model, or somebody before, such as a person or a memory."""
    score: float = 0.0
    """Mean natural-log probability of a piece; 0 where the model was not asked."""
    problems: tuple[Problem, ...] = ()
    """What the translation does not keep of its source."""

    @property
    def unchanged(self) -> bool:
        """Whether the translation is its source."""
        return self.target.text == self.source.text


Progress = Callable[[int, int, list[SegmentResult]], None]


@dataclass(frozen=True)
class DocumentResult:
    """A translated document, or as much of it as was translated."""

    document: Document
    """What was translated."""
    segments: tuple[SegmentResult, ...]
    """The segments that have a translation now, in the order of the document."""
    cancelled: bool = False
    """Whether it was stopped before its end."""

    @cached_property
    def data(self) -> bytes:
        """The file; segments without a translation stand in it as they were."""
        return self.document.with_translations({segment.id: segment.target for segment in self.segments})

    @property
    def total(self) -> int:
        """Number of segments of the document."""
        return len(self.document.segments)

    @property
    def translated(self) -> int:
        """Number of segments whose translation differs from their source."""
        return sum(not segment.unchanged for segment in self.segments)

    @property
    def unchanged(self) -> tuple[SegmentResult, ...]:
        """Segments whose translation is their source: names, or a model that did not know better."""
        return tuple(segment for segment in self.segments if segment.unchanged)

    @property
    def flagged(self) -> tuple[SegmentResult, ...]:
        """Segments to look at: something was not kept."""
        return tuple(segment for segment in self.segments if segment.problems)

    def report(self) -> str:
        """What a person should know, in a few lines."""
        lines = [f"{self.translated} of {self.total} segments translated."]
        if self.cancelled:
            lines.append(f"Stopped: {self.total - len(self.segments)} were not reached.")
        if self.unchanged:
            lines.append(f"{len(self.unchanged)} came out as they were:")
            lines += [f"  {segment.id}: {_short(segment.source.text)}" for segment in self.unchanged]
        if self.flagged:
            lines.append(f"{len(self.flagged)} to look at:")
            lines += [f"  {s.id}: {'; '.join(problem.detail for problem in s.problems)}" for s in self.flagged]
        return "\n".join(lines)


def translate_document(
    translator: "Translator",
    document: Document,
    source: str,
    target: str,
    *,
    progress: Progress = lambda done, total, new: None,
    cancelled: Callable[[], bool] = lambda: False,
    done: Mapping[str, Marked | str] | None = None,
    **options: Any,
) -> DocumentResult:
    """Translate the segments of a document.

    Args:
        translator: a model.
        document: as :func:`regard.data.documents.open_document` gives it.
        source: language of the document.
        target: language to translate into.
        progress: called after each step with the number of segments that have a translation, the number
            of all, and those that are new; what it is given can be passed as ``done`` later.
        cancelled: asked before each step.
        done: number of a segment → a translation that is there already.
        options: as :meth:`regard.tasks.translation.Translator.translate` takes them.
    """
    results: dict[str, SegmentResult] = {}
    for number, given in (done or {}).items():
        segment = document.by_id.get(number)
        if segment is not None:
            marked = Marked.parse(given, segment.source) if isinstance(given, str) else given
            problems = check_marked(segment.source, marked)
            results[number] = SegmentResult(number, segment.source, marked, "given", problems=problems)
    waiting = [segment for segment in document.segments if segment.id not in results]
    if results:
        progress(len(results), len(document.segments), list(results.values()))
    known: dict[Marked, SegmentResult] = {}  # the same text is translated once
    stopped = False
    for start in range(0, len(waiting), STEP):
        stopped = cancelled()
        if stopped:
            break
        new = _step(translator, waiting[start : start + STEP], known, source, target, options)
        results |= {result.id: result for result in new}
        progress(len(results), len(document.segments), new)
    ordered = tuple(results[segment.id] for segment in document.segments if segment.id in results)
    return DocumentResult(document, ordered, stopped)


def check_marked(source: Marked, target: Marked) -> tuple[Problem, ...]:
    """What a translation with tags, whoever made it, does not keep: placeholders, numbers, tags."""
    problems = list(check(source.text, target.text))
    there = {tag.name for tag in target.tags}
    wanted = {tag.name for tag in source.tags}
    problems += [Problem("markup", f"tag {name} is missing") for name in sorted(wanted - there, key=int)]
    problems += [Problem("markup", f"tag {name} is not in the source") for name in sorted(there - wanted, key=int)]
    return tuple(problems)


def _step(
    translator: "Translator",
    segments: list[DocumentSegment],
    known: dict[Marked, SegmentResult],
    source: str,
    target: str,
    options: dict[str, Any],
) -> list[SegmentResult]:
    fresh = list({segment.source: segment.id for segment in segments if segment.source not in known})
    for marked, found in zip(fresh, translate_marked(translator, fresh, source, target, **options), strict=True):
        known[marked] = SegmentResult("", marked, found.target, "machine", found.translation.score, found.problems)
    return [
        SegmentResult(segment.id, segment.source, same.target, same.origin, same.score, same.problems)
        for segment in segments
        for same in (known[segment.source],)
    ]


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:57] + "…"

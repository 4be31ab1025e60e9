"""Text with inline markup translated: the words by the model, the tags by the alignment of its words.

The model never sees a tag. Where one stood between two words, it goes between their translations; a
pair goes around the translations of the words inside. White space that a tag stands for (a line
break) is seen as white space.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from regard.data.chinese import is_han
from regard.data.documents.marked import Marked, Tag
from regard.tasks.alignment import word_attention, word_spans, words_of
from regard.tasks.integrity import Problem
from regard.tasks.pending import loops
from regard.tasks.translated import Sentence, Translation

if TYPE_CHECKING:
    from regard.tasks.translation import Translator


@dataclass(frozen=True)
class MarkedTranslation:
    """A translated text with tags."""

    source: Marked
    """What was translated."""
    target: Marked
    """Its translation, with the same tags."""
    translation: Translation
    """The translation of the text, with its sentences, scores and problems."""

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What was not kept; sentences that were cut off or go round in circles too."""
        found = list(self.translation.problems)
        for sentence in self.translation.sentences:
            if not sentence.finished:
                found.append(Problem("length", f"'{sentence.source}' was cut off"))
            if loops(sentence.pieces, sentence.source_pieces):
                found.append(Problem("repetition", f"'{sentence.text}' repeats itself"))
        return tuple(found)


def translate_marked(
    translator: "Translator", texts: Iterable[Marked], source: str, target: str, **options: Any
) -> list[MarkedTranslation]:
    """Translate texts with tags.

    Args:
        translator: a model that gives an alignment.
        texts: each of any length.
        source: language of the texts.
        target: language to translate into.
        options: as :meth:`regard.tasks.translation.Translator.translate` takes them.

    Returns:
        Translations in the order of the texts; each has the tags of its source, each once.
    """
    texts = list(texts)
    plain = [reading(text) for text in texts]
    aligned = [i for i, text in enumerate(texts) if text.tags]
    found: dict[int, Translation] = {}
    for numbers, alignment in (
        ([i for i, text in enumerate(texts) if not text.tags], {}),
        (aligned, {"alignment": True}),
    ):
        if numbers:
            translations = translator.translate([plain[i] for i in numbers], source, target, **(options | alignment))
            found |= dict(zip(numbers, translations, strict=True))
    return [MarkedTranslation(text, place_tags(text, found[i]), found[i]) for i, text in enumerate(texts)]


def reading(marked: Marked) -> str:
    """The text as it reads, with white space for the tags that stand for some."""
    return "".join(piece if isinstance(piece, str) else piece.reads for piece in marked.pieces())


@dataclass(frozen=True)
class _Word:
    """A word of the translation, or a stretch copied into it, and what of the source it comes from."""

    target: range
    sources: tuple[tuple[range, float], ...]
    """Words of the source and how much it looked at each; 1 together."""
    copied: bool = False
    is_mark: bool = False
    """Punctuation, which looks anywhere."""

    @property
    def source(self) -> range:
        """What it looked at most."""
        return max(self.sources, key=lambda pair: pair[1])[0]

    def share(self, start: int, end: int) -> float:
        """How much of what it looked at lies between two places."""
        return sum(weight for span, weight in self.sources if span.start < end and start < span.stop)


def place_tags(marked: Marked, translation: Translation) -> Marked:
    """The translation of ``reading(marked)`` with the tags of ``marked``, each once.

    Args:
        marked: the source.
        translation: has to have an alignment where there are tags.
    """
    if not marked.tags:
        return Marked(translation.text)
    if translation.text == translation.source:  # numbers, names
        return marked
    words = _words(translation)
    end = len(translation.text)
    tags = _place(_tree(marked), words, range(0, end), end)
    return _spaced(marked, _without_readings(translation.text, tags))


def _spaced(source: Marked, target: Marked) -> Marked:
    """``target`` with white space around lone tags that have some on either side in the source."""
    free = {
        tag.name
        for tag in source.tags
        if tag.kind == "alone" and not tag.reads and source.text[: tag.position][-1:].isspace()
        and source.text[tag.position :][:1].isspace()
    }  # fmt: skip
    text, tags = target.text, list(target.tags)
    for i, tag in enumerate(tags):
        if tag.kind != "alone" or tag.name not in free:
            continue
        at = tags[i].position
        before, after = text[:at][-1:], text[at:][:1]
        left = before.isalnum() and not is_han(before)
        right = after.isalnum() and not is_han(after)
        text = text[:at] + " " * left + " " * right + text[at:]
        moved = [(left if j == i else left + right) if j >= i else 0 for j in range(len(tags))]
        tags = [Tag(t.position + by, t.name, t.kind, t.reads) for t, by in zip(tags, moved, strict=True)]
    return Marked(text, tuple(tags))


@dataclass
class _Node:
    """A pair with what is in it, or a tag alone; places are those of the reading."""

    tag: Tag
    start: int
    end: int
    inside: "list[_Node]"


def _tree(marked: Marked) -> list[_Node]:
    levels: list[list[_Node]] = [[]]
    shift = 0
    for tag in marked.tags:
        place = tag.position + shift
        if tag.kind == "close":
            levels.pop()
            levels[-1][-1].end = place
        else:
            node = _Node(tag, place, place, [])
            levels[-1].append(node)
            if tag.kind == "open":
                levels.append(node.inside)
        shift += len(tag.reads)
    return levels[0]


def _place(nodes: Sequence[_Node], words: Sequence[_Word], within: range, end: int) -> list[Tag]:
    """Tags in their places, all within a range, in an order that nests."""
    spans = [
        _stretch(node, words, within, end) if node.tag.kind == "open" else _point(node.start, words, within, end)
        for node in nodes
    ]
    tags: list[Tag] = []
    taken = within.start
    for node, span in sorted(zip(nodes, spans, strict=True), key=lambda pair: pair[1].start):
        start = max(span.start, taken)
        taken = max(span.stop, start)
        if node.tag.kind == "alone":
            tags.append(Tag(start, node.tag.name, "alone", node.tag.reads))
        else:
            tags.append(Tag(start, node.tag.name, "open"))
            tags += _place(node.inside, words, range(start, taken), end)
            tags.append(Tag(taken, node.tag.name, "close"))
    return tags


def _stretch(node: _Node, words: Sequence[_Word], within: range, end: int) -> range:
    """What became of the inside of a pair: the run of words that looked there most, and elsewhere least."""
    candidates = [w for w in words if not w.is_mark and within.start <= w.target.start and w.target.stop <= within.stop]
    best, best_sum = range(0), 0.0
    start, total = 0, 0.0
    for i, word in enumerate(candidates):
        if total <= 0:
            start, total = i, 0.0
        total += word.share(node.start, node.end) - 0.5
        if total > best_sum:
            best, best_sum = range(start, i + 1), total
    if not best and candidates:  # no word looked there for the most part: the one that did most
        i = max(range(len(candidates)), key=lambda i: candidates[i].share(node.start, node.end))
        best = range(i, i + 1) if candidates[i].share(node.start, node.end) > 0.2 else best
    if not best:
        return _point(node.start, words, within, end)
    return range(candidates[best.start].target.start, candidates[best.stop - 1].target.stop)


def _point(at: int, words: Sequence[_Word], within: range, end: int) -> range:
    """Where what stood at ``at`` goes: it keeps to the word before it, or to the one after it, whichever is nearer."""
    place = end
    before = [word for word in words if word.source.stop <= at]
    after = [word for word in words if word.source.start >= at]
    exact = next((word for word in words if word.copied and at in word.source), None)
    nearest = min((word.source.start for word in after), default=-1)
    latest = max((word.source.stop for word in before), default=-1)
    if exact:
        place = exact.target.start + at - exact.source.start
    elif after and (not before or nearest - at <= at - latest):
        place = min(word.target.start for word in after if word.source.start == nearest)
    elif before:
        place = max(word.target.stop for word in before if word.source.stop == latest)
    place = min(max(place, within.start), within.stop)
    return range(place, place)


def _words(translation: Translation) -> list[_Word]:
    words: list[_Word] = []
    for part in translation.parts:
        if part.sentence is not None:
            words += _words_of_sentence(part.sentence, translation.text, part.source.start, part.target)
        elif len(part.source) == len(part.target):
            words.append(_Word(part.target, ((part.source, 1.0),), copied=True))
    return words


def _words_of_sentence(sentence: Sentence, text: str, source_start: int, target: range) -> Iterator[_Word]:
    if sentence.attention is None:
        return
    source_words, target_words = words_of(sentence.source_pieces), words_of(sentence.pieces)
    source_spans = [_moved(span, source_start) for span in word_spans(sentence.source, source_words)]
    target_spans = word_spans(text[target.start : target.stop], target_words)
    for row, span in zip(word_attention(sentence.attention, source_words, target_words), target_spans, strict=True):
        if span and row.sum() > 0:
            here = _moved(span, target.start)
            is_mark = not any(character.isalnum() for character in text[here.start : here.stop])
            yield _Word(here, tuple(zip(source_spans, map(float, row), strict=True)), is_mark=is_mark)


def _moved(span: range, by: int) -> range:
    return range(span.start + by, span.stop + by)


def _without_readings(text: str, tags: list[Tag]) -> Marked:
    """Take the white space out of the text that a tag stands for."""
    for tag in [tag for tag in tags if tag.reads]:
        place = next(t.position for t in tags if t.name == tag.name)
        for at in (place, place - 1):
            if 0 <= at < len(text) and text[at] in (tag.reads, " "):
                text = text[:at] + text[at + 1 :]
                tags = [Tag(t.position - (t.position > at), t.name, t.kind, t.reads) for t in tags]
                break
    return Marked(text, tuple(tags))

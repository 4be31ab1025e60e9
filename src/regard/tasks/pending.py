"""Texts on their way through an engine, whoever drives it: what was asked, and what to ask again."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from regard.decode.request import Hypothesis, Options, Request
from regard.tasks.integrity import Mask
from regard.tasks.segments import Segment


@dataclass(frozen=True)
class Prepared:
    """Texts on their way through an engine: taken apart, encoded, and what to ask."""

    texts: tuple[str, ...]
    """The texts as they were given."""
    source: str
    """Language of the texts."""
    target: str
    """Language to translate into."""
    parts: tuple[tuple[Segment, ...], ...]
    """Of each text its sentences and what surrounds them."""
    cores: tuple[str, ...]
    """The sentences to translate, each different one once."""
    masks: tuple[Mask, ...]
    """The same with stand-ins for what must not change."""
    encoded: list[list[int]]
    """The pieces of ``masks``."""
    requests: list[Request]
    """One for each of ``cores``."""
    begin: tuple[int, ...] = ()
    """Pieces that every translation must begin with and that are not its text: the tag of its language."""
    via: str | None = None
    """Where the model lacks the direction: the language that ``requests`` translate into, on the way to ``target``."""
    onward: dict[str, Any] = field(default_factory=dict)
    """With ``via``: options of the second step (:mod:`regard.tasks.pivot`)."""

    def second_chance(self, index: int, hypotheses: Sequence[Hypothesis]) -> Request | None:
        """What to ask instead where the translation of a sentence loops: the same under a rule that forbids it."""
        request = self.requests[index]
        made = hypotheses[0].ids[len(request.prefix) :]  # what was asked for may loop
        if request.options.no_repeat_ngram or not loops(made, self.encoded[index]):
            return None
        return dataclasses.replace(request, options=dataclasses.replace(request.options, no_repeat_ngram=3))

    def without_begin(self, hypothesis: Hypothesis) -> Hypothesis:
        """The text of a hypothesis, with its figures."""
        count, alignment = len(self.begin), hypothesis.alignment
        if not count:
            return hypothesis
        return dataclasses.replace(
            hypothesis,
            ids=hypothesis.ids[count:],
            log_probs=hypothesis.log_probs[count:],
            alignment=None if alignment is None else alignment[count:],
        )


def own_draws(options: Options, sentence: str) -> Options:
    """The same options with a seed of the sentence's own: from one seed all would be drawn alike, piece by piece."""
    if not options.sample:
        return options
    digest = hashlib.blake2b(sentence.encode("utf-8", "surrogatepass"), digest_size=7).digest()
    return dataclasses.replace(options, seed=(options.seed + int.from_bytes(digest)) % (1 << 63))


def loops(ids: Sequence[Any], source: Sequence[Any]) -> bool:
    """Whether a translation repeats itself as no translation of ``source`` would: one run of 1 to 4
    pieces four times on end, where the source has no run three times on end."""
    return _repeats(ids, 4) and not _repeats(source, 3)


def _repeats(ids: Sequence[Any], times: int) -> bool:
    for size in range(1, 5):
        for start in range(len(ids) - size * times + 1):
            run = ids[start : start + size]
            if all(ids[start + k * size : start + (k + 1) * size] == run for k in range(1, times)):
                return True
    return False

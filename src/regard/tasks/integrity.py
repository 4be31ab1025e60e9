"""What has to come through a translation unchanged: placeholders, addresses, tags, emoji, numbers.

A model is asked to translate a sentence in which stand-ins such as ``{1}`` take their places, since it copies
those most faithfully; then they are put back. What a model loses all the same is put where the
alignment says, and said so (:class:`Problem`).
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from regard.base.patterns import lazily

_EMOJI = "[\U0001f000-\U0001faff\u2190-\u21ff\u2600-\u27bf\u2b00-\u2bff]"
# Chinese follows an address without a space; punctuation at its end belongs to the sentence.
_ADDRESS = r"[^\s<>\"“”«»\u2e80-\uffef]*[^\s<>\"“”«»\u2e80-\uffef.,:;!?')\]}]"
_PROTECTED = "|".join(
    (
        rf"(?<![A-Za-z0-9])(?:(?i:https?|ftps?|file)://|(?i:www)\.){_ADDRESS}",
        r"(?<![A-Za-z0-9._%+-])[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+",
        r"</?[A-Za-z][\w:.-]*(?:\s[^<>]*)?/?>",
        r"\[[A-Z]\d+[A-Z]\]",
        r"\{\{[^{}]*\}\}|[$#]?\{[^{}\s]*\}",
        r"(?<![\d%])%(?:\d+\$|\(\w+\))?[-+#0]*\d*(?:\.\d+)?(?:hh|h|ll|l|L|q|j|z|t)?[sdiufFeEgGxXoc@](?![a-z])|(?<![\d%])%\d+\b",
        r"&(?:[A-Za-z]+|#\d+|#x[0-9A-Fa-f]+);",
        r"\$[A-Za-z_]\w*",
        r"(?<![A-Za-z0-9_])[A-Za-z0-9]+(?:_[A-Za-z0-9]+)+(?![A-Za-z0-9_])(?:\(\))?",
        rf"[0-9#*]\ufe0f?\u20e3|{_EMOJI}(?:[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff\U0001f1e6-\U0001f1ff]|\u200d{_EMOJI})*",
    )
)
# Digits with what may stand between them: 1,234.56, 2024-05-06, 12:30.
_NUMBER = r"\d+(?:[.,:/’'\-\u00a0\u202f]\d+)*"
# Models spell short numbers well, and need to know whether it is one or many.
_LONG_NUMBER = rf"(?<![A-Za-z0-9.,])(?=(?:[.,:/’'\-\u00a0\u202f]?\d){{3}}){_NUMBER}(?![A-Za-z0-9])(?!\s*[十百千万亿])"
# Signs that models drop or change into others: they stay with their number.
_CURRENCY = "[$€£¥₩₹₽]"
_FRACTION = "[\u00bc-\u00be\u2150-\u215e]"
_AMOUNT = "|".join(
    (
        rf"(?<![A-Za-z0-9]){_CURRENCY}\s?{_NUMBER}(?![A-Za-z0-9])",
        rf"(?<![A-Za-z0-9.,]){_NUMBER}\s?(?:{_CURRENCY}(?![A-Za-z0-9])|[A-Za-zµ]{{0,3}}[²³](?!\w))",
        rf"(?<![\w.,])[-−]?{_NUMBER}\s?°(?:\s?[CFK](?![A-Za-z]))?",
        rf"(?<![\w.,])\d*{_FRACTION}",
    )
)
_PROTECTED_TEXT = lazily(_PROTECTED)
_MASKED_TEXT = lazily(f"{_PROTECTED}|{_AMOUNT}|{_LONG_NUMBER}")
_MASKED_WITH_NUMBERS = lazily(f"{_PROTECTED}|{_AMOUNT}|{_NUMBER}")
_SIGN_TEXT = re.compile(f"{_CURRENCY}|{_FRACTION}|[²³°]")
_NUMBER_TEXT = re.compile(_NUMBER)
# Letters, spaces and marks that no placeholder or number can do with: most sentences have nothing else.
_PLAIN = re.compile(
    r"(?:[^\W\d_²³¹\u00bc-\u00be\u2070-\u209f\u2150-\u2bff\U0001f000-\U0001faff]"
    r"|[\s.,;!?'\"’‘“”„«»()…–—，。！？、；（）《》-])*"
)
# Chinese counts in ten thousands: 20万 is 200,000, whose digits are others.
_OTHER_DIGITS = re.compile(
    r"\d\s*[十百千万亿]|\d\s*(?:million|billion|thousand|Million|Milliarde|Mio|Mrd|milliard|mille)"
)
_STAND_IN = re.compile(r"[{｛]\s*(\d+)\s*[}｝]")
# What a model makes of a stand-in that it does not copy.
_BROKEN = re.compile(r"[{｛]\s*\d+(?!\s*[\d}｝])|(?<![\d{｛])(?<![{｛]\s)\d+\s*[}｝]")


@dataclass(frozen=True)
class Problem:
    """What a translation did not keep, or kept only with help."""

    kind: str
    """placeholder, number, sign, markup, length or repetition."""
    detail: str
    """What it is about, for a person."""
    value: str = field(default="", compare=False)
    """The placeholder or number alone."""
    repaired: bool = False
    """It is there again, though perhaps in the wrong place."""


@dataclass(frozen=True)
class Mask:
    """A sentence whose placeholders are replaced by stand-ins."""

    text: str
    """With ``{1}``, ``{2}``, … in their places."""
    originals: tuple[str, ...] = ()
    """What they stand for, in order."""


def _is_plain(text: str) -> bool:
    """Whether there is nothing to protect in a text, and no number, as far as a quick look tells."""
    return _PLAIN.fullmatch(text) is not None and "www." not in text.lower()


def mask(text: str, numbers: bool = False) -> Mask:
    """Replace what must not change by stand-ins: numbers of three digits and more too, or all of them."""
    if _is_plain(text):
        return Mask(text)
    originals: list[str] = []

    def stand_in(match: re.Match[str]) -> str:
        originals.append(match[0])
        return f"{{{len(originals)}}}"

    return Mask((_MASKED_WITH_NUMBERS if numbers else _MASKED_TEXT).sub(stand_in, text), tuple(originals))


def outside(text: str, function: Callable[[str], str]) -> str:
    """Apply ``function`` to everything but placeholders."""
    if _is_plain(text):
        return function(text)
    written, place = "", 0
    for match in _PROTECTED_TEXT.finditer(text):
        written += function(text[place : match.start()]) + match[0]
        place = match.end()
    return written + function(text[place:])


def begins_protected(text: str) -> bool:
    """Whether a placeholder is the first thing in a text."""
    return not _is_plain(text) and _PROTECTED_TEXT.match(text) is not None


def has_words(text: str) -> bool:
    """Whether there are letters beside placeholders."""
    return any(c.isalpha() for c in text) and (
        _is_plain(text) or any(c.isalpha() for c in _PROTECTED_TEXT.sub("", text))
    )


def lost_numbers(source: str, translation: str) -> list[str]:
    """Numbers of the source that a translation lacks, whatever divides their digits.

    Errors: none. A number that the other language writes with other digits (20万) is not counted.
    """
    if _OTHER_DIGITS.search(source) or _OTHER_DIGITS.search(translation):
        return []
    there = Counter(_digits(match[0]) for match in _NUMBER_TEXT.finditer(translation))
    lost = []
    for match in _NUMBER_TEXT.finditer(source):
        if there[_digits(match[0])] > 0:
            there[_digits(match[0])] -= 1
        else:
            lost.append(match[0])
    return lost


def restore(translation: str, masked: Mask, place_of: Callable[[int], int | None]) -> tuple[str, tuple[Problem, ...]]:
    """Put the originals back in place of the stand-ins.

    Args:
        translation: of ``masked.text``.
        masked: the source.
        place_of: where in ``translation`` a stand-in that is lost belongs, by its number; None for the end.

    Returns:
        The translation with every original exactly once, and what had to be put there.
    """
    problems: list[Problem] = []
    translation = _mended(translation, masked)
    stand_ins = [range(match.start() + 1, match.end()) for match in _STAND_IN.finditer(translation)]
    lost: list[tuple[int, int]] = []
    there = {int(match[1]) for match in _STAND_IN.finditer(translation)}
    # A translation may be made to begin with some of them.
    written = Counter({o: translation.count(o) for o in masked.originals if not _STAND_IN.fullmatch(o)})
    for number, original in enumerate(masked.originals, 1):
        if number in there:
            continue
        if written[original]:
            written[original] -= 1
        else:
            place = place_of(number)
            place = _before_stop(translation) if place is None else place
            lost.append((next((s.stop for s in stand_ins if place in s), place), number))
            detail = f"{original} was lost, and put where it seems to belong"
            problems.append(Problem("placeholder", detail, repaired=True))
    for place, number in sorted(lost, reverse=True):
        before, after = translation[:place], translation[place:]
        left = " " if before and not before[-1].isspace() and before[-1] not in "([{«“‘（「" else ""
        right = " " if after[:1].isalnum() else ""
        translation = f"{before}{left}{{{number}}}{right}{after}"
    return unmask(translation, masked), tuple(problems)


def _mended(translation: str, masked: Mask) -> str:
    """The translation with stand-ins whole of which the model wrote one brace only."""
    if _BROKEN.search(masked.text):  # the source has such a thing itself
        return translation
    lost = set(range(1, len(masked.originals) + 1)) - {int(match[1]) for match in _STAND_IN.finditer(translation)}

    def whole(match: re.Match[str]) -> str:
        number = int(_digits(match[0]))
        if number not in lost:
            return match[0]
        lost.remove(number)
        return f"{{{number}}}"

    return _BROKEN.sub(whole, translation)


def severity(problems: Iterable[Problem]) -> tuple[int, int]:
    """The greater, the worse: how many are not repaired, and how many there are."""
    counts = Counter(problem.repaired for problem in problems)
    return counts[False], counts.total()


def unmask(translation: str, masked: Mask) -> str:
    """Replace the stand-ins that are there; one that is there twice, or was made up, is taken away."""
    if not masked.originals:
        return translation
    used: set[int] = set()

    def original(match: re.Match[str]) -> str:
        number = int(match[1])
        if number in used or not 0 < number <= len(masked.originals):
            return "\0"
        used.add(number)
        return masked.originals[number - 1]

    if not _BROKEN.search(masked.text):  # else the source has such a thing itself
        translation = _BROKEN.sub("\0", translation)
    # With what is taken away goes the comma before it.
    return re.sub(r"[\s,，、]*\0", "", _STAND_IN.sub(original, translation))


def check(source: str, translation: str) -> tuple[Problem, ...]:
    """What of ``source`` a finished translation lacks: placeholders, numbers, and signs such as that of a currency.

    For any translation, a person's too. Errors: none.
    """
    if _is_plain(source) and _is_plain(translation):
        return ()
    problems = []
    wanted = Counter(match[0] for match in _PROTECTED_TEXT.finditer(source))
    there = Counter(match[0] for match in _PROTECTED_TEXT.finditer(translation))
    for original, count in wanted.items():
        if translation.count(original) < count:
            problems.append(Problem("placeholder", f"{original} is missing", original))
    problems += [
        Problem("placeholder", f"{extra} is not in the source", extra)
        for extra in there - wanted
        if extra not in source
    ]
    signs = (Counter(_SIGN_TEXT.findall(_PROTECTED_TEXT.sub(" ", text))) for text in (source, translation))
    missing = next(signs) - next(signs)
    problems += [Problem("sign", f"{sign} is missing", sign) for sign in missing.elements()]
    bare = _PROTECTED_TEXT.sub(" ", source), _PROTECTED_TEXT.sub(" ", translation)
    problems += [Problem("number", f"{number} is missing", number) for number in lost_numbers(*bare)]
    problems += [
        Problem("number", f"{number} is not in the source", number) for number in lost_numbers(bare[1], bare[0])
    ]
    return tuple(problems)


def _before_stop(text: str) -> int:
    return len(text.rstrip(" .!?。！？…"))


def _digits(number: str) -> str:
    return re.sub(r"\D", "", number)

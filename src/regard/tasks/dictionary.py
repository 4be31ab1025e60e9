"""A dictionary learnt from parallel text: each word with what it was translated as, and how often.

Words are linked by :mod:`regard.data.alignment`. What is kept of a word are translations that it has again and again
and that are not translations of everything; inflected forms of one translation count as one. ``regard dictionary``
makes such files; those of the shipped model's languages come with Regard.
"""

import gzip
import io
import re
import unicodedata
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import numpy as np

from regard.base.errors import DataError
from regard.base.files import write_atomic
from regard.data.alignment import Lexicon, align
from regard.data.chinese import HAN, contains_han, segment_words
from regard.data.corpus import Pair

#: Longer sentences are linked less surely, and cost most.
_MOST_WORDS = 30
_MOST_SENSES = 6
#: Links are counted from here, and are a matter of chance below the second figure.
_LEAST_COUNT, _ENOUGH = 3, 5
#: Least share of a link among those of the word, and among those of the translation: what translates everything
#: translates nothing. Where the first is large, the second may be small: rare words have common translations.
_LEAST_FORWARD, _LEAST_BACKWARD, _LARGE_FORWARD = 0.04, 0.05, 0.3
#: What a few links need to be more than what words stand beside (the boat has left).
_SOME_FORWARD = 0.15
#: A translation that is rarer than this share of the commonest one is a slip more often than a sense.
_BESIDE_THE_FIRST = 0.08
_WORD = re.compile(rf"[{HAN}]+|[^\W\d_{HAN}]+(?:['’-][^\W\d_{HAN}]+)*['’]?")
_ELISION = re.compile(r"(?i)(?:[cdjlmnst]|qu|lorsqu|puisqu|jusqu|quoiqu)['’](?=\w)")
#: Endings that are taken off where a word itself is not found: a try, not a grammar.
ENDINGS = {
    "en": ("'s", "s", "es", "ed", "d", "ing", "er", "est", "ly"),
    "de": ("en", "e", "n", "er", "es", "em", "s", "st", "t", "te", "ten"),
    "fr": ("s", "es", "e", "x", "ent", "ées", "és", "ée"),
}
_LONGEST_CHINESE, _MOST_STRETCHES = 6, 100
_CODE = re.compile(r"[^\W\d_A-Z][A-Z]")
#: Of a dictionary that is read, unpacked.
_MOST_BYTES = 100_000_000


@dataclass(frozen=True)
class Entry:
    """A word and its translations, the commonest first, each with how often it was seen."""

    word: str
    senses: tuple[tuple[str, int], ...]

    @property
    def shares(self) -> list[float]:
        """How probable each translation is, among those that are kept."""
        total = sum(count for _, count in self.senses)
        return [round(count / total, 3) for _, count in self.senses]


class Dictionary:
    """Entries that are looked up without case and width."""

    def __init__(self, entries: Iterable[Entry]):
        self.entries = list(entries)
        self._by_key: defaultdict[str, list[Entry]] = defaultdict(list)
        for entry in self.entries:
            self._by_key[key_of(entry.word)].append(entry)

    def lookup(self, keys: Iterable[str]) -> list[Entry]:
        """Entries of the first of ``keys`` that has some (:func:`keys_for`)."""
        return next((found for key in keys if (found := self._by_key.get(key))), [])


def key_of(word: str) -> str:
    """A word as it is looked up: without case and width."""
    return unicodedata.normalize("NFKC", word).strip().casefold()[:200]


def keys_for(word: str, language: str, context: str = "") -> list[str]:
    """Under which keys a word may stand, the likeliest first.

    A word of English, German or French may be a form of another. Chinese has no spaces to say where a word ends:
    of a character or two the longest words in ``context`` around them come first.
    """
    key = key_of(word)
    if language == "zh":
        return list(dict.fromkeys([*_around(key, unicodedata.normalize("NFKC", context).casefold()), key]))
    forms = [key]
    for ending in ENDINGS.get(language, ()):
        stem = key.removesuffix(ending)
        if stem != key and len(stem) >= 2:
            forms.append(stem)
            if language == "en" and ending in ("ed", "ing", "er", "est"):
                forms.append(stem + "e")
                if len(stem) > 2 and stem[-1] == stem[-2]:
                    forms.append(stem[:-1])
    return list(dict.fromkeys(forms))


def learn(pairs: Iterable[Pair], source: str, target: str) -> tuple[Dictionary, Dictionary]:
    """Dictionaries of both directions.

    Args:
        pairs: sentences and their translations.
        source: language of the first side.
        target: language of the second side.

    Raises:
        ConfigError: a side is Chinese, and jieba, which divides it into words, is not installed.
    """
    split = [(words_of(pair.source, source), words_of(pair.target, target)) for pair in pairs]
    kept = [pair for pair in split if 0 < len(pair[0]) <= _MOST_WORDS and 0 < len(pair[1]) <= _MOST_WORDS]
    sides = [cased([pair[0] for pair in kept], source), cased([pair[1] for pair in kept], target)]
    # Word order in Chinese says less about what belongs together.
    links = align(zip(*sides, strict=True), tension=2.0 if "zh" in (source, target) else 4.0)
    return Dictionary(_entries(links, source, target)), Dictionary(_entries(_turned(links), target, source))


def words_of(text: str, language: str) -> list[str]:
    """Words of a text without numbers and marks; Chinese as jieba divides it."""
    text = unicodedata.normalize("NFC", text).replace("’", "'")
    if language == "zh":
        text = segment_words(text)
    found = []
    for match in _WORD.finditer(text):
        word = match[0]
        while language == "fr" and (elided := _ELISION.match(word)) and word != "aujourd'hui":
            found.append(elided[0])
            word = word[elided.end() :]
        word = word.rstrip("'") if not _ELISION.fullmatch(word + "x") else word
        if word:
            found.append(word)
    return found


def cased(sentences: list[list[str]], language: str) -> list[list[str]]:
    """Sentences with each word in its own case, not in that of the beginning of a sentence or a title."""
    counts = Counter(word for sentence in sentences for word in sentence[1:])

    def own(word: str, first: bool) -> str:
        lowered = word.lower()
        if word == lowered or (language == "de" and not first):
            return word
        return lowered if counts[lowered] >= counts[word] else word

    return [[own(word, place == 0) for place, word in enumerate(sentence)] for sentence in sentences]


def write_dictionary(path: str | Path, dictionary: Dictionary) -> None:
    """Write a gzipped table: a word a line, then its translations, each as ``translation=count``."""
    packed = io.BytesIO()
    with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=9, mtime=0) as file:
        for entry in sorted(dictionary.entries, key=lambda entry: entry.word):
            senses = "\t".join(f"{sense}={count}" for sense, count in entry.senses)
            file.write(f"{entry.word}\t{senses}\n".encode())
    write_atomic(path, packed.getvalue())


def read_dictionary(data: bytes) -> Dictionary:
    """What :func:`write_dictionary` wrote.

    Raises:
        DataError: it is something else.
    """
    try:
        unpacked = gzip.GzipFile(fileobj=io.BytesIO(data)).read(_MOST_BYTES + 1)
        if len(unpacked) > _MOST_BYTES:
            raise DataError(f"the dictionary unpacks to more than {_MOST_BYTES:,} bytes.")
        entries = []
        for line in unpacked.decode("utf-8").splitlines():
            word, *senses = line.split("\t")
            parted = [sense.rpartition("=") for sense in senses]
            entries.append(Entry(word, tuple((sense, max(1, int(count))) for sense, _, count in parted)))
            if not word or not senses or max(map(len, (word, *senses))) > 200:
                raise ValueError(line)
    except DataError:
        raise
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError("this is not a dictionary that regard dictionary made.") from error
    return Dictionary(entries)


@cache
def shipped_dictionary(source: str, target: str) -> Dictionary | None:
    """The dictionary of a direction that comes with the package; None where there is none."""
    path = Path(str(files("regard") / "assets" / "dictionary" / f"{source}-{target}.tsv.gz"))
    return read_dictionary(path.read_bytes()) if path.is_file() else None


def _around(word: str, context: str) -> list[str]:
    """Stretches of ``context`` around ``word``, the longest first; where it stands often, around the first few."""
    found = []
    place = context.find(word) if word else -1
    while place >= 0 and len(found) < _MOST_STRETCHES:
        for start in range(max(0, place + len(word) - _LONGEST_CHINESE), place + 1):
            most = min(len(context), start + _LONGEST_CHINESE)
            found += [context[start:end] for end in range(place + len(word), most + 1)]
        place = context.find(word, place + 1)
    return sorted(dict.fromkeys(found), key=lambda text: -len(text))


def _turned(links: Lexicon) -> Lexicon:
    return Lexicon(links.target_words, links.source_words, links.target, links.source, links.count)


def _entries(links: Lexicon, source: str, target: str) -> list[Entry]:
    forward, backward = links.forward, links.backward
    good = (links.count >= _LEAST_COUNT) & (forward >= _LEAST_FORWARD)
    good &= (backward >= _LEAST_BACKWARD) | (forward >= _LARGE_FORWARD)
    good &= (links.count >= _ENOUGH) | (np.minimum(forward, backward) >= _LARGE_FORWARD)
    good &= (links.count >= 2 * _ENOUGH) | (forward >= _SOME_FORWARD)
    senses: defaultdict[int, list[tuple[str, int]]] = defaultdict(list)
    for number in np.flatnonzero(good):
        translation = links.target_words[links.target[number]]
        if _is_word(translation, target):
            senses[int(links.source[number])].append((translation, int(links.count[number])))
    entries = []
    for word, found in senses.items():
        own = links.source_words[word]
        if _is_word(own, source) and (chosen := _chosen(own, found, target)):
            entries.append(Entry(own, chosen))
    return _without_phrases(entries) if source == "zh" else entries


def _without_phrases(entries: list[Entry]) -> list[Entry]:
    """Entries but for those that a commoner one within them explains: 喝咖啡 is no other word for coffee than 咖啡."""
    first = {entry.word: entry.senses[0] for entry in entries}

    def is_phrase(entry: Entry) -> bool:
        word, (sense, count) = entry.word, entry.senses[0]
        parts = {word[i:j] for i in range(len(word)) for j in range(i + 1, len(word) + 1)} - {word}
        return any(first[part][0] == sense and first[part][1] >= count for part in parts if part in first)

    return [entry for entry in entries if not is_phrase(entry)]


def _is_word(text: str, language: str) -> bool:
    """Whether a text is a word of a language, and not a name in a program or half a genitive."""
    if language == "zh":
        return contains_han(text)
    if len(text) == 1 and text not in "aIàyô":
        return False
    return not _CODE.search(text) and not text.endswith("'s") and not contains_han(text)


def _chosen(word: str, found: list[tuple[str, int]], language: str) -> tuple[tuple[str, int], ...]:
    """Translations that are kept, forms of one of them under the commonest form."""
    together: dict[str, list[tuple[str, int]]] = {}
    for sense, count in found:  # the commonest first
        together.setdefault(_stem(sense, language), []).append((sense, count))
    merged = sorted(
        ((forms[0][0], sum(count for _, count in forms)) for forms in together.values()), key=lambda sense: -sense[1]
    )
    if merged and merged[0][0] == word and word[:1].isupper():
        return ()  # a name
    return tuple(sense for sense in merged[:_MOST_SENSES] if sense[1] >= _BESIDE_THE_FIRST * merged[0][1])


def _stem(word: str, language: str) -> str:
    """What forms of a word share, roughly."""
    for ending in sorted(ENDINGS.get(language, ()), key=len, reverse=True):
        if word.endswith(ending) and len(word) - len(ending) >= 4:
            return word[: -len(ending)].casefold()
    return word.casefold()

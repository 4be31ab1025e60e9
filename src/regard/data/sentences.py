"""Split running text into sentences and put it together again without losing a character.

Models are trained on sentences and people paste pages. The split is by rules, a table a
language, because a wrong split must be explainable and mendable by adding a word. When
in doubt it does not split: two sentences together are translated well, half of one is not.

Law: ``"".join(span.text + span.separator_after for span in spans) == text``.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from regard.base.errors import ConfigError
from regard.base.patterns import lazily
from regard.data.chinese import HAN, KANA


class Span(NamedTuple):
    """A piece of text without white space around it, and the white space that follows it.

    ``text`` is empty where a text begins with white space or holds nothing else.
    """

    text: str
    separator_after: str


@dataclass(frozen=True)
class Rules:
    """What the full stop means in one language.

    Words are without their last stop. A capitalised one is meant as it stands (``Mag`` the
    title, not ``mag`` the verb), a lower-case one in both forms.
    """

    never: frozenset[str] = frozenset()
    """No sentence ends after these: titles, and what a word always follows (Mr., z.B.)."""
    before_number: frozenset[str] = frozenset()
    """No sentence ends after these where a number follows (No. 5)."""
    before_starter: frozenset[str] = frozenset()
    """A sentence ends after these only where a word of ``starters`` follows (U.S., Inc., usw.)."""
    starters: frozenset[str] = frozenset()
    """Words that, capitalised, begin a sentence more often than they are a name or a noun."""
    ordinals: bool = False
    """A number of up to two digits, or a Roman one, with a stop is an ordinal (3. Mai)."""
    closing: str = "\"'”’»›)]}"
    """What belongs to the sentence when it follows the stop."""
    opening: str = "\"'“‘«‹([{¿¡–—-"
    """What may stand before the first word of a sentence."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ENGLISH = Rules(
    never=_words(
        "Mr Mrs Ms Mx Dr Prof Rev Hon Gen Col Maj Capt Cmdr Lt Sgt Gov Sen Rep Pres St Mt Ft Messrs Mme Mlle "
        "e.g i.e cf vs viz approx esp"
    ),
    before_number=_words(
        "no nos nr vol vols p pp pg fig figs ch chap sec sect eq eqs art arts ed ca c "
        "jan feb mar apr jun jul aug sep sept oct nov dec"
    ),
    before_starter=_words("Inc Ltd Co Corp Bros dept Jr Sr Ph.D M.D a.m p.m A.D B.C al est Ave Blvd Rd"),
    starters=_words(
        "the a an this that these those he she it we you they i there here my your his her our their its "
        "in on at by for from with to of as after before since until while during when if although because "
        "but and so or yet then thus hence however therefore meanwhile also still no yes not "
        "what who whom whose which where why how do does did is are was were can could will would should "
        "have has had let please many most some all each every both one two another"
    ),
)
_GERMAN = Rules(
    never=_words(
        "Hr Fr Frl Dr Prof Dipl Ing Mag St z.B d.h u.a i.d.R o.ä o.Ä u.ä u.Ä s.o s.u v.a z.T i.A v.Chr n.Chr "
        "bzw ca evtl ggf inkl exkl insb sog vgl zzgl gem lt geb gest Abb"
    ),
    before_number=_words("nr s Bd Kap Art Abs Tab Str Ziff Anm Aufl jan feb mär apr jun jul aug sep sept okt nov dez"),
    before_starter=_words("usw etc u.s.w usf Co Mio Mrd Tel"),
    starters=_words(
        "der die das den dem des ein eine einen einem einer er sie es wir ihr ich du man "
        "dies diese dieser dieses diesen jene jeder jede jedes mein meine sein seine ihre unser unsere "
        "in im am an auf bei beim mit nach von vom vor zu zum zur aus für über unter um durch ohne gegen seit während "
        "aber und oder so doch denn dann da danach dort hier nun jetzt heute auch nur noch schon "
        "wenn weil obwohl als ob was wer wen wem wessen wo wie wann warum welche welcher welches "
        "ist sind war waren hat haben hatte kann können wird werden ja nein nicht kein keine alle viele bitte"
    ),
    ordinals=True,
    closing="\"'“”‘’«»‹›)]}",
    opening="\"'„‚»›«‹([{–—-",
)
_FRENCH = Rules(
    never=_words(
        "MM Mme Mmes Mlle Mlles Dr Pr Me Mgr St Ste p.ex c.-à-d c.à.d cf env éd av.J.-C apr.J.-C J.-C N.B resp"
    ),
    before_number=_words("no n° nº vol p pp fig chap art al par tél janv févr avr juil sept oct nov déc"),
    before_starter=_words("etc Cie S.A S.A.R.L Bd"),
    starters=_words(
        "le la les l un une des du de d il elle on nous vous ils elles je j tu ce c cet cette ces cela ça ceci "
        "mon ma mes ton ta tes son sa ses notre nos votre vos leur leurs "
        "dans en à au aux sur sous par pour avec sans chez après avant depuis pendant entre vers "
        "mais et ou donc or ni car puis alors ainsi cependant ensuite enfin ici là si s quand lorsque comme "
        "qui que qu quoi où pourquoi comment est oui non ne n y aucun chaque tous toutes plusieurs"
    ),
)
_RULES = {
    **dict.fromkeys(("en", "eng"), _ENGLISH),
    **dict.fromkeys(("de", "deu", "ger"), _GERMAN),
    **dict.fromkeys(("fr", "fra", "fre"), _FRENCH),
}
# Any other language: initials and numbers in lists are known, abbreviations are not.
# Chinese needs no table, since its stops mean nothing else and are known in every language.
_OTHER = Rules()
_UNSPACED = frozenset({"zh", "zho", "chi", "cmn", "yue", "ja", "jpn"})

# Group "wide": stops of scripts without spaces, which end a sentence wherever they stand.
# Group "stop": those that end it only before white space.
_CJK = f"{HAN}{KANA}"
_STOP = lazily(
    f"(?P<wide>[。！？；｡]+[!?…]*|[!?]+(?=[{_CJK}])|(?<=[{_CJK}])(?:…+(?=[”’」』])|\\.(?=[{_CJK}])))"
    r"|(?P<stop>[.!?…؟۔।]+)"
)
_WIDE_CLOSING = "”’」』）】》〉〕］)"
# “……！”他说 and 「……。」と: what follows such a quotation is part of its sentence.
_SPEECH = lazily(rf"[{HAN}]{{0,5}}?[说說道问問喊叫答]|と|って")
_WORD = re.compile(r"\w{0,40}")
_ACRONYM = re.compile(r"(?:[^\W\d_]\.-?)+[^\W\d_]")
_SINGLE_LETTER = re.compile(r"[^\W\d_]\.")
_AFTER_SINGLE_LETTER = re.compile(r"(?:^|\W)[^\W\d_]\.\s*[^\W\d_]$")
_ROMAN = re.compile(r"[IVX]+")
_LIST_LABEL = re.compile(r"\(?(?:\d{1,3}|[^\W\d_]|[ivx]{1,4}|[IVX]{1,4})")
# As far back as abbreviations are looked for; without a limit the time would be quadratic.
_LOOK_BACK = 60


def split_sentences(text: str, language: str) -> list[Span]:
    """Split ``text`` into sentences; the spans joined give ``text`` back.

    A line end always ends a sentence. en, de and fr have tables of abbreviations; zh and
    ja are split at their own stops; every other language by punctuation and capitals.

    Args:
        text: any text, of any length; the empty text has no span.
        language: a code such as ``en``, ``de-AT`` or ``zho``; an unknown one is no error.

    Errors: none.
    """
    rules = _RULES.get(_base_language(language), _OTHER)
    places: list[tuple[int, int]] = []
    for line in re.finditer(r"[^\n]+", text):
        places += ((line.start() + start, line.start() + end) for start, end in _sentences_of_line(line.group(), rules))
    return _spans(text, places)


def split_long(text: str, language: str, max_characters: int) -> list[Span]:
    """Cut ``text`` into pieces of at most ``max_characters``, of about equal length.

    Cuts come after clause punctuation where there is some in the right place, else at
    white space, else anywhere (not before a combining mark, if that can be helped).

    Args:
        text: one sentence; one that is short enough comes back whole.
        language: in zh and ja a comma needs no space after it.
        max_characters: greatest length of a piece.

    Raises:
        ConfigError: ``max_characters`` is not positive.
    """
    if max_characters < 1:
        raise ConfigError(f"max_characters is {max_characters}; it must be positive.")
    clause = r"[，、；：。！？]|[,;:)\]](?=\s)|(?<=\s)[–—-](?=\s)"
    if _base_language(language) in _UNSPACED:
        clause += r"|[,;:](?!\d)"
    end = len(text.rstrip())
    start = len(text) - len(text.lstrip())
    places: list[tuple[int, int]] = []
    while start < end:
        cut = _cut(text, start, end, max_characters, clause)
        stop = start + len(text[start:cut].rstrip())
        places.append((start, stop))
        start = _skip_space(text, cut)
    return _spans(text, places)


def _base_language(code: str) -> str:
    return re.split("[-_]", code.lower())[0]


def _spans(text: str, places: list[tuple[int, int]]) -> list[Span]:
    """Turn the places of sentences into spans that cover all of ``text``."""
    starts = [start for start, _ in places] + [len(text)]
    spans = [Span("", text[: starts[0]])] if starts[0] > 0 else []
    spans += [Span(text[start:end], text[end:after]) for (start, end), after in zip(places, starts[1:], strict=True)]
    return spans


def _sentences_of_line(line: str, rules: Rules) -> Iterator[tuple[int, int]]:
    """Yield start and end of every sentence of one line, white space left out."""
    end_of_line = len(line.rstrip())
    start = len(line) - len(line.lstrip())
    for match in _STOP.finditer(line):
        end = _after_closing(line, start, match, rules)
        after = _skip_space(line, end)
        if after >= end_of_line:
            break
        if match["wide"]:
            ends = end == match.end() or not _SPEECH.match(line, after)
        else:
            ends = after > end and _stop_ends_sentence(line, start, match, end, after, rules)
        if ends:
            yield start, end
            start = after
    if start < end_of_line:
        yield start, end_of_line


def _after_closing(line: str, start: int, match: re.Match[str], rules: Rules) -> int:
    """Return the place after the quotes and brackets that close what the sentence opened."""
    place = match.end()
    while place < len(line):
        character = line[place]
        if match["wide"] and character in "\"'":
            # No space tells which sentence a straight quote belongs to: an open one is closed.
            # Not looked for further back, so that the time stays linear.
            closes = line.count(character, max(start, place - 1000), place) % 2 == 1
        else:
            closes = character in (_WIDE_CLOSING if match["wide"] else rules.closing)
        if closes:
            place += 1
        elif rules is _FRENCH and character.isspace() and line[place + 1 : place + 2] == "»":
            place += 2
        else:
            break
    return place


def _skip_space(line: str, place: int) -> int:
    while place < len(line) and line[place].isspace():
        place += 1
    return place


def _stop_ends_sentence(line: str, start: int, match: re.Match[str], end: int, after: int, rules: Rules) -> bool:
    """Tell whether a Western stop, with white space after it, ends the sentence that began at ``start``."""
    following = _WORD.match(line, _skip_opening(line, after, rules))
    next_word = following.group() if following else ""
    # iPhone may begin a sentence.
    if next_word[:1].islower() and not next_word[1:2].isupper():
        return False
    # Dots without a word before them, as in [..], leave something out.
    if match["stop"].startswith((".", "…")) and (match.start() == start or line[match.start() - 1] in " ([{"):
        return False
    if match["stop"] != "." or end > match.end():
        return True
    before = line[max(start, match.start() - _LOOK_BACK) : match.start()]
    if _LIST_LABEL.fullmatch(before):
        return False
    word = before.split()[-1].lstrip(rules.opening) if before.strip() else ""
    # As it stands, and as it is away from the start of a sentence.
    forms = {word, word[:1].lower() + word[1:]}
    if not forms.isdisjoint(rules.never):
        return False
    if not forms.isdisjoint(rules.before_number) and next_word[:1].isdigit():
        return False
    if len(word) == 1 and word.isalpha():
        return _letter_ends_sentence(before, word, next_word, _SINGLE_LETTER.match(line, after) is not None, rules)
    ordinal = rules.ordinals and ((word.isdigit() and len(word) <= 2) or _ROMAN.fullmatch(word))
    if ordinal or not forms.isdisjoint(rules.before_starter) or _ACRONYM.fullmatch(word):
        return next_word.lower() in rules.starters
    return True


def _letter_ends_sentence(before: str, word: str, next_word: str, letter_follows: bool, rules: Rules) -> bool:
    """Tell whether a single letter ends a sentence (solve for x. The) or is an initial (J. R. Hill)."""
    if unicodedata.category(word) == "Lo":  # a letter of a script without capitals
        return True
    if _AFTER_SINGLE_LETTER.search(before):  # z. B. Die
        return False
    if rules is _ENGLISH and word == "I":
        return not letter_follows
    return next_word.lower() in rules.starters


def _skip_opening(line: str, place: int, rules: Rules) -> int:
    while place < len(line) and (line[place] in rules.opening or line[place].isspace()):
        place += 1
    return place


def _cut(text: str, start: int, end: int, max_characters: int, clause: str) -> int:
    """Return where the piece that begins at ``start`` ends: the best place near an equal share."""
    length = end - start
    if length <= max_characters:
        return end
    share = -(-length // -(-length // max_characters))
    # One more, so that a space right after the longest possible piece is seen.
    window = text[start : start + max_characters + 1]
    # Shorter than a quarter of its share, a piece has too little context to be translated.
    least = share // 4
    for pattern in (clause, r"\S(?=\s)"):
        places = [m.end() for m in re.finditer(pattern, window) if least < m.end() <= max_characters]
        if places:
            return start + min(places, key=lambda place: abs(place - share))
    place = share
    while place > 1 and _joins_left(window[place]):
        place -= 1
    return start + (place if place > 1 else share)


def _joins_left(character: str) -> bool:
    """True for a mark, joiner or variation selector, which belongs to the character before it."""
    return unicodedata.category(character) in ("Mn", "Me", "Mc") or character in "\u200c\u200d"

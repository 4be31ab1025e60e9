"""Languages as people and as other programs name them."""

from dataclasses import dataclass

from regard.base.errors import did_you_mean
from regard.serve.errors import ServeError
from regard.tasks.pivot import language_between


@dataclass(frozen=True)
class Language:
    """A language that models of this project speak."""

    code: str
    name: str
    native_name: str
    aliases: tuple[str, ...] = ()
    """Further codes, in lower case with hyphens."""


LANGUAGES = (
    Language("en", "English", "English", ("eng", "en-us", "en-gb")),
    Language("de", "German", "Deutsch", ("deu", "ger", "de-de", "de-at", "de-ch")),
    Language("fr", "French", "Français", ("fra", "fre", "fr-fr", "fr-ca")),
    # Traditional characters are understood and answered in simplified ones: the models know no other.
    Language(
        "zh",
        "Chinese",
        "中文",
        ("zho", "chi", "cmn", "zh-cn", "zh-sg", "zh-hans", "zh-hans-cn", "zh-hant", "zh-tw", "zh-hk", "zt"),
    ),
)
_BY_CODE = {language.code: language for language in LANGUAGES}
_CODES = {alias: language.code for language in LANGUAGES for alias in (language.code, *language.aliases)}


def language_of(code: str) -> Language:
    """What is known of a language; of an unknown one its code is its name."""
    return _BY_CODE.get(code, Language(code, code, code))


def base_code(code: str) -> str | None:
    """Our code for any spelling of a language's code (ZH_Hans, en-GB); None where it is not known."""
    return _CODES.get(code.strip().lower().replace("_", "-"))


class Directions:
    """What a model translates: in one step, or in two through a language that it has both ways."""

    def __init__(self, pairs: list[tuple[str, str]]):
        self.pairs = pairs
        """What it has itself."""
        self.codes = list(dict.fromkeys(code for pair in pairs for code in pair))

    def resolve(self, code: str) -> str:
        """Our code for ``code``.

        Raises:
            ServeError: the model does not know the language.
        """
        known = base_code(code) or code.strip().lower()
        if known not in self.codes:
            hint = did_you_mean(code, self.codes)
            raise ServeError(400, "unknown_language", f"{code[:20]} is not supported.{hint}")
        return known

    def targets(self, source: str) -> list[str]:
        """Languages that ``source`` is translated into, those of one step first."""
        direct = [target for start, target in self.pairs if start == source]
        return direct + self.pivoted(source)

    def pivoted(self, source: str) -> list[str]:
        """Languages that it takes two steps into."""
        return [code for code in self.codes if self.via(source, code)]

    def via(self, source: str, target: str) -> str | None:
        """The language between, where a direction takes two steps."""
        return None if (source, target) in self.pairs else language_between(self.pairs, source, target)

    def knows(self, source: str, target: str) -> bool:
        """Whether there is a way, in one step or two."""
        return (source, target) in self.pairs or self.via(source, target) is not None

    def check(self, source: str, target: str) -> tuple[str, str]:
        """Our codes of a direction.

        Raises:
            ServeError: there is no such direction.
        """
        pair = self.resolve(source), self.resolve(target)
        if not self.knows(*pair):
            known = ", ".join(f"{s}→{t}" for s, t in self.pairs)
            raise ServeError(400, "unknown_language", f"{pair[0]}→{pair[1]} is not supported; this model has {known}.")
        return pair

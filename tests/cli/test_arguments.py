from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Nested:
    """Choices of a search."""

    beam_size: int = 4
    """Hypotheses kept at each step."""


@dataclass(frozen=True)
class Options:
    """Translate a sentence."""

    sentence: Positional[str]
    """What to translate."""
    source: str
    """Language of the input."""
    output: Path | None = None
    """File to write."""
    format: Literal["text", "json"] = "text"
    """How to write it."""
    verbose: bool = False
    """Say more."""
    banned_words: tuple[str, ...] = ()
    """Words that may not come out."""
    search: Nested = field(default_factory=Nested)

    def __post_init__(self) -> None:
        if self.source == "xx":
            raise ConfigError("'xx' is not a language.")


def read(*argv: str) -> Options:
    return parse(Options, argv, prog="regard try")


def test_fields_become_hyphenated_flags() -> None:
    argv = "Hello. --source en --output a.txt --format json --verbose --banned-words a b --beam-size 2".split()
    assert read(*argv) == Options("Hello.", "en", Path("a.txt"), "json", True, ("a", "b"), Nested(2))


def test_what_has_a_default_may_be_left_out() -> None:
    assert read("Hello.", "--source=en") == Options("Hello.", "en")


def test_help_has_the_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read("--help")
    assert stop.value.code == 0
    output = capsys.readouterr().out
    for text in ("regard try", "Translate a sentence.", "SENTENCE", "--output PATH", "File to write.", "--beam-size"):
        assert text in output
    assert "--no-verbose" not in output


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["Hello."], "--source"),
        (["Hello.", "--source", "en", "--fromat", "json"], "--format"),
        (["Hello.", "--source", "en", "--format", "xml"], "'xml'"),
        (["Hello.", "--source", "en", "--beam-size", "many"], "--beam-size"),
        (["Hello.", "--source", "xx"], "'xx' is not a language."),
    ],
)
def test_usage_errors_end_with_status_2(argv: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        read(*argv)
    assert stop.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err

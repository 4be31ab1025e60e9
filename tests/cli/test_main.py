import errno
import subprocess
import sys
from collections.abc import Callable
from types import ModuleType

import pytest

from regard import __version__
from regard.base.errors import ConfigError
from regard.cli import main as cli


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    """Put a function in the place of ``regard doctor``."""

    def install(function: Callable[[list[str]], int]) -> None:
        module = ModuleType("regard.cli.doctor")
        module.main = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "regard.cli.doctor", module)
        monkeypatch.delenv("REGARD_DEBUG", raising=False)

    return install


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def main(argv: list[str]) -> int:
        raise error

    return main


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["help"]])
def test_help_lists_every_verb(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(argv) == 0
    output = capsys.readouterr().out
    assert all(f"  {verb} " in output for verb in cli.VERBS)


def test_no_verb_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "usage: regard VERB" in err


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_version(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([flag]) == 0
    assert capsys.readouterr().out == f"regard {__version__}\n"


def test_an_unknown_verb_gets_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tranlsate"]) == 2
    assert capsys.readouterr().err == (
        "regard: error: 'tranlsate' is not a verb. Did you mean 'translate'? See regard --help.\n"
    )


def test_arguments_and_status_pass_through(verb: Callable[..., None]) -> None:
    seen = []
    verb(lambda argv: seen.append(argv) or 7)
    assert cli.main(["doctor", "--json", "x"]) == 7
    assert cli.main(["help", "doctor"]) == 7
    assert seen == [["--json", "x"], ["--help"]]


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (ConfigError("no such\n  thing."), 1, "regard: error: no such thing.\n"),
        (FileNotFoundError(errno.ENOENT, "No such file", "a.txt"), 1, "regard: error: a.txt: No such file.\n"),
        (OSError(errno.ENOSPC, "No space left"), 1, "regard: error: [Errno 28] No space left\n"),
        (KeyboardInterrupt(), 130, "regard: interrupted.\n"),
        (BrokenPipeError(), 141, ""),
        (SystemExit(0), 0, ""),
        (SystemExit(None), 0, ""),
        (SystemExit(2), 2, ""),
        (SystemExit("goodbye"), 1, "goodbye\n"),
    ],
    ids=repr,
)
def test_each_failure_is_one_line_and_a_status(
    verb: Callable[..., None],
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    message: str,
) -> None:
    verb(raising(error))
    assert cli.main(["doctor"]) == status
    assert capsys.readouterr().err == message


def test_a_mistake_in_the_program_keeps_its_traceback(verb: Callable[..., None]) -> None:
    verb(raising(ZeroDivisionError()))
    with pytest.raises(ZeroDivisionError):
        cli.main(["doctor"])


@pytest.mark.parametrize("error", [ConfigError("x"), FileNotFoundError(errno.ENOENT, "No such file", "a.txt")])
def test_debug_shows_the_traceback(
    verb: Callable[..., None], monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    verb(raising(error))
    monkeypatch.setenv("REGARD_DEBUG", "1")
    with pytest.raises(type(error)):
        cli.main(["doctor"])
    monkeypatch.setenv("REGARD_DEBUG", "0")
    assert cli.main(["doctor"]) == 1


def test_a_reader_that_leaves_early_is_not_an_error() -> None:
    """As in ``regard --help | head -0``: no traceback, no message at interpreter exit."""
    command = [sys.executable, "-m", "regard", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_output_is_utf8_whatever_the_locale_says() -> None:
    program = "import regard.cli.main as m; m.help_text = lambda: 'früh 早'; m.run()"
    result = subprocess.run(
        [sys.executable, "-c", program, "--help"],
        env={"PYTHONIOENCODING": "ascii", "PATH": ""},
        capture_output=True,
        check=True,
    )
    assert result.stdout.decode("utf-8").strip() == "früh 早"

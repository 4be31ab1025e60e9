"""The verbs of the server: serve, keys, learn."""

from pathlib import Path

import pytest

from regard.base.errors import RegardError
from regard.cli import keys, learn, serve
from regard.serve import Settings


def test_an_address_that_is_taken_is_said() -> None:
    with serve.listening("127.0.0.1", 0) as taken, pytest.raises(RegardError, match="cannot listen on 127"):
        serve.listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(RegardError, match="cannot listen"):
        serve.listening("no such host", 1)


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "http://127.0.0.1:5000"), ("::1", "http://[::1]:5000")])
def test_the_address_of_the_page(host: str, shown: str) -> None:
    assert serve.address(Settings(host=host)) == shown


@pytest.mark.parametrize("argument", ["--port=70000", "--max-texts=0", "--deadline=-1"])
def test_settings_that_cannot_be(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        serve.main([argument])
    assert stop.value.code == 2
    assert "must" in capsys.readouterr().err


def test_keys_are_made_listed_and_revoked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = f"--data={tmp_path}"
    assert keys.main(["add", "Weblate", data]) == 0
    secret = capsys.readouterr().out.split()[0]
    assert secret.startswith("rg_")
    keys.main(["list", data])
    shown = capsys.readouterr().out
    assert "Weblate" in shown
    assert secret not in shown
    keys.main(["revoke", shown.split()[0], data])
    capsys.readouterr()
    keys.main(["list", data])
    assert "revoked" in capsys.readouterr().out


def test_keys_say_how_they_are_called(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["add"], ["list", "x"]):
        with pytest.raises(SystemExit):
            keys.main(arguments)
        assert "regard keys add NAME" in " ".join(capsys.readouterr().err.split()).replace("│ │ ", "")


def test_learning_needs_a_server() -> None:
    with pytest.raises(RegardError, match="regard serve"):
        learn.main(["--source=en", "--target=de", "--server=http://127.0.0.1:9"])
    with pytest.raises(RegardError, match="not an address"):
        learn.main(["--source=en", "--target=de", "--server=file:///etc/passwd"])


def test_a_run_reads_as_text() -> None:
    report = {
        "metric": "BLEU",
        "held_out_before": 20.0,
        "held_out_after": 25.5,
        "general_before": 30.0,
        "general_after": 30.1,
        "examples": [{"source": "Try it!", "before": "Versuchen Sie es!", "after": "Probier es!", "reference": "x"}],
    }
    text = learn.as_text({"state": "admitted", "adapter": "abc", "report": report})
    assert text.splitlines()[0] == "admitted: adapter abc"
    assert "held-out corrections: BLEU 20.0 → 25.5" in text
    assert "+ Probier es!" in text
    assert learn.as_text({"state": "failed", "error": "disk full"}) == "failed: disk full"

"""The rest of what ``regard import`` does is shown with ``regard export`` and in tests/compress."""

from pathlib import Path

import pytest

from regard.cli.main import main as regard


def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status = regard(["import", str(tmp_path / "nothing"), "--output", str(tmp_path / "out")])
    err = capsys.readouterr().err
    assert status == 1
    assert err.count("\n") == 1
    assert "is not a folder with a config.json" in err


def test_an_output_is_needed(capsys: pytest.CaptureFixture[str]) -> None:
    assert regard(["import", "somewhere"]) == 2
    assert "--output" in capsys.readouterr().err

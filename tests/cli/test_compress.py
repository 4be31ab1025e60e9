from pathlib import Path

import pytest

from regard.cli.main import main as regard
from regard.model.folder import model_hash


@pytest.mark.parametrize("storage", ["--int8", "--float16"])
def test_a_copy_takes_less_room(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    assert regard(["compress", str(tiny_model), storage, "--output", str(tmp_path / "small")]) == 0
    assert "MB before" in capsys.readouterr().out
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tiny_model, tmp_path / "small")]
    assert sizes[1] < 0.7 * sizes[0]
    assert model_hash(tmp_path / "small") == model_hash(tiny_model)


@pytest.mark.parametrize("storages", [[], ["--int8", "--float16"]])
def test_one_storage_is_needed(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], storages: list[str]
) -> None:
    assert regard(["compress", str(tiny_model), *storages, "--output", str(tmp_path / "small")]) == 2
    assert "give one of --int8 and --float16" in " ".join(capsys.readouterr().err.replace("│", " ").split())

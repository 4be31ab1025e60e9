from pathlib import Path

import pytest

from regard.cli.main import main as regard
from regard.model.folder import load_config, model_hash, storage_of


@pytest.mark.parametrize("storage", ["--int8", "--float16"])
def test_a_copy_takes_less_room(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], storage: str
) -> None:
    assert regard(["compress", str(tiny_model), storage, "--output", str(tmp_path / "small")]) == 0
    assert "MB before" in capsys.readouterr().out
    sizes = [(folder / "model.safetensors").stat().st_size for folder in (tiny_model, tmp_path / "small")]
    assert sizes[1] < 0.7 * sizes[0]
    assert model_hash(tmp_path / "small") == model_hash(tiny_model)


def test_a_model_with_less_in_it(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The head that matters most for the pairs, and the layers that are named."""
    pairs, small = tmp_path / "pairs.tsv", tmp_path / "small"
    pairs.write_text("The kettle sings.\tDer Kessel singt.\n", encoding="utf-8")
    what = ["--int8", "--encoder-layers", "0,", "--heads", "1", "--data", str(pairs)]
    line = ["compress", str(tiny_model), *what, "--source", "en", "--target", "de", "--output", str(small)]
    assert regard(line) == 0
    assert "parameters" in capsys.readouterr().out
    before, after = load_config(tiny_model)[0], load_config(small)[0]
    assert (after.num_heads, after.key_width, after.encoder_layers) == (1, before.key_width, 1)
    assert storage_of(small / "model.safetensors") == "int8"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "say what to do"),
        ("--int8 --float16", "give one of --int8 and --float16"),
        ("--heads 1", "--heads goes together with --data"),
        ("--int8 --data pairs.tsv --source en --target de", "--heads goes together with --data"),
    ],
)
def test_what_does_not_go_together(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, message: str
) -> None:
    assert regard(["compress", str(tiny_model), *arguments.split(), "--output", str(tmp_path / "small")]) == 2
    assert message in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_layers_that_are_no_numbers(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["compress", str(tiny_model), "--encoder-layers", "many", "--output", str(tmp_path / "small")]
    assert regard(line) == 1
    assert "write a number such as 3" in capsys.readouterr().err

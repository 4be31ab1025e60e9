from pathlib import Path

import pytest

from regard.cli.main import main as regard


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, str, str]:
    status = regard([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


def test_there_and_back(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same translations after a way through Hugging Face's format, with the command that import prints."""
    theirs, back = tmp_path / "hf", tmp_path / "back"
    status, out, _ = run(capsys, "export", tiny_model, "--to", "hf", "--output", theirs)
    assert status == 0
    assert out.endswith("MB for Hugging Face transformers\n")
    status, out, _ = run(capsys, "import", theirs, "--output", back, "--source", "en", "de", "zh")
    assert status == 0
    assert "parameters, en→de and 5 more directions" in out
    command = out.splitlines()[-1].split()
    assert command[:2] == ["regard", "translate"]
    (tmp_path / "in").write_text("Seven geese walked across the frozen pond.\n")
    results = []
    for model in (tiny_model, back):
        arguments = [str(model) if word == str(back) else word for word in command[1:]]
        status, out, _ = run(capsys, *arguments, "--input", tmp_path / "in", "--precision", "fp32", "--beam", "2")
        assert status == 0
        results.append(out)
    assert results[0].strip()
    assert results[0] == results[1]


def test_the_shipped_model_is_the_default(
    shipped_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ctranslate2")
    status, out, _ = run(capsys, "export", "--to", "ctranslate2", "--output", tmp_path / "out")
    assert status == 0
    assert "MB for CTranslate2" in out
    assert (tmp_path / "out" / "model.bin").exists()


@pytest.mark.parametrize(("name", "module"), [("ctranslate2", "ctranslate2.specs"), ("onnx", "onnxscript")])
def test_a_package_that_is_missing(
    tiny_model: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    module: str,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, module, None)
    status, _, err = run(capsys, "export", tiny_model, "--to", name, "--output", tmp_path / "out")
    assert status == 1
    assert f"pip install 'regard[{name}]'" in err
    assert not (tmp_path / "out").exists()


def test_usage_errors(tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "export", tiny_model, "--to", "tflite", "--output", tmp_path / "out")[0] == 2
    assert run(capsys, "export", tiny_model, "--to", "hf")[0] == 2
    status, _, err = run(capsys, "export", tmp_path, "--to", "hf", "--output", tmp_path / "out")
    assert (status, "is not a model folder" in err) == (1, True)

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from regard.base.kernels import training_kernels
from regard.cli import doctor
from regard.decode.choice import choose_engine


def make_model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    tensors = {"a": np.ones((3, 4), np.float16), "b": np.ones(5, np.float32), "scale": np.array(1.0)}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that looks like a model, and a translator that takes it."""
    folder = make_model(tmp_path / "model")

    class Translator:
        directions = (("en", "de"), ("de", "en"))

        @classmethod
        def from_pretrained(cls, path: Path) -> "Translator":
            assert path == folder
            return cls()

    module = ModuleType("regard.tasks.translation")
    module.Translator = Translator  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "regard.tasks.translation", module)
    monkeypatch.setattr(doctor, "shipped_model", lambda: folder)
    return folder


def report(capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    status = doctor.main(["--json"])
    return status, json.loads(capsys.readouterr().out)


def test_everything_is_there(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, facts = report(capsys)
    assert status == 0
    assert facts["problems"] == []
    assert facts["machine"]["cores"] >= 1
    assert facts["model"]["loads"] is True
    assert facts["model"]["parameters"] == 3 * 4 + 5 + 1
    assert facts["model"]["directions"] == ["en-de", "de-en"]
    paths = {path["what"]: path for path in facts["paths"]}
    assert list(paths) == ["device", "precision", "threads", "training", "engine"]
    assert paths["training"]["choice"] == ("PyTorch" if training_kernels() is None else "compiled")
    assert all(path["choice"] and path["why"] for path in paths.values())
    assert paths["engine"]["choice"] == ("native int8" if choose_engine().native else "PyTorch")


def test_text_for_reading(model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGARD_DATA", str(model))
    assert doctor.main([]) == 0
    output = capsys.readouterr().out
    for text in (
        "This machine",
        "Paths taken",
        "en-de de-en",
        f"REGARD_DATA     {model}\n",
        "Everything needed is there.",
    ):
        assert text in output


def test_a_missing_model_is_a_problem_and_not_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "shipped_model", lambda: tmp_path / "nowhere")
    status, facts = report(capsys)
    assert status == 1
    assert facts["model"]["loads"] is False
    assert "not in" in facts["problems"][0]
    assert doctor.main([]) == 1
    assert f"Problem: The shipped model is not in {tmp_path / 'nowhere'}" in capsys.readouterr().out


@pytest.mark.parametrize("damage", [b"", b"\x01", b"\x05\0\0\0\0\0\0\0[1,2]"])
def test_damaged_weights_are_a_problem_and_not_an_error(
    model: Path, capsys: pytest.CaptureFixture[str], damage: bytes
) -> None:
    (model / "model.safetensors").write_bytes(damage)
    status, facts = report(capsys)
    assert status == 1
    assert facts["model"]["problem"]
    assert doctor.main([]) == 1


def test_a_model_that_does_not_load_says_why(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path) -> None:
        raise RuntimeError("two\nlines")

    monkeypatch.setattr(sys.modules["regard.tasks.translation"].Translator, "from_pretrained", refuse)
    status, facts = report(capsys)
    assert status == 1
    assert facts["problems"] == ["The shipped model does not load: two lines"]


def test_a_broken_torch_is_a_problem_and_not_an_error(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "torch"]:
        monkeypatch.delitem(sys.modules, name)
    status, facts = report(capsys)
    assert status == 1
    assert "PyTorch cannot be imported (libtorch_cpu.so: cannot open" in facts["problems"][0]
    assert facts["torch"]["version"] is None
    assert doctor.main([]) == 1
    assert "PyTorch         not usable" in capsys.readouterr().out


@pytest.mark.parametrize("native", [True, False])
def test_without_torch_something_must_translate(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], native: bool
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    engine = doctor.path("engine", "native int8" if native else "PyTorch", "there is no compiler")
    monkeypatch.setattr(doctor, "engine_path", lambda: dict(engine))
    status, facts = report(capsys)
    assert (status, facts["problems"] == []) == ((0, True) if native else (1, False))
    assert [path["choice"] for path in facts["paths"]] == ["native int8" if native else "none"]
    doctor.main([])
    output = capsys.readouterr().out
    assert "PyTorch         not installed\n" in output
    assert ("Problem: Nothing can translate here: there is no compiler, and" in output) is not native


def test_extras_are_named_with_the_way_to_get_them(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "installed_version", {"jieba": "0.42.1"}.get)
    assert doctor.main([]) == 0
    output = capsys.readouterr().out
    assert "jieba           0.42.1\n" in output
    assert "pip install 'regard[wandb]'" in output


@pytest.mark.parametrize(
    ("fast", "device", "choice", "why"),
    [(True, "cpu", "bf16", "hardware"), (False, "cpu", "fp32", "AVX-512"), (False, "cuda", "fp32", "GPU")],
)
def test_precision_says_why(fast: bool, device: str, choice: str, why: str) -> None:
    path = doctor.precision_path(fast, device)
    assert path["choice"] == choice
    assert why in path["why"]


def test_threads_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert "one for each core" in doctor.threads_path(8)["why"]
    assert "8 cores" in doctor.threads_path(4)["why"]
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert doctor.threads_path(4)["why"] == "OMP_NUM_THREADS=4"


def test_why_there_is_no_gpu() -> None:
    assert "CPU build" in doctor.no_gpu_reason("2.13.0+cpu")
    assert "finds no GPU" in doctor.no_gpu_reason("2.13.0")


def test_memory_is_known_or_none() -> None:
    total, available = doctor.memory()
    assert total is None or total > 0
    assert available is None or available >= 0


@pytest.mark.parametrize(("value", "text"), [(None, "not set"), ("/nowhere/at/all", "there is no such folder")])
def test_data_that_is_not_there(monkeypatch: pytest.MonkeyPatch, value: str | None, text: str) -> None:
    monkeypatch.delenv("REGARD_DATA", raising=False)
    if value:
        monkeypatch.setenv("REGARD_DATA", value)
    facts = doctor.examine_data()
    assert facts["exists"] is False
    assert text in doctor.data_text(facts)


@pytest.mark.usefixtures("shipped_model")
def test_the_shipped_model_loads(capsys: pytest.CaptureFixture[str]) -> None:
    status, facts = report(capsys)
    assert status == 0
    assert facts["model"]["loads"] is True
    assert sorted(facts["model"]["directions"]) == ["de-en", "en-de", "en-fr", "en-zh", "fr-en", "zh-en"]

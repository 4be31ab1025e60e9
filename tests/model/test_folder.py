"""Model folders: what is written comes back, and what is damaged is named."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.base.errors import ConfigError, ModelError, RegardError
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_config, load_model, load_weights, quantise_rows, save_model, save_weights

TASK = {"name": "translation", "directions": [["en", "de"]]}


def make_config(**changes: Any) -> ModelConfig:
    sizes = {"d_model": 8, "d_ff": 12, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 2}
    return ModelConfig(20, 20, **{**sizes, **changes})


def make_model(**changes: Any) -> Transformer:
    return Transformer(make_config(**changes)).eval()


def weights_of(model: Transformer) -> dict[str, Tensor]:
    return {name: parameter.detach() for name, parameter in model.named_parameters()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    model = make_model()
    save_model(tmp_path / "model", model.config, weights_of(model), task=TASK)
    return tmp_path / "model"


def edit_config(folder: Path, change: Any) -> None:
    values = json.loads((folder / "config.json").read_text())
    change(values)
    (folder / "config.json").write_text(json.dumps(values))


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rotary"])
def test_round_trip(tmp_path: Path, tie: str, position: str) -> None:
    model = make_model(tie=tie, position=position, norm="rmsnorm", activation="swiglu", bias=False)
    save_model(tmp_path / "a", model.config, weights_of(model), task=TASK)
    loaded, task = load_model(tmp_path / "a")
    assert loaded.config == model.config
    assert task == TASK
    assert not loaded.training
    found, expected = dict(loaded.named_parameters()), weights_of(model)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert all(p.requires_grad for p in loaded.parameters())
    source, lengths = torch.randint(4, 20, (2, 5)), torch.tensor([5, 3])
    with torch.no_grad():  # position tables included, though they are not stored
        outputs = [m.decode_full(source, *m.encode(source, lengths)) for m in (model, loaded)]
    assert torch.equal(*outputs)
    assert (loaded.head.weight is loaded.target_embedder.tokens.weight) == (tie != "none")
    assert (loaded.source_embedder.tokens.weight is loaded.head.weight) == (tie == "all")


@pytest.mark.parametrize(
    ("storage", "tolerance"), [("float32", 0.0), ("float16", 2**-11), ("bfloat16", 2**-8), ("int8", 0.5 / 127)]
)
def test_storages(tmp_path: Path, storage: Any, tolerance: float) -> None:
    """Each storage is as exact as it says, always comes back as float32, and is as small as it says."""
    weights = {"matrix": 3 * torch.randn(40, 30), "zeros": torch.zeros(2, 3), "vector": torch.randn(7)}
    save_weights(tmp_path / "w.safetensors", weights, storage)
    found = load_weights(tmp_path / "w.safetensors")
    assert found.keys() == weights.keys()
    assert all(tensor.dtype == torch.float32 for tensor in found.values())
    # relative to the number for floats, to the largest of the row for int8
    size = weights["matrix"].abs() if storage != "int8" else weights["matrix"].abs().amax(1, keepdim=True)
    assert ((found["matrix"] - weights["matrix"]).abs() <= tolerance * size * (1 + 1e-5)).all()
    assert torch.equal(found["zeros"], weights["zeros"])
    if storage == "int8":
        assert torch.equal(found["vector"], weights["vector"])
    bytes_each = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}[storage]
    assert (tmp_path / "w.safetensors").stat().st_size < 1206 * bytes_each + 800
    # once more changes nothing
    save_weights(tmp_path / "again.safetensors", found, storage)
    again = load_weights(tmp_path / "again.safetensors")
    for name in found:
        torch.testing.assert_close(again[name], found[name], atol=0, rtol=1e-6)


@settings(deadline=None)  # the first call loads things
@given(
    st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=9), st.sampled_from([1e-44, 1e-30, 1e-3, 1.0, 1e30])
)
def test_int8_error_bound(row: list[float], scale: float) -> None:
    weight = torch.tensor([row]) * scale
    quantised, scales = quantise_rows(weight)
    assert quantised.dtype == torch.int8
    assert int(quantised.min()) >= -127
    largest = float(weight.double().abs().max())
    error = (quantised.double() * scales.double()[:, None] - weight.double()).abs().max()
    # half a step; where the scale itself is subnormal, a full subnormal step for each of the 127
    assert float(error) <= largest / 254 * (1 + 1e-5) + 127 * 1.5e-45
    assert bool((torch.sign(quantised) * torch.sign(weight) >= 0).all())


def test_no_pickle(folder: Path) -> None:
    """Every file is JSON or safetensors, whose header is JSON too."""
    for path in folder.iterdir():
        if path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
        else:
            content = path.read_bytes()
            length = struct.unpack("<Q", content[:8])[0]
            assert json.loads(content[8 : 8 + length])["__metadata__"] == {"storage": "float32"}
    assert sorted(p.name for p in folder.iterdir()) == ["config.json", "model.safetensors"]


def test_a_pickle_in_disguise_is_refused(folder: Path) -> None:
    torch.save({"a": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(ModelError, match=r"model.safetensors cannot be read"):
        load_model(folder)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_weights(folder: Path, keep: int) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:keep])
    with pytest.raises(ModelError, match=r"model.safetensors cannot be read: .* Is it cut short, or not fetched\?"):
        load_model(folder)


def test_missing_files(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match=r"model.safetensors is missing; a model folder has config.json"):
        load_model(folder)
    (folder / "config.json").unlink()
    with pytest.raises(ModelError, match=r"is not a model folder: it has no config.json"):
        load_model(folder)
    with pytest.raises(ModelError, match=r"nowhere is not a model folder"):
        load_config(tmp_path / "nowhere")


def test_configurations_that_are_not(folder: Path) -> None:
    edit_config(folder, lambda values: values["model"].update(d_mode=3))
    with pytest.raises(ConfigError, match=r"unknown setting 'model.d_mode'. Did you mean 'd_model'\?"):
        load_model(folder)
    edit_config(folder, lambda values: values["model"].pop("d_mode"))
    edit_config(folder, lambda values: values.update(format=2))
    with pytest.raises(ModelError, match=r"has format 2; this version of Regard reads format 1"):
        load_model(folder)
    edit_config(folder, lambda values: values.update(format=1, task=["translation"]))
    with pytest.raises(ModelError, match=r"config.json has no section 'task'"):
        load_model(folder)
    edit_config(folder, lambda values: values.pop("model"))
    with pytest.raises(ModelError, match=r"config.json has no section 'model'"):
        load_model(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not valid JSON"):
        load_model(folder)


def rewrite(folder: Path, change: Any) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors")


def test_weights_that_do_not_fit(folder: Path) -> None:
    name = "decoder.1.feed_forward.up.weight"
    rewrite(folder, lambda weights: weights.update({name: torch.ones(3, 8)}))
    with pytest.raises(ModelError, match=rf"'{name}' is \(3, 8\), expected \(12, 8\)"):
        load_model(folder)
    rewrite(folder, lambda weights: weights.pop(name))
    with pytest.raises(ModelError, match=f"the weight '{name}' is missing"):
        load_model(folder)
    rewrite(folder, lambda weights: weights.update({name.replace("up", "upp"): torch.ones(12, 8)}))
    with pytest.raises(ModelError, match=rf"no place in this model. Did you mean '{name}'\?"):
        load_model(folder)


@pytest.mark.parametrize("scales", [{}, {"a.scale": torch.ones(3)}, {"a.scale": torch.ones(2, 2)}])
def test_int8_without_its_scales(tmp_path: Path, scales: dict[str, Tensor]) -> None:
    save_file({"a": torch.ones(2, 2, dtype=torch.int8), **scales}, tmp_path / "w.safetensors")
    with pytest.raises(ModelError, match="'a' is int8 but has no scale for each row"):
        load_weights(tmp_path / "w.safetensors")


def test_a_weight_may_be_called_scale(tmp_path: Path) -> None:
    weights = {"norm.scale": torch.ones(3), "norm": torch.ones(3)}
    save_weights(tmp_path / "w.safetensors", weights, "int8")
    assert load_weights(tmp_path / "w.safetensors").keys() == weights.keys()


@pytest.mark.parametrize(
    ("value", "storage"), [(torch.nan, "float32"), (torch.inf, "int8"), (torch.nan, "int8"), (1e6, "float16")]
)
def test_what_is_not_finite_is_not_written(tmp_path: Path, value: float, storage: Any) -> None:
    with pytest.raises(ModelError, match=rf"was not written: 'a' is not finite in {storage}"):
        save_weights(tmp_path / "w.safetensors", {"a": torch.tensor([[1.0, value]])}, storage)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_leaves_the_model_as_it_was(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("regard.base.files.os.fsync", full)
    other = make_model(d_ff=24)
    with pytest.raises(RegardError, match="No space left on device"):
        save_model(folder, other.config, weights_of(other), task=TASK)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

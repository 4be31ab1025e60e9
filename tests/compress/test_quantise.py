"""Compressed copies and the hash by which adapters know their base."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from regard.base.errors import ConfigError, ModelError
from regard.compress.quantise import compress_model
from regard.model.folder import load_weights, model_hash, save_weights, weights_hash
from regard.tasks.translation import Translator

Write = Callable[..., Path]


def test_the_hash_looks_at_names_shapes_and_values() -> None:
    a, b = torch.randn(2, 3), torch.randn(4)
    expected = weights_hash({"a": a, "b": b})
    assert len(expected) == 64
    assert weights_hash({"b": b.double(), "a": a.t().contiguous().t()}) == expected
    assert weights_hash({"a": a.to(torch.float64), "b": b}) == expected
    for other in ({"a": a, "c": b}, {"a": a.reshape(3, 2), "b": b}, {"a": a, "b": b + 1e-6}, {"a": a}):
        assert weights_hash(other) != expected


def test_the_hash_stays_what_it_is() -> None:
    """Adapters on people's disks name their base by it."""
    weights = {"w": torch.tensor([[1.0, -2.0], [0.5, 0.25]]), "b": torch.zeros(2)}
    assert weights_hash(weights) == "3bbd304b10f2beef6a3e4641183e795da948ee334dc40c98440bbddede7afd03"


@pytest.mark.parametrize(("storage", "ratio"), [("int8", 0.4), ("float16", 0.55)])
def test_a_copy_translates_and_knows_its_original(write: Write, tmp_path: Path, storage: str, ratio: float) -> None:
    folder = write(tmp_path / "model", d_model=64, d_ff=256)
    (folder / "training").mkdir()
    before, after = compress_model(folder, tmp_path / "small", storage)  # type: ignore[arg-type]
    assert after < ratio * before
    assert (
        model_hash(tmp_path / "small") == model_hash(folder) == weights_hash(load_weights(folder / "model.safetensors"))
    )
    assert weights_hash(load_weights(tmp_path / "small" / "model.safetensors")) != model_hash(folder)
    assert {path.name for path in (tmp_path / "small").iterdir()} == {p.name for p in folder.iterdir()} - {"training"}
    assert Translator.from_pretrained(tmp_path / "small", device="cpu").translate("Geese sing.", "en", "de").text
    name, dtype = "encoder.0.feed_forward.up.weight", {"int8": torch.int8, "float16": torch.float16}[storage]
    assert load_file(tmp_path / "small" / "model.safetensors")[name].dtype == dtype


def test_a_copy_of_a_copy(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    compress_model(folder, tmp_path / "small", "int8")
    compress_model(tmp_path / "small", tmp_path / "again", "int8")
    assert model_hash(tmp_path / "again") == model_hash(folder)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("small", "again"))
    assert all(torch.equal(first[name], second[name]) for name in first if not name.endswith("scale"))


def test_the_original_is_not_written_over(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    for output in (folder, tmp_path, folder / "config.json"):
        with pytest.raises(ConfigError, match="is not empty, and nothing is written over"):
            compress_model(folder, output, "int8")
    (tmp_path / "empty").mkdir()
    compress_model(folder, tmp_path / "empty", "int8")


def test_a_weight_too_large_for_float16(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "model")
    weights = load_weights(folder / "model.safetensors")
    weights["encoder_norm.bias"][0] = 1e6
    save_weights(folder / "model.safetensors", weights, "float32")
    with pytest.raises(ModelError, match=r"'encoder_norm\.bias' is not finite in float16"):
        compress_model(folder, tmp_path / "small", "float16")
    assert not (tmp_path / "small").exists()

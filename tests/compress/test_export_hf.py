"""Exported models in transformers' own hands."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.base.errors import ConfigError, ModelError
from regard.compress.exporting import export_model
from regard.compress.importing import import_model
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.model.folder import load_config, load_model, load_weights
from regard.tasks.translation import Translator
from regard.tasks.vocabulary import load_tokenizers

transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
Write = Callable[..., Path]

VARIANTS: dict[str, dict[str, Any]] = {
    "Pegasus": {"output_bias": True},
    "Pegasus without biases": {"bias": False, "activation": "gelu", "scale_embeddings": False, "d_model": 20},
    "Marian": {"norm_position": "post", "activation": "silu", "output_bias": True},
    "Marian, two vocabularies": {"norm_position": "post", "tie": "decoder"},
    "Marian, untied": {"norm_position": "post", "tie": "none", "bias": False},
}


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_logits_equal(write: Write, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write(tmp_path / "ours", **changes)
    export_model(folder, "hf", tmp_path / "theirs")
    theirs, info = transformers.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "theirs", output_loading_info=True)
    assert not any(info.values())
    source, lengths = torch.randint(6, 300, (3, 9)), torch.tensor([9, 5, 2])
    attended = torch.arange(9)[None] < lengths[:, None]
    inputs = torch.randint(6, 300, (3, 7))
    ours, _ = load_model(folder)
    with torch.no_grad():
        memory, mask = ours.double().encode(source, lengths)
        expected = ours.logits(ours.decode_full(inputs, memory, mask))
        found = theirs.double()(input_ids=source, attention_mask=attended.long(), decoder_input_ids=inputs).logits
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=0)  # their positions are float32
    assert float(expected.std()) > 1


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_there_and_back(write: Write, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Exactly the same weights and ids; a layer without biases comes back with zeros."""
    folder = write(tmp_path / "ours", **changes)
    export_model(folder, "hf", tmp_path / "theirs")
    found = import_model(tmp_path / "theirs", tmp_path / "back", source=["en", "de"])
    assert found.directions == [("en", "de"), ("de", "en")]
    before, after = (load_weights(f / "model.safetensors") for f in (folder, tmp_path / "back"))
    assert all(torch.equal(after.pop(name), weight) for name, weight in before.items())
    assert all(name.endswith("bias") and not weight.any() for name, weight in after.items())
    config = load_config(tmp_path / "back")[0]
    assert (config.pad_id, config.bos_id, config.eos_id) == (0, 2, 3)
    ours, back = load_tokenizers(folder), load_tokenizers(tmp_path / "back")
    for side in (0, 1):
        for text in ("Seven geese sing, 42 times.", "Ünknown 字 <2de> >>de<<"):
            ids = ours[side].encode(text)
            assert back[side].encode(text) == ids
            assert back[side].decode(ids) == ours[side].decode(ids)
        assert back[side].tag_id("<2de>") == ours[side].tag_id("<2de>")


@pytest.mark.parametrize("beam", [1, 4])
def test_the_shipped_model_translates_the_same(
    exported: Any, shipped_model: Path, sentences: list[tuple[str, str, str]], search: Any, beam: int
) -> None:
    model = transformers.AutoModelForSeq2SeqLM.from_pretrained(exported("hf"))
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported("hf"))
    translator = Translator.from_pretrained(shipped_model, device="cpu", precision="fp32")
    for text, source, target in sentences:
        inputs = tokenizer(f">>{target}<< {text}", return_tensors="pt")
        assert inputs["input_ids"].tolist() == tokenizer([f">>{target}<<{text}"])["input_ids"]
        output = model.generate(**inputs, num_beams=beam, length_penalty=0.0)
        found = tokenizer.decode(output[0], skip_special_tokens=True)
        assert found == search(translator, text, source, target, beam=beam, length_penalty=0.0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"norm": "rmsnorm"}, "Pegasus has no models with norm: rmsnorm; it would have to be layernorm"),
        ({"activation": "swiglu"}, "activation: swiglu; it would have to be relu or gelu or silu"),
        ({"position": "rotary"}, "position: rotary"),
        ({"position": "learned", "norm_position": "post"}, "Marian has no models with position: learned"),
        ({"tie": "none"}, "tie: none; it would have to be all"),
        ({"head_dim": 10}, "head_dim: 10; it would have to be None or 6"),
    ],
)
def test_what_has_no_counterpart(write: Write, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = write(tmp_path / "ours", **changes)
    with pytest.raises(ModelError, match=message):
        export_model(folder, "hf", tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()


def test_text_that_regard_changes_first(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "ours")
    config = TokenizerConfig(kind="char", vocab_size=380, lowercase=True)
    tokenizer = Tokenizer.train([chr(i) * 2 for i in range(97, 700)], config, ["<2de>", "<2en>"])
    tokenizer.save(folder)
    with pytest.raises(ModelError, match=r"no counterpart for tokenizer\.lowercase: True"):
        export_model(folder, "hf", tmp_path / "theirs")


def test_formats_and_folders(write: Write, tmp_path: Path) -> None:
    folder = write(tmp_path / "ours")
    with pytest.raises(ConfigError, match=r"'onxx' is not a format to export to. Did you mean 'onnx'\?"):
        export_model(folder, "onxx", tmp_path / "theirs")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="name a new folder"):
        export_model(folder, "hf", folder)


def test_the_card_goes_with_the_model(exported: Any, shipped_model: Path) -> None:
    """It names the licences of the data."""
    assert (exported("hf") / "README.md").read_bytes() == (shipped_model / "README.md").read_bytes()

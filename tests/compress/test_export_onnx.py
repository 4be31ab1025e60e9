"""Exported models in ONNX Runtime's hands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
import torch

from regard.compress.exporting import export_model
from regard.model.folder import load_model
from regard.tasks.translation import Translator

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

VARIANTS: dict[str, dict[str, Any]] = {
    "post-norm": {"norm_position": "post", "activation": "gelu", "position": "learned", "output_bias": True},
    "modern": {"norm": "rmsnorm", "activation": "swiglu", "position": "rotary", "bias": False, "tie": "none"},
}


class Runtime:
    """The two graphs and the loop that docs/interoperability.md shows."""

    def __init__(self, folder: Path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options, providers=["CPUExecutionProvider"])
            for name in ("encoder", "decoder")
        )
        self.config = json.loads((folder / "config.json").read_text())

    def encode(self, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
        names = [output.name for output in self.encoder.get_outputs()]
        return dict(zip(names, self.encoder.run(None, {"ids": ids, "mask": mask}), strict=True)) | {"mask": mask}

    def empty(self, rows: int) -> dict[str, np.ndarray]:
        config = self.config
        return {
            f"past_{kind}_{i}": np.zeros((rows, config["num_heads"], 0, config[f"{kind}_width"]), np.float32)
            for i in range(config["decoder_layers"])
            for kind in ("key", "value")
        }

    def step(
        self, ids: np.ndarray, memory: dict[str, np.ndarray], past: dict[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        logits, *present = self.decoder.run(None, {"ids": ids, **memory, **past})
        return logits, dict(zip(past, present, strict=True))

    def greedy(self, source: list[int], limit: int = 60) -> list[int]:
        ids = np.array([source])
        memory, past = self.encode(ids, np.ones_like(ids, dtype=bool)), self.empty(1)
        output = [self.config["bos_id"]]
        while len(output) < limit:
            logits, past = self.step(np.array([output[-1:]]), memory, past)
            logits[..., self.config["never"]] = -np.inf
            output.append(int(logits[0, -1].argmax()))
            if output[-1] == self.config["eos_id"]:
                return output[1:-1]
        return output[1:]


@pytest.mark.slow
@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_logits_equal(write: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    """All pieces at once, and in two steps; one source is shorter than the other."""
    shape = {"encoder_layers": 1, "decoder_layers": 1, "head_dim": 10, "value_dim": 3, "scale_embeddings": False}
    folder = write(tmp_path / "ours", **shape, **changes)
    export_model(folder, "onnx", tmp_path / "theirs")
    model, runtime = load_model(folder)[0], Runtime(tmp_path / "theirs")
    source, lengths = torch.randint(6, 300, (3, 7)), torch.tensor([7, 4, 1])
    inputs = torch.randint(6, 300, (3, 6))
    with torch.no_grad():
        memory, mask = model.encode(source, lengths)
        expected = model.logits(model.decode_full(inputs, memory, mask)).numpy()
    encoded = runtime.encode(source.numpy(), (torch.arange(7)[None] < lengths[:, None]).numpy())
    at_once, _ = runtime.step(inputs.numpy(), encoded, runtime.empty(3))
    np.testing.assert_allclose(at_once, expected, atol=2e-4, rtol=1e-4)
    first, past = runtime.step(inputs[:, :1].numpy(), encoded, runtime.empty(3))
    rest, _ = runtime.step(inputs[:, 1:].numpy(), encoded, past)
    np.testing.assert_allclose(np.concatenate([first, rest], axis=1), expected, atol=2e-4, rtol=1e-4)
    assert expected.std() > 0.5
    for name in ("encoder", "decoder"):
        assert b".py" not in (tmp_path / "theirs" / f"{name}.onnx").read_bytes()  # no path of this machine


@pytest.mark.slow
def test_the_shipped_model_translates_the_same(
    exported: Any, shipped_model: Path, sentences: list[tuple[str, str, str]], search: Any
) -> None:
    theirs = Runtime(exported("onnx"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(exported("onnx") / "tokenizer.model"))
    ours = Translator.from_pretrained(shipped_model, device="cpu", precision="fp32")
    for text, source, target in sentences:
        ids = [theirs.config["tags"][f"<2{target}>"], *pieces.encode(text), theirs.config["eos_id"]]
        assert pieces.decode(theirs.greedy(ids)) == search(ours, text, source, target, beam=1)

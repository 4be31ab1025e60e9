"""Exported models in CTranslate2's own hands."""

from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from regard.compress.exporting import export_model
from regard.model.folder import load_model
from regard.tasks.translation import Translator
from regard.tasks.vocabulary import load_tokenizers

ctranslate2 = pytest.importorskip("ctranslate2")

VARIANTS: dict[str, dict[str, Any]] = {
    "pre-norm": {"output_bias": True},
    "post-norm": {"norm_position": "post", "activation": "gelu", "tie": "decoder", "scale_embeddings": False},
    "modern": {"norm": "rmsnorm", "activation": "swiglu", "position": "rotary", "bias": False, "tie": "none"},
    "wide heads": {"head_dim": 10, "position": "none", "activation": "silu"},
    "learned": {"position": "learned", "max_positions": 40},
}


def open_translator(folder: Path) -> Any:
    return ctranslate2.Translator(str(folder), device="cpu", compute_type="float32", intra_threads=1)


@pytest.mark.parametrize("changes", VARIANTS.values(), ids=VARIANTS.keys())
def test_scores_equal(write: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write(tmp_path / "ours", **changes)
    export_model(folder, "ctranslate2", tmp_path / "theirs")
    tokenizer, model = load_tokenizers(folder)[0], load_model(folder)[0]
    source = [tokenizer.tag_id("<2de>"), *tokenizer.encode("Seven geese sing.")]
    target = tokenizer.encode("Sept oies chantent toujours.")
    inputs = torch.tensor([[model.config.bos_id, *target]])
    ended = torch.tensor([[*source, model.config.eos_id]])
    with torch.no_grad():
        memory, mask = model.encode(ended, torch.tensor([ended.shape[1]]))
        log_probs = model.logits(model.decode_full(inputs, memory, mask)).log_softmax(-1)[0]
    expected = log_probs.gather(1, torch.tensor([*target, model.config.eos_id])[:, None])[:, 0]
    pieces = tokenizer.pieces(source), tokenizer.pieces(target)
    found = open_translator(tmp_path / "theirs").score_batch([pieces[0]], [pieces[1]])[0].log_probs
    torch.testing.assert_close(torch.tensor(found), expected, atol=2e-4, rtol=1e-4)
    assert float(expected.std()) > 0.5


@pytest.mark.parametrize("beam", [1, 4])
def test_the_shipped_model_translates_the_same(
    exported: Any, shipped_model: Path, sentences: list[tuple[str, str, str]], search: Any, beam: int
) -> None:
    theirs = open_translator(exported("ctranslate2"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(exported("ctranslate2") / "tokenizer.model"))
    ours = Translator.from_pretrained(shipped_model, device="cpu", precision="fp32")
    for text, source, target in sentences:
        inputs = [f"<2{target}>", *pieces.encode(text, out_type=str)]
        result = theirs.translate_batch([inputs], beam_size=beam, length_penalty=0.0)[0]
        found = pieces.decode_pieces(result.hypotheses[0])
        assert found == search(ours, text, source, target, beam=beam, length_penalty=0.0)

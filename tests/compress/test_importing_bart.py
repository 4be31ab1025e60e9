"""BART: normalised embeddings, a table of positions, and pieces of bytes."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.base.errors import ConfigError, ModelError
from regard.compress.hugging_face import read_config, read_weights
from regard.compress.importing import import_model, read_state
from regard.decode.native_engine import why_not
from regard.model import Transformer
from regard.model.folder import assign_weights, load_config
from regard.tasks.translation import Translator
from regard.tasks.vocabulary import load_tokenizers

Make = Callable[[], tuple[Path, Any, Any]]
DIRECTION = {"source": ["en"], "target": ["fr"]}
TEXTS = ["Seven geese walked across the frozen pond.", "Nobody listens.", "The old map, always blue?"]


def test_logits_equal_transformers(make_bart: Make) -> None:
    folder, theirs, _ = make_bart()
    state = {name: weight.double() for name, weight in read_state(folder).items()}
    config, weights = read_weights(state, read_config(json.loads((folder / "config.json").read_text())))
    ours = Transformer(config).double().eval()
    assign_weights(ours, weights, str(folder))
    source, lengths = torch.randint(4, 300, (3, 9)), torch.tensor([9, 5, 2])
    attended = torch.arange(9)[None] < lengths[:, None]
    inputs = torch.cat([torch.full((3, 1), config.bos_id), torch.randint(4, 300, (3, 6))], dim=1)
    with torch.no_grad():
        expected = theirs.double()(input_ids=source, attention_mask=attended.long(), decoder_input_ids=inputs).logits
        memory, mask = ours.encode(source, lengths)
        found = ours.logits(ours.decode_full(inputs, memory, mask))
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("native", [False, True], ids=["PyTorch", "native"])
def test_translations_equal_transformers(make_bart: Make, tmp_path: Path, native: bool) -> None:
    folder, theirs, tokenizer = make_bart()
    assert import_model(folder, tmp_path / "ours", **DIRECTION).directions == [("en", "fr")]
    if native and (reason := why_not(load_config(tmp_path / "ours")[0])):
        pytest.skip(f"the native engine cannot run: {reason}")
    engine: Any = "native" if native else "torch"
    translator = Translator.from_pretrained(tmp_path / "ours", engine=engine, device="cpu", precision="fp32", threads=1)
    never = translator.tokenizers[1].never
    for text in TEXTS:
        output = theirs.generate(
            **tokenizer([text], return_tensors="pt"),
            forced_bos_token_id=0,
            num_beams=3,
            length_penalty=0.0,
            no_repeat_ngram_size=3,
            min_new_tokens=2,  # the begin, and something
            max_new_tokens=17,
            bad_words_ids=[[i] for i in never],
            early_stopping=False,
        )
        prepared = translator.prepare([text], "en", "fr", beam=3, length_penalty=0.0, no_repeat_ngram=3, max_length=16)
        best = translator.engine.translate(prepared.requests)[0][0]
        assert [2, *best.ids, *([2] if best.finished else [])] == output[0].tolist()


def test_pieces_equal_transformers(make_bart: Make, tmp_path: Path) -> None:
    folder, _, tokenizer = make_bart()
    import_model(folder, tmp_path / "ours", **DIRECTION)
    ours, _ = load_tokenizers(tmp_path / "ours")
    ours = pickle.loads(pickle.dumps(ours))
    texts = [*TEXTS, "L'étang gelé chante.", "水壶在响 🦢"]
    assert ours.encode_batch(texts) == [ours.encode(text) for text in texts]
    for text in texts:
        ids = ours.encode(text)
        assert [ours.tag_id("<2en>"), *ids, ours.eos_id] == tokenizer(text)["input_ids"]
        assert ours.decode([*ids, ours.eos_id]) == text
    assert "".join(ours.pieces(ours.encode("the garden gate"))) == "the▁garden▁gate"
    assert not {0, 1, 2, 3, 4} & set(ours.encode("<s> <mask> </s>"))  # words like others


def test_files_that_are_missing_or_damaged(make_bart: Make, tmp_path: Path) -> None:
    folder, _, _ = make_bart()
    with pytest.raises(ConfigError, match="which source language"):
        import_model(folder, tmp_path / "ours")
    with pytest.raises(ConfigError, match="one direction"):
        import_model(folder, tmp_path / "ours", source=["en"], target=["fr", "de"])
    (folder / "merges.txt").write_text("a b c\n")
    with pytest.raises(ModelError, match="not a vocabulary of byte-level pieces"):
        import_model(folder, tmp_path / "ours", **DIRECTION)
    (folder / "merges.txt").unlink()
    with pytest.raises(ModelError, match=r"merges\.txt cannot be read"):
        import_model(folder, tmp_path / "ours", **DIRECTION)

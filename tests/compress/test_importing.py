"""Imported models against transformers: pieces, logits in float64, translations."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from regard.base.errors import ConfigError, ModelError
from regard.base.extras import MissingExtra
from regard.compress.hugging_face import positions_table, read_config, read_weights
from regard.compress.importing import find, import_model, read_state
from regard.decode.native_engine import NativeEngine, why_not
from regard.model import Transformer
from regard.model.folder import assign_weights, load_config
from regard.tasks.translation import Translator
from regard.tasks.vocabulary import load_tokenizers

Make = Callable[..., tuple[Path, Any]]
Search = Callable[..., str]
TEXTS = [
    "Seven geese walked across the frozen pond.",
    "Nobody listens.",
    "The old map, always blue, sings last spring?",
]


def logits(model: Transformer, source: Tensor, lengths: Tensor, inputs: Tensor) -> Tensor:
    memory, mask = model.encode(source, lengths)
    return model.logits(model.decode_full(inputs, memory, mask))


def in_float64(folder: Path) -> Transformer:
    """The model of a Hugging Face folder, its weights carried over in float64."""
    state = {name: weight.double() for name, weight in read_state(folder).items()}
    config, weights = read_weights(state, read_config(json.loads((folder / "config.json").read_text())))
    model = Transformer(config).double().eval()
    assign_weights(model, weights, str(folder))
    return model


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"activation_function": "relu", "scale_embedding": False, "d_model": 20},
        {"activation_function": "gelu", "share_encoder_decoder_embeddings": False},
        {"tie_word_embeddings": False, "share_encoder_decoder_embeddings": False},
        {"tie_word_embeddings": False},
    ],
    ids=["opus-mt", "unscaled", "two vocabularies", "untied", "own head"],
)
def test_logits_equal_transformers(make_marian: Make, changes: dict[str, Any]) -> None:
    folder, theirs = make_marian(**changes)
    theirs = theirs.double()
    for side in (theirs.model.encoder, theirs.model.decoder):  # theirs are rounded to float32
        side.embed_positions.weight.data = positions_table(*side.embed_positions.weight.shape)
    ours = in_float64(folder)
    source, lengths = torch.randint(3, 60, (3, 9)), torch.tensor([9, 5, 2])
    attended = torch.arange(9)[None] < lengths[:, None]
    source[~attended] = ours.config.pad_id
    inputs = torch.cat([torch.full((3, 1), ours.config.bos_id), torch.randint(3, 60, (3, 6))], dim=1)
    with torch.no_grad():
        expected = theirs(input_ids=source, attention_mask=attended.long(), decoder_input_ids=inputs).logits
        found = logits(ours, source, lengths, inputs)
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


def generated(theirs: Any, tokenizer: Any, texts: list[str], never: list[int], **options: Any) -> list[str]:
    """What transformers makes of texts, one by one, under the rules that Regard always keeps."""
    found = []
    for text in texts:
        ids = tokenizer([text], return_tensors="pt")
        output = theirs.generate(
            **ids, min_new_tokens=1, max_new_tokens=24, suppress_tokens=never, early_stopping=False, **options
        )
        found.append(tokenizer.decode(output[0], skip_special_tokens=True))
    return found


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("tags", [[], [">>fra<<", ">>zho_Hans<<", ">>deu<<"]], ids=["one language", "tags"])
@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("native", [False, True], ids=["PyTorch", "native"])
def test_translations_equal_transformers(
    make_marian: Make, search: Search, tmp_path: Path, tags: list[str], beam: int, native: bool
) -> None:
    transformers = pytest.importorskip("transformers")
    folder, theirs = make_marian(tags)
    import_model(folder, tmp_path / "ours", target=["zh=zho_Hans", "fra"] if tags else [])
    translator = Translator.from_pretrained(tmp_path / "ours", device="cpu", precision="fp32")
    if native:
        if reason := why_not(translator.engine.config):
            pytest.skip(f"the native engine cannot run: {reason}")
        never = translator.tokenizers[1].never
        translator.engine = NativeEngine.from_folder(tmp_path / "ours", precision="fp32", threads=1, never=never)
    assert translator.directions == ([("en", "zh"), ("en", "fra")] if tags else [("en", "fr")])
    tokenizer = transformers.MarianTokenizer.from_pretrained(folder)
    never = [1, *tokenizer.convert_tokens_to_ids(tags), tokenizer.pad_token_id]
    for _, target in translator.directions:
        tag = {"zh": ">>zho_Hans<<", "fra": ">>fra<<", "fr": ""}[target]
        options = {"num_beams": beam, "length_penalty": 0.0, "no_repeat_ngram_size": 3}
        expected = generated(theirs, tokenizer, [tag + text for text in TEXTS], never, **options)
        ours = {"beam": beam, "length_penalty": 0.0, "no_repeat_ngram": 3, "max_length": 24}
        assert [search(translator, text, "en", target, **ours) for text in TEXTS] == expected
        assert len(set(expected)) == 3


@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("changes", [{}, {"share_encoder_decoder_embeddings": False}], ids=["joint", "separate"])
def test_pieces_equal_transformers(make_marian: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    transformers = pytest.importorskip("transformers")
    folder, _ = make_marian(**changes)
    import_model(folder, tmp_path / "ours")
    theirs, ours = transformers.MarianTokenizer.from_pretrained(folder), load_tokenizers(tmp_path / "ours")
    french = ["L'étang gelé chante  encore.", "Qui chante ?"]
    for text in [*TEXTS, "The Ωmega  sings.", *french]:
        assert [*ours[0].encode(text), ours[0].eos_id] == theirs(text)["input_ids"]
        assert [*ours[1].encode(text), ours[1].eos_id] == theirs(text_target=text)["input_ids"]
    assert ours[1].encode_batch(french) == [ours[1].encode(text) for text in french]
    for text in french:
        ids = ours[1].encode(text)
        assert ours[1].decode([*ids, ours[1].eos_id]) == " ".join(text.split())
        assert ours[1].decode(ids) == theirs.decode(ids, skip_special_tokens=True)


# ---- what an import writes


def test_the_folder_is_complete(make_marian: Make, tmp_path: Path) -> None:
    folder, theirs = make_marian()
    (folder / "README.md").write_text("licence: cc-by-4.0")
    found = import_model(folder, tmp_path / "ours")
    config, task = load_config(tmp_path / "ours")
    assert task == {"name": "translation", "directions": [["en", "fr"]], "tagged": False}
    assert (config.activation, config.norm_position, config.output_bias) == ("silu", "post", True)
    assert config.bos_id == config.pad_id == theirs.config.pad_token_id
    search = json.loads((tmp_path / "ours" / "generation.json").read_text())
    assert search == {"beam": 3, "length_penalty": 0.0}
    assert "# opus-mt-en-fr" in (tmp_path / "ours" / "README.md").read_text()
    assert (tmp_path / "ours" / "README.original.md").read_text() == "licence: cc-by-4.0"
    assert found.parameters == sum(p.numel() for n, p in theirs.named_parameters() if "embed_pos" not in n) + (
        config.target_vocab_size  # a buffer there
    )


def test_a_bias_of_zeros_is_none(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian()
    change_weights(folder, lambda state: state["final_logits_bias"].zero_())
    import_model(folder, tmp_path / "ours")
    assert not load_config(tmp_path / "ours")[0].output_bias


def test_pickled_weights_are_read_without_their_code(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian()
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save({**state, "model.encoder.embed_positions.weight": positions_table(64, 24)}, folder / "pytorch_model.bin")
    read = read_state(folder)
    assert all(torch.equal(read[name], weight) for name, weight in state.items())
    import_model(folder, tmp_path / "ours")
    torch.save({"model.shared.weight": Path("code")}, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be read"):
        import_model(folder, tmp_path / "again")


def test_languages_from_the_name(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian(name="opus-mt-tc-big-it-es")
    (folder / "tokenizer_config.json").unlink()
    assert import_model(folder, tmp_path / "ours").directions == [("it", "es")]
    assert import_model(folder, tmp_path / "both", source=["it", "scn"]).directions == [("it", "es"), ("scn", "es")]


def test_languages_that_nobody_names(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian(name="mine")
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(ConfigError, match="which source language the model has; give --source"):
        import_model(folder, tmp_path / "ours")


def test_all_tags_by_default(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian([">>fra<<", ">>zho_Hans<<"])
    assert import_model(folder, tmp_path / "ours").directions == [("en", "fra"), ("en", "zho_hans")]
    tokenizer = load_tokenizers(tmp_path / "ours")[0]
    assert tokenizer.pieces([tokenizer.tag_id("<2zho_hans>")]) == [">>zho_Hans<<"]
    assert tokenizer.tag_id("<2fra>") not in tokenizer.encode(">>fra<< kettle")
    with pytest.raises(ConfigError, match=r"no tag for 'fr'. Did you mean 'fra'\?"):
        import_model(folder, tmp_path / "again", target=["fr"])


# ---- from the hub


def test_a_name_is_fetched(make_marian: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    folder, _ = make_marian()
    asked = []

    def fetch(name: str, allow_patterns: list[str]) -> str:
        asked.append((name, "pytorch_model.bin" in allow_patterns))
        if asked[-1][1]:
            torch.save(load_file(tmp_path / "weights"), folder / "pytorch_model.bin")
        return str(folder)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    assert import_model("Helsinki-NLP/opus-mt-en-fr", tmp_path / "ours").directions == [("en", "fr")]
    assert asked == [("Helsinki-NLP/opus-mt-en-fr", False)]
    (folder / "model.safetensors").rename(tmp_path / "weights")
    import_model("Helsinki-NLP/opus-mt-en-fr", tmp_path / "older")
    assert asked[1:] == [("Helsinki-NLP/opus-mt-en-fr", False), ("Helsinki-NLP/opus-mt-en-fr", True)]
    assert "# Helsinki-NLP/opus-mt-en-fr" in (tmp_path / "ours" / "README.md").read_text()


def test_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")

    def fail(name: str, allow_patterns: list[str]) -> str:
        raise hub.errors.LocalEntryNotFoundError("no connection")

    monkeypatch.setattr(hub, "snapshot_download", fail)
    with pytest.raises(ModelError, match="a/b cannot be fetched from the hub: no connection"):
        find("a/b")
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(MissingExtra, match=r"pip install 'regard\[hub\]'"):
        find("a/b")


# ---- refusals


def change_weights(folder: Path, change: Callable[[dict[str, Tensor]], Any]) -> None:
    state = load_file(folder / "model.safetensors")
    change(state)
    save_file(state, folder / "model.safetensors", {"format": "pt"})


def change_settings(folder: Path, name: str = "config.json", **changes: Any) -> None:
    values = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**values, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "t5"}, "type 't5'; Regard imports marian, pegasus, m2m_100, bart"),
        ({"activation_function": "gelu_new"}, "activation_function is 'gelu_new'"),
        ({"decoder_ffn_dim": 41}, "encoder_ffn_dim 40 and decoder_ffn_dim 41 differ"),
        ({"normalize_before": True}, "normalize_before is True"),
        ({"encoder_layers": 3}, r"'model.encoder.layers.2.self_attn.q_proj.weight' is missing"),
        ({"decoder_layers": 2}, r"'model.decoder.layers.2.encoder_attn.k_proj.bias' has no place"),
        (
            {"vocab_size": 50, "decoder_vocab_size": 50},
            r"'source_embedder.tokens.weight' is \(\d+, 24\), expected \(50, 24\)",
        ),
        ({"eos_token_id": [0]}, r"eos_id: expected int, got \[0\]"),
        ({"eos_token_id": 1}, "'</s>' is piece 0, but the model ends with 1"),
    ],
)
def test_settings_that_do_not_fit(make_marian: Make, tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder, _ = make_marian()
    change_settings(
        folder, **changes, **({"pad_token_id": 2, "decoder_start_token_id": 2} if "vocab_size" in changes else {})
    )
    with pytest.raises(ModelError, match=message):
        import_model(folder, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_positions_that_were_learnt(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian()
    name = "model.encoder.embed_positions.weight"
    change_weights(folder, lambda state: state.update({name: torch.randn(128, 24)}))
    with pytest.raises(ModelError, match="not the table of sines and cosines"):
        import_model(folder, tmp_path / "ours")


def test_a_forced_first_piece(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian()
    change_settings(folder, "generation_config.json", forced_bos_token_id=7)
    with pytest.raises(ModelError, match="begins with a forced piece"):
        import_model(folder, tmp_path / "ours")


@pytest.mark.parametrize("name", ["source.spm", "vocab.json", "model.safetensors"])
def test_files_that_are_missing_or_damaged(make_marian: Make, tmp_path: Path, name: str) -> None:
    folder, _ = make_marian()
    (folder / name).write_bytes(b"\x00nothing")
    with pytest.raises(ModelError):
        import_model(folder, tmp_path / "ours")
    (folder / name).unlink()
    with pytest.raises(ModelError, match=name):
        import_model(folder, tmp_path / "ours")
    with pytest.raises(ModelError, match="is not a folder with a config"):
        import_model(tmp_path, tmp_path / "ours")


def test_a_vocabulary_of_another_model(make_marian: Make, tmp_path: Path) -> None:
    folder, _ = make_marian()
    (folder / "vocab.json").write_text(json.dumps({"</s>": 0, "<unk>": 1, "<pad>": 2}))
    with pytest.raises(ModelError, match=r"the source vocabulary has 3 pieces, the model \d+"):
        import_model(folder, tmp_path / "ours")


@pytest.mark.parametrize("vocabulary", [{"a": 0, "b": 0}, {"a": 1}, {"a": "0"}, {"a": 0.5}])
def test_a_vocabulary_with_gaps(make_marian: Make, tmp_path: Path, vocabulary: dict[str, Any]) -> None:
    folder, _ = make_marian()
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    with pytest.raises(ModelError, match="does not number its pieces"):
        import_model(folder, tmp_path / "ours")

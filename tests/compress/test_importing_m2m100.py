"""M2M-100 and NLLB: learned tables for positions, and a tag in front of both sides."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.base.config import from_dict
from regard.base.errors import ConfigError, ModelError
from regard.compress.hugging_face import m2m100_positions, read_config, read_weights
from regard.compress.importing import import_model, read_state
from regard.compress.m2m100_files import read_tokenizer, read_vocabulary
from regard.decode.native_engine import NativeEngine, why_not
from regard.model import ModelConfig, Transformer
from regard.model.folder import assign_weights, load_config
from regard.tasks.preset import Preset
from regard.tasks.translation import Translator
from regard.tasks.vocabulary import load_tokenizers

Make = Callable[..., tuple[Path, Any, Any]]
TEXTS = [
    "Seven geese walked across the frozen pond.",
    "Nobody listens.",
    "The old map, always blue, sings last spring?",
]


@pytest.mark.parametrize("changes", [{}, {"activation_function": "gelu", "scale_embedding": False}])
def test_logits_equal_transformers(make_m2m100: Make, changes: dict[str, Any]) -> None:
    folder, theirs, _ = make_m2m100(**changes)
    state = {name: weight.double() for name, weight in read_state(folder).items()}
    config, weights = read_weights(state, read_config(json.loads((folder / "config.json").read_text())))
    ours = Transformer(config).double().eval()
    assign_weights(ours, weights, str(folder))
    theirs = theirs.double()
    for side in (theirs.model.encoder, theirs.model.decoder):
        table = side.embed_positions.weights
        exact = m2m100_positions(len(table), table.shape[1], 0)
        torch.testing.assert_close(table[2:], exact[2:], atol=1e-5, rtol=0)  # theirs are rounded to float32
        side.embed_positions.weights.data = exact
    source, lengths = torch.randint(4, 90, (3, 9)), torch.tensor([9, 5, 2])
    attended = torch.arange(9)[None] < lengths[:, None]
    source[~attended] = config.pad_id
    inputs = torch.cat([torch.full((3, 1), config.bos_id), torch.randint(4, 90, (3, 6))], dim=1)
    with torch.no_grad():
        expected = theirs(input_ids=source, attention_mask=attended.long(), decoder_input_ids=inputs).logits
        memory, mask = ours.encode(source, lengths)
        found = ours.logits(ours.decode_full(inputs, memory, mask))
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=0)


@pytest.mark.parametrize("beam", [1, 4])
@pytest.mark.parametrize("native", [False, True], ids=["PyTorch", "native"])
def test_translations_equal_transformers(make_m2m100: Make, tmp_path: Path, beam: int, native: bool) -> None:
    folder, theirs, tokenizer = make_m2m100()
    found = import_model(folder, tmp_path / "ours", source=["en", "fr"], target=["french=fr", "en"])
    assert found.directions == [("en", "french"), ("fr", "french"), ("fr", "en")]
    translator = Translator.from_pretrained(tmp_path / "ours", engine="torch", device="cpu", precision="fp32")
    if native:
        if reason := why_not(load_config(tmp_path / "ours")[0]):
            pytest.skip(f"the native engine cannot run: {reason}")
        translator = Translator.from_pretrained(tmp_path / "ours", engine="native", precision="fp32", threads=1)
        assert isinstance(translator.engine, NativeEngine)
    never = [i for i in translator.tokenizers[1].never if i != tokenizer.get_lang_id("fr")]
    options = {"num_beams": beam, "length_penalty": 0.0, "no_repeat_ngram_size": 3}
    tokenizer.src_lang = "en"
    expected, texts = [], []
    for text in TEXTS:
        ids = tokenizer([text], return_tensors="pt")
        output = theirs.generate(
            **ids,
            forced_bos_token_id=tokenizer.get_lang_id("fr"),
            min_new_tokens=2,  # the tag, and something
            max_new_tokens=25,
            bad_words_ids=[[i] for i in [*never, tokenizer.get_lang_id("fr")]],
            early_stopping=False,
            **options,
        )
        expected.append(output[0].tolist())
        prepared = translator.prepare(
            [text], "en", "french", beam=beam, length_penalty=0.0, no_repeat_ngram=3, max_length=24
        )
        hypotheses = translator.engine.translate(prepared.requests)[0]
        best = hypotheses[0]
        assert best.ids[0] == tokenizer.get_lang_id("fr")
        end = [2] if best.finished else []
        texts.append([2, *best.ids, *end])
        sentence = translator.sentence(prepared, 0, hypotheses)
        assert len(sentence.pieces) == len(best.ids) - 1
        assert len(sentence.log_probs) == len(best.log_probs) - 1
        assert not set(sentence.pieces) & {"__fr__", "__en__"}
    assert texts == expected
    assert len({tuple(ids) for ids in expected}) == 3


def test_alignment_is_between_text(make_m2m100: Make, tmp_path: Path) -> None:
    folder, *_ = make_m2m100()
    import_model(folder, tmp_path / "ours", source=["en"], target=["fr"])
    translator = Translator.from_pretrained(tmp_path / "ours", threads=1)
    (sentence,) = translator.translate(TEXTS[0], "en", "fr", alignment=True, max_length=12).sentences
    assert sentence.attention is not None
    assert sentence.attention.shape == (len(sentence.pieces), len(sentence.source_pieces))
    assert 1 <= len(sentence.pieces) <= 12
    again = translator.translate(TEXTS[0], "en", "fr", prefix="Sept oies", max_length=12).sentences[0]
    begin = translator.tokenizers[1].pieces(translator.tokenizers[1].encode("Sept oies"))
    assert again.pieces[: len(begin)] == tuple(begin)


def test_pieces_equal_transformers(make_m2m100: Make, tmp_path: Path) -> None:
    folder, _, tokenizer = make_m2m100()
    import_model(folder, tmp_path / "ours", source=["en"], target=["fr"])
    ours, same = load_tokenizers(tmp_path / "ours")
    assert ours is same
    tokenizer.src_lang = "en"
    for text in [*TEXTS, "The Ωmega  sings.", "L'étang gelé chante  encore."]:
        ids = ours.encode(text)
        assert [ours.tag_id("<2en>"), *ids, ours.eos_id] == tokenizer(text)["input_ids"]
        known = [i for i in ids if i != ours.unk_id]  # theirs leaves out what is unknown
        assert ours.decode(known) == tokenizer.decode(known, skip_special_tokens=True)
    assert ours.tag_id("<2fr>") == tokenizer.get_lang_id("fr")
    assert ours.tag_id("<2fr>") not in ours.encode("__fr__ kettle")


@pytest.mark.parametrize("listed", ["tokenizer.json", "special_tokens_map.json"])
def test_pieces_of_nllb(nllb_files: tuple[Path, Any], listed: str) -> None:
    """Numbered as in fairseq, whichever file lists the languages."""
    folder, tokenizer = nllb_files
    tokenizer.src_lang = "eng_Latn"
    if listed == "special_tokens_map.json":
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).unlink()
        behind = tokenizer.convert_ids_to_tokens(range(131, len(tokenizer)))
        (folder / listed).write_text(json.dumps({"additional_special_tokens": behind}))
    vocabulary = read_vocabulary(folder, 150)
    assert len(vocabulary.pieces) == 150
    assert sorted(vocabulary.languages) == ["deu_latn", "eng_latn", "fra_latn", "zho_hans"]
    tags = {"en": "eng_Latn", "zh": "zho_Hans"}
    ours = read_tokenizer(folder, ModelConfig(150, 150, pad_id=1, bos_id=2, eos_id=2), vocabulary, tags)
    for code, tag in tags.items():
        assert ours.tag_id(f"<2{code}>") == tokenizer.convert_tokens_to_ids(tag) != tokenizer.unk_token_id
    for text in TEXTS:
        assert [ours.tag_id("<2en>"), *ours.encode(text), ours.eos_id] == tokenizer(text)["input_ids"]
    assert {*range(131, 150), 0, 1} <= set(ours.never)


# ---- refusals


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ([], ["fr"], "this model knows 100 languages .* say between which"),
        (["en"], ["english"], "no tag for 'english'"),
        (["en"], ["en"], "nothing to translate from en to en"),
        (["zh"], ["zh=fr", "en"], "'zh' names two tags, __zh__ and __fr__"),
    ],
)
def test_languages_that_are_not_clear(
    make_m2m100: Make, tmp_path: Path, source: list[str], target: list[str], message: str
) -> None:
    folder, *_ = make_m2m100()
    with pytest.raises(ConfigError, match=message):
        import_model(folder, tmp_path / "ours", source=source, target=target)
    assert not (tmp_path / "ours").exists()


@pytest.mark.parametrize("name", ["sentencepiece.bpe.model", "vocab.json"])
def test_files_that_are_missing_or_damaged(make_m2m100: Make, tmp_path: Path, name: str) -> None:
    folder, *_ = make_m2m100()
    (folder / name).write_bytes(b"\x00nothing")
    with pytest.raises(ModelError):
        import_model(folder, tmp_path / "ours", source=["en"], target=["fr"])
    (folder / name).unlink()
    with pytest.raises(ModelError):  # without vocab.json it would be NLLB's, and nothing lists the languages
        import_model(folder, tmp_path / "ours", source=["en"], target=["fr"])


def test_it_cannot_be_trained_further(make_m2m100: Make, tmp_path: Path) -> None:
    folder, *_ = make_m2m100()
    import_model(folder, tmp_path / "ours", source=["en"], target=["fr"])
    corpus = {"path": "pairs.tsv", "source": "en", "target": "fr"}
    with pytest.raises(ConfigError, match="begins both sides of a pair with a tag"):
        from_dict(Preset, {"output": "out", "start": {"model": str(tmp_path / "ours")}, "data": {"train": [corpus]}})

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regard.base.errors import ConfigError
from regard.compress.extending import extend_model
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_model, load_weights, save_model, storage_of
from regard.tasks.translation import Translator

TEXTS = [
    "The kettle sings and nobody listens.",
    "Who left the garden gate open last night?",
    "Seven geese walked across the frozen pond.",
    "Der Kessel singt und niemand hört ihm zu.",
    "Wer hat gestern Abend das Gartentor offen gelassen?",
] * 2


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    def model(name: str = "model", storage: str = "float32", joint: bool = True, **settings: object) -> Path:
        folder = tmp_path / name
        tokenizers = [
            Tokenizer.train(TEXTS[: 5 + 5 * i], TokenizerConfig(vocab_size=310)) for i in range(1 if joint else 2)
        ]
        sizes = tokenizers[0].vocab_size, tokenizers[-1].vocab_size
        torch.manual_seed(3)
        usual = {"d_model": 16, "d_ff": 32, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1}
        model = Transformer(ModelConfig(*sizes, **{**usual, **settings}))  # type: ignore[arg-type]
        weights = {n: p.detach() + 0.3 * torch.randn_like(p) for n, p in model.named_parameters()}
        task = {"name": "translation", "directions": [["en", "de"]], "tagged": False}
        save_model(folder, model.config, weights, storage=storage, task=task)  # type: ignore[arg-type]
        if joint:
            tokenizers[0].save(folder)
        else:
            tokenizers[0].save(folder, "source")
            tokenizers[1].save(folder, "target")
        return folder

    return model


WORDS = ["Zwetschge", "quixotry"]


@pytest.mark.parametrize("tie", ["all", "decoder", "none"])
def test_rows_are_means_and_greedy_search_gives_what_it_gave(
    make: Callable[..., Path], tmp_path: Path, tie: str
) -> None:
    folder = make(tie=tie, output_bias=True)
    (source, target) = extend_model(folder, tmp_path / "more", WORDS)
    assert source is target
    before, after = load_weights(folder / "model.safetensors"), load_weights(tmp_path / "more/model.safetensors")
    longer = {name for name in before if before[name].shape != after[name].shape}
    tables = {"all": {"source_embedder"}, "decoder": {"source_embedder", "target_embedder"}}.get(
        tie, {"source_embedder", "target_embedder", "head"}
    )
    assert longer == {f"{t}.tokens.weight" if t != "head" else "head.weight" for t in tables} | {"head.bias"}
    for name in before:
        size = len(before[name])
        torch.testing.assert_close(after[name][:size], before[name])
        if name in longer:
            for number, replaced in enumerate(source.replaced):
                torch.testing.assert_close(after[name][size + number], before[name][list(replaced)].mean(0))
    old, new = (Translator.from_pretrained(f, engine="torch", precision="fp32") for f in (folder, tmp_path / "more"))
    for text in TEXTS[:3]:
        before_and_after = [t.translate(text, "en", "de", beam=1, max_length=10).text for t in (old, new)]
        assert before_and_after[0] == before_and_after[1]
    assert "Zwetschge, quixotry" in (tmp_path / "more/README.md").read_text()


def test_words_for_one_side(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(joint=False, tie="decoder")
    source, target = extend_model(folder, tmp_path / "more", WORDS, "target")
    assert (len(source.pieces), len(target.pieces)) == (0, 2)
    config = load_model(tmp_path / "more")[0].config
    was = load_model(folder)[0].config
    assert config.source_vocab_size == was.source_vocab_size
    assert config.target_vocab_size == was.target_vocab_size + 2


def test_storage_stays(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make(storage="int8")
    extend_model(folder, tmp_path / "more", WORDS)
    assert storage_of(tmp_path / "more/model.safetensors") == "int8"
    before, after = load_weights(folder / "model.safetensors"), load_weights(tmp_path / "more/model.safetensors")
    torch.testing.assert_close(after["encoder.0.feed_forward.up.weight"], before["encoder.0.feed_forward.up.weight"])


def test_what_cannot_be(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    with pytest.raises(ConfigError, match="there are no words"):
        extend_model(folder, tmp_path / "more", [])
    with pytest.raises(ConfigError, match="one vocabulary for source and target"):
        extend_model(folder, tmp_path / "more", WORDS, "source")
    assert not (tmp_path / "more").exists()

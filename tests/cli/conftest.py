"""A model small enough to be made anew: it knows words and directions, and translates at random."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

SENTENCES = [
    "The kettle sings and nobody listens.",
    "Who left the garden gate open last night?",
    "Seven geese walked across the frozen pond.",
    "Der Kessel singt und niemand hört ihm zu.",
    "Wer hat gestern Abend das Gartentor offen gelassen?",
    "Sieben Gänse liefen über den gefrorenen Teich.",
    "水壶在响，没有人听。",
    "昨天晚上谁没关花园的门？",
    "七只鹅走过结冰的池塘。",
]


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model, en↔de and en↔zh."""
    return make_model(tmp_path_factory.mktemp("models") / "tiny", seed=0)


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with other weights."""
    return make_model(tmp_path_factory.mktemp("models") / "other", seed=1)


def make_model(folder: Path, seed: int) -> Path:
    import torch

    from regard.data.tokenizer import EOS, Tokenizer, TokenizerConfig
    from regard.model import ModelConfig, Transformer
    from regard.model.folder import save_model

    directions = [["en", "de"], ["de", "en"], ["en", "zh"], ["zh", "en"]]
    tokenizer = Tokenizer.train(SENTENCES, TokenizerConfig(kind="bpe", vocab_size=420), ["<2de>", "<2en>", "<2zh>"])
    size = tokenizer.vocab_size
    torch.manual_seed(seed)
    model = Transformer(ModelConfig(size, size, d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1))
    weights = {name: weight.detach() + 0.3 * torch.randn_like(weight) for name, weight in model.named_parameters()}
    # Translations are words, since no byte is likely, and short, since the end of the sentence is.
    table = weights["source_embedder.tokens.weight"]
    direction = torch.nn.functional.normalize(torch.randn(16), dim=0)
    weights["decoder_norm.bias"] = 2.0 * direction
    table[[piece.startswith("<0x") for piece in tokenizer.pieces(range(size))]] = -direction
    table[EOS] = 2.7 * direction
    save_model(folder, model.config, weights, task={"name": "translation", "directions": directions, "tagged": True})
    tokenizer.save(folder)
    (folder / "generation.json").write_text('{"beam": 2, "min_length": 4}')
    return folder


@pytest.fixture
def type_in(monkeypatch: pytest.MonkeyPatch) -> Callable[[str | bytes], None]:
    """Put text on standard input."""

    def put(text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), encoding="utf-8"))

    return put

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from regard.cli import main as cli
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_config, save_model
from regard.tasks.vocabulary import load_tokenizers

SENTENCES = [
    "The kettle sings and nobody listens.",
    "Who left the garden gate open last night?",
    "Der Kessel singt und niemand hört ihm zu.",
] * 2


@pytest.fixture
def unigram_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    tokenizer = Tokenizer.train(SENTENCES, TokenizerConfig(vocab_size=288))
    size = tokenizer.vocab_size
    torch.manual_seed(0)
    model = Transformer(ModelConfig(size, size, d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1))
    task = {"name": "translation", "directions": [["en", "de"]], "tagged": False}
    save_model(Path("model"), model.config, dict(model.named_parameters()), task=task)
    tokenizer.save("model")
    return Path("model")


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


def test_words_from_both_places(unigram_model: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    Path("terms.txt").write_text("quixotry\n\nŁódź\n", encoding="utf-8")
    status, out, _ = regard("extend", "model", "--word", "Zwetschge", "--words", "terms.txt", "--output", "more")
    assert status == 0
    assert [line.split("\t")[0] for line in out.splitlines()] == ["Zwetschge", "quixotry", "Łódź"]
    tokenizer, _ = load_tokenizers(Path("more"))
    assert len(tokenizer.encode("quixotry")) == 1
    assert load_config("more")[0].source_vocab_size == tokenizer.vocab_size


def test_what_is_missing(unigram_model: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    status, _, err = regard("extend", "model", "--output", "more")
    assert (status, "--word" in err) == (2, True)
    status, _, err = regard("extend", "model", "--word", "two words", "--output", "more")
    assert (status, "is not one word" in err) == (1, True)

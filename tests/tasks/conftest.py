"""A parallel corpus and a preset so small that a training takes a second or two."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ENGLISH = "the a red green blue old small cat dog house river sees finds likes and".split()
GERMAN = "das ein rot grün blau alt klein Katze Hund Haus Fluss sieht findet mag und".split()


def sentences(count: int, seed: int) -> list[tuple[str, str]]:
    """Sentences word for word, no two alike."""
    generator, found = random.Random(seed), {}
    while len(found) < count:
        words = [generator.randrange(len(ENGLISH)) for _ in range(generator.randint(2, 9))]
        found[" ".join(ENGLISH[i] for i in words) + "."] = " ".join(GERMAN[i] for i in words) + "."
    return list(found.items())


@pytest.fixture
def corpora(tmp_path: Path) -> Path:
    """A folder with train.tsv and dev.tsv."""
    for name, count, seed in (("train", 300, 1), ("dev", 20, 2)):
        lines = (f"{source}\t{target}\n" for source, target in sentences(count, seed))
        (tmp_path / f"{name}.tsv").write_text("".join(lines), encoding="utf-8")
    return tmp_path


@pytest.fixture
def settings(corpora: Path) -> dict[str, Any]:
    """A preset as YAML gives it."""
    return {
        "output": str(corpora / "run"),
        "data": {
            "train": [{"path": str(corpora / "train.tsv"), "source": "en", "target": "de"}],
            "dev": [{"path": str(corpora / "dev.tsv"), "source": "en", "target": "de"}],
        },
        "tokenizer": {"vocab_size": 300},
        "model": {"d_model": 16, "d_ff": 32, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "train": {
            "steps": 6,
            "tokens": 128,
            "precision": "fp32",
            "device": "cpu",
            "threads": 1,
            "schedule": {"peak": 0.01, "warmup": 3},
            "log_every": 2,
            "validate_every": 3,
            "checkpoint_every": 100,
            "tensorboard": False,
        },
    }


@pytest.fixture
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """For tests that train: what the trainer sets for the whole process, and what takes most of so short a run."""
    import torch

    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture(scope="session")
def two_way_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of an untrained model, en↔de, that writes short sentences of words at random."""
    import torch

    from regard.data.tokenizer import EOS, Tokenizer, TokenizerConfig
    from regard.model import ModelConfig, Transformer
    from regard.model.folder import save_model

    folder = tmp_path_factory.mktemp("models") / "two-way"
    texts = [side for pair in sentences(200, 0) for side in pair]
    tokenizer = Tokenizer.train(texts, TokenizerConfig(vocab_size=310), ["<2de>", "<2en>"])
    size = tokenizer.vocab_size
    torch.manual_seed(0)
    model = Transformer(ModelConfig(size, size, d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1))
    weights = {name: weight.detach() + 0.3 * torch.randn_like(weight) for name, weight in model.named_parameters()}
    # no byte is likely, and the end of the sentence is
    table, direction = weights["source_embedder.tokens.weight"], torch.nn.functional.normalize(torch.randn(16), dim=0)
    weights["decoder_norm.bias"] = 2.0 * direction
    table[[piece.startswith("<0x") for piece in tokenizer.pieces(range(size))]] = -direction
    table[EOS] = 2.2 * direction
    task = {"name": "translation", "directions": [["en", "de"], ["de", "en"]], "tagged": True}
    save_model(folder, model.config, weights, task=task)
    tokenizer.save(folder)
    return folder

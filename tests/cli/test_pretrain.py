"""``regard pretrain`` and ``regard generate``."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from regard.cli import main as cli

WORDS = "the a red green blue old small cat dog house river sees finds likes and".split()

PRESET = """\
# regard pretrain toy.yaml
output: run
objective: causal
data:
  train: [{path: "${TOYS}/text.txt", language: en}]
  max_tokens: 32
tokenizer: {kind: bpe, vocab_size: 300}
model: {d_model: 16, d_ff: 32, num_heads: 2, decoder_layers: 1}
train:
  steps: 4
  tokens: 128
  precision: fp32
  device: cpu
  threads: 1
  schedule: {peak: 0.01, warmup: 3}
  validate_every: 0
  tensorboard: false
description: A toy, CC0.
"""


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trainer sets these for the whole process; and drawing takes longer than so short a run."""
    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run a command in a folder with a preset and its text; return status, output and errors."""
    generator = random.Random(1)
    lines = (" ".join(generator.choices(WORDS, k=generator.randint(2, 9))) + ".\n" for _ in range(200))
    (tmp_path / "text.txt").write_text("".join(lines))
    (tmp_path / "toy.yaml").write_text(PRESET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYS", str(tmp_path))
    monkeypatch.delenv("REGARD_DEBUG", raising=False)

    def command(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(list(arguments))
        return status, *capsys.readouterr()

    return command


def test_a_model_is_pretrained_and_writes(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, out, errors = run("pretrain", "toy.yaml", "train.steps=5", "output=mine")
    assert (status, out) == (0, "the model is in mine\n")
    assert "parameters" in errors
    card = (tmp_path / "mine" / "README.md").read_text(encoding="utf-8")
    assert "regard pretrain toy.yaml train.steps=5\n" in card
    assert "${TOYS}/text.txt" in card

    drawn = ["generate", "mine", "the old", "--count", "3", "--max-length", "5", "--seed", "4", "--top-k", "20"]
    status, out, _ = run(*drawn)
    assert status == 0
    assert len(out.splitlines()) == 3
    assert all(line.startswith("the old") for line in out.splitlines())
    assert run(*drawn)[1] == out
    assert run("generate", "mine", "the old", "--greedy", "--max-length", "5")[0] == 0
    assert len(run("generate", "mine", "--max-length", "5")[1].splitlines()) == 1

    status, _, errors = run("generate", "mine", "the old cat " * 20)
    assert status == 1
    assert "the prompt has" in errors
    assert run("generate", "mine", "--greedy", "--count", "2")[0] == 2
    assert run("generate", "mine", "--count", "0")[0] == 2
    status, _, errors = run("generate", "mine", "--top-p", "3")
    assert status == 1
    assert "top_p" in errors


def test_errors_are_one_line(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    status, _, errors = run("pretrain", "toy.yaml", "objective=casual")
    assert status == 1
    assert errors == "regard: error: objective: 'casual' is not an objective. Did you mean 'causal'?\n"
    (tmp_path / "text.txt").write_text("\n")
    status, _, errors = run("pretrain", "toy.yaml")
    assert status == 1
    assert errors.splitlines()[-1].endswith("text.txt holds no text: it has nothing but blank lines.")
    status, _, errors = run("generate", "nowhere")
    assert status == 1
    assert "nowhere is not a model folder" in errors

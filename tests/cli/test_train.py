import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from regard.cli import main as cli
from regard.train.checkpoint import CheckpointFolder

ENGLISH = "the a red green blue old small cat dog house river sees finds likes and".split()
GERMAN = "das ein rot grün blau alt klein Katze Hund Haus Fluss sieht findet mag und".split()

PRESET = """\
# regard train toy.yaml
output: run
data:
  train: [{path: "${TOYS}/train.tsv", source: en, target: de, both_directions: true}]
  dev: [{path: "${TOYS}/dev.tsv", source: en, target: de}]
tokenizer: {vocab_size: 300}
model: {d_model: 16, d_ff: 32, num_heads: 2, encoder_layers: 1, decoder_layers: 1}
train:
  steps: 4
  tokens: 128
  precision: fp32
  device: cpu
  threads: 1
  schedule: {peak: 0.01, warmup: 3}
  log_every: 2
  validate_every: 0
  checkpoint_every: 100
  tensorboard: false
description: A toy, CC0.
"""


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """The trainer sets these for the whole process."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a preset, its corpora, and the variable that says where they are."""
    generator = random.Random(1)
    for name, count in (("train", 300), ("dev", 20)):
        with open(tmp_path / f"{name}.tsv", "w", encoding="utf-8") as file:
            for _ in range(count):
                words = [generator.randrange(len(ENGLISH)) for _ in range(generator.randint(2, 9))]
                file.write(" ".join(ENGLISH[i] for i in words) + "\t" + " ".join(GERMAN[i] for i in words) + "\n")
    (tmp_path / "toy.yaml").write_text(PRESET)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOYS", str(tmp_path))
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    return tmp_path


@pytest.fixture
def train(toy: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run the command here, and return status, output and errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        status = cli.main(["train", *arguments])
        return status, *capsys.readouterr()

    return run


def regard_train(*arguments: str, **options: Any) -> "subprocess.Popen[str]":
    """Start the command in a process of its own."""
    command = [sys.executable, "-m", "regard", "train", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)


def wait_for(condition: Callable[[], object], process: "subprocess.Popen[str]", seconds: float = 120.0) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        if process.poll() is not None or time.monotonic() > limit:
            process.kill()
            pytest.fail(f"it did not happen: {process.communicate()}")
        time.sleep(0.005)


def assert_same_runs(first: Path, second: Path) -> None:
    """The newest checkpoints are equal bit for bit, but for the time it took, and so are the models."""
    paths = [CheckpointFolder(folder / "training").path(CheckpointFolder(folder / "training").steps()[-1])
             for folder in (first, second)]  # fmt: skip
    for name in ("weights.safetensors", "state.safetensors"):
        ours, theirs = (load_file(path / name) for path in paths)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    states = [json.loads((path / "state.json").read_text()) for path in paths]
    for state in states:
        del state["seconds"]
        for record in [*state["history"], *state["window"]]:
            for name in ("minutes", "tokens_per_second", "seconds"):
                record.pop(name, None)
    assert states[0] == states[1]
    assert (first / "model.safetensors").read_bytes() == (second / "model.safetensors").read_bytes()


# ---- the command line


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["train", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "usage: regard train" in text
    assert "run again, it goes on where it stopped" in text
    assert "train.steps=2000" in text


def test_a_run_from_beginning_to_end_and_further(train: Callable[..., tuple[int, str, str]], toy: Path) -> None:
    status, out, err = train("toy.yaml", "train.steps=2", "description=For “cats”.")
    assert (status, out) == (0, "the model is in run\n")
    assert "cleaning:" in err
    assert "finished: all 2 steps are taken" in err
    card = (toy / "run" / "README.md").read_text(encoding="utf-8")
    assert "For “cats”." in card
    assert "regard train toy.yaml train.steps=2 'description=For “cats”.'" in card
    assert "path: ${TOYS}/train.tsv" in card
    assert "  steps: 2\n" in card
    assert str(toy) not in card
    status, _, err = train("toy.yaml", "train.steps=3")
    assert status == 0
    assert "resuming after step 2" in err
    status, _, err = train("toy.yaml", "train.steps=3")
    assert status == 0
    assert "nothing is left to train: all 3 steps are taken (train.steps)" in err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.yaml"], "cannot read nowhere.yaml: No such file or directory."),
        (["toy.yaml", "train.stepz=3"], "unknown setting 'train.stepz'. Did you mean 'steps'?"),
        (["toy.yaml", "train.steps"], "'train.steps' is not an override; write section.name=value."),
        (["toy.yaml", "train.steps=many"], "train.steps: expected int, got 'many'."),
        (["toy.yaml", "train.steps=[1"], "the value of 'train.steps' is not valid YAML"),
        (["toy.yaml", "data.train.1.weight=2"], "'1' names an item of a list, which has numbers 0 to 0."),
        (["toy.yaml", "data.train.first.weight=2"], "'first' names an item of a list"),
        (["toy.yaml", "data.train.0.path=${NOWHERE}/x.tsv"], "uses ${NOWHERE}, but the environment variable"),
        (["toy.yaml", "train.wandb=mine"], "pip install 'regard[wandb]'"),
        (["toy.yaml", "output=toy.yaml/run"], "cannot write toy.yaml/run: Not a directory."),
    ],
)
def test_mistakes_are_explained(
    train: Callable[..., tuple[int, str, str]], toy: Path, arguments: list[str], message: str
) -> None:
    status, out, err = train(*arguments)
    assert (status, out) == (1, "")
    assert err.startswith("regard: error: ")
    assert message in err
    assert not (toy / "run").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"output: run\ndescription: caf\xe9\n", "bad.yaml, line 2: this is not UTF-8 text."),
        (b"output: run\ntrain: {steps: 1}\noutput: other\n", "bad.yaml, line 3: 'output' was already given in line 1."),
        (b"output: run\ntrain: {steps: 1, steps: 2}\n", "bad.yaml, line 2: 'steps' was already given in line 2."),
        (b"data:\n  train: [{path: a, path: b}]\n", "'path' was already given in line 2."),
        (b"a: &a [*a]\n", "bad.yaml, line 1: this value is an alias for a part of itself."),
        (b"a: " + b"[" * 1000, "bad.yaml is not valid YAML: it is nested too deeply."),
        (b"output: [\n", "bad.yaml is not valid YAML"),
        (b"", "expected a mapping"),
    ],
)
def test_a_preset_that_is_not_one(
    train: Callable[..., tuple[int, str, str]], toy: Path, content: bytes, message: str
) -> None:
    (toy / "bad.yaml").write_bytes(content)
    status, _, err = train("bad.yaml")
    assert status == 1
    assert message in err


def test_a_preset_may_merge_and_begin_with_a_byte_order_mark(
    train: Callable[..., tuple[int, str, str]], toy: Path
) -> None:
    text = PRESET.replace("tokenizer: {", "tokenizer: &t {").replace("model: {", "model: {<<: {dropout: 0.2}, ")
    (toy / "toy.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert train("toy.yaml", "train.steps=1", "model.d_ff=24")[0] == 0
    model = json.loads((toy / "run" / "config.json").read_text())["model"]
    assert (model["dropout"], model["d_ff"]) == (0.2, 24)


def test_list_items_and_absent_sections_can_be_overridden(
    train: Callable[..., tuple[int, str, str]], toy: Path
) -> None:
    (toy / "toy.yaml").write_text(PRESET + "validation:\n")
    changes = ["data.train.0.weight=0.5", "data.join.share=0.1", "--train.steps=1", "validation.metrics=[loss]"]
    assert train("toy.yaml", "--", *changes)[0] == 0
    recorded = json.loads((toy / "run" / "data" / "settings.json").read_text())
    assert recorded["data"]["train"][0]["weight"] == 0.5
    assert recorded["data"]["join"]["share"] == 0.1


def test_a_corpus_with_a_mistake_can_be_mended(train: Callable[..., tuple[int, str, str]], toy: Path) -> None:
    good = (toy / "train.tsv").read_bytes()
    (toy / "train.tsv").write_bytes(good + b"caf\xe9\tx\n")
    status, _, err = train("toy.yaml")
    assert status == 1
    assert "train.tsv, line 301: byte 0xe9 at position 4 is not UTF-8" in err
    assert not (toy / "run").exists()
    (toy / "train.tsv").write_bytes(good)
    assert train("toy.yaml", "train.steps=1", "data.train.0.weight=2")[0] == 0


def test_a_full_disk_ends_with_an_error_and_the_run_goes_on_later(
    train: Callable[..., tuple[int, str, str]], toy: Path
) -> None:
    assert train("toy.yaml", "train.steps=2")[0] == 0
    before = (toy / "run" / "model.safetensors").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
        status, _, err = train("toy.yaml", "train.steps=4")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    assert "regard: error: cannot write" in err
    assert "Free some space" in err
    assert (toy / "run" / "model.safetensors").read_bytes() == before
    assert CheckpointFolder(toy / "run" / "training").steps() == [2]
    assert not list((toy / "run").rglob(".tmp-*"))
    status, _, err = train("toy.yaml", "train.steps=4")
    assert status == 0
    assert "resuming after step 2" in err


# ---- in processes of their own


@pytest.mark.slow
def test_kill_9_and_again_is_as_if_nothing_had_been(toy: Path, train: Callable[..., tuple[int, str, str]]) -> None:
    changes = ["data.subword_alpha=0.2", "train.ema=0.9", "train.final=average_last", "train.keep_last=2"]
    changes += ["train.steps=60", "train.checkpoint_every=12", "train.accumulate=2", "train.validate_every=20"]
    killed = regard_train("toy.yaml", *changes)
    wait_for((toy / "run" / "training" / "step-00000024").exists, killed)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert not (toy / "run" / "config.json").exists()
    (toy / "run" / "training" / ".tmp-left").mkdir(exist_ok=True)
    again = regard_train("toy.yaml", *changes)
    _, err = again.communicate(timeout=120)
    assert again.returncode == 0, err
    assert "resuming after step" in err
    assert not (toy / "run" / "training" / ".tmp-left").exists()
    assert train("toy.yaml", *changes, "output=whole")[0] == 0
    assert_same_runs(toy / "run", toy / "whole")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_training_a_folder_and_a_signal_ends_it_with_a_checkpoint_and_status_130(
    toy: Path, train: Callable[..., tuple[int, str, str]], number: signal.Signals
) -> None:
    process = regard_train("toy.yaml", "train.steps=1000000", "train.checkpoint_every=10")
    wait_for((toy / "run" / "training" / "step-00000010").exists, process)
    status, _, err = train("toy.yaml")
    assert status == 1
    assert "another process is training in run" in err
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    steps = CheckpointFolder(toy / "run" / "training").steps()
    assert f"stopped after step {steps[-1]:,}; run the same command again to go on" in err


@pytest.mark.slow
def test_under_torchrun_two_processes_make_the_same_model(
    toy: Path, train: Callable[..., tuple[int, str, str]]
) -> None:
    """Data are prepared once, validation and the end are agreed on, and one process speaks."""
    # eps: where a gradient is 0 in exact arithmetic, Adam would blow up its rounding error
    changes = ["model.dropout=0", "train.eps=1.0e-4", "train.validate_every=4", "train.steps=50"]
    changes += ["train.stopping={patience: 1, min_delta: 0.3}"]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "regard"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    two = subprocess.run(
        [*command, "train", "toy.yaml", *changes, "output=two"],
        capture_output=True,
        text=True,
        timeout=120,
        env=environment,
        check=False,
    )
    assert two.returncode == 0, two.stderr[-4000:]
    assert two.stdout.count("the model is in two") == 1
    assert two.stderr.count("training the tokenizer") == 1
    assert "loss has not improved in 1 validations" in two.stderr
    assert train("toy.yaml", *changes, "train.accumulate=2", "output=one")[0] == 0
    folders = [CheckpointFolder(toy / name / "training") for name in ("one", "two")]
    assert folders[0].steps() == folders[1].steps()
    assert folders[0].steps()[-1] < 50
    one, both = (folder.load() for folder in folders)
    assert one is not None
    assert both is not None
    for name, weight in one.weights.items():
        torch.testing.assert_close(both.weights[name], weight, rtol=0, atol=1e-6)
    for ours, theirs in zip(one.state["history"], both.state["history"], strict=True):
        for name in ("loss", "valid_loss"):
            assert ours.get(name) == pytest.approx(theirs.get(name), abs=1e-6)

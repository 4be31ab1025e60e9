import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
import yaml

from regard.cli import main as cli

WORDS = {"kettle": "Kessel", "gate": "Tor", "pond": "Teich", "goose": "Gans", "garden": "Garten", "bread": "Brot"}
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trainer sets these for the whole process; the curve takes most of so short a run."""
    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


SETTINGS = {
    "output": "teacher",
    "data": {"train": [{"path": "pairs.tsv", "source": "en", "target": "de"}]},
    "tokenizer": {"vocab_size": 290},
    "model": {"d_model": 16, "d_ff": 32, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
    "train": {
        "steps": 4,
        "tokens": 128,
        "device": "cpu",
        "threads": 1,
        "schedule": {"peak": 0.01, "warmup": 3},
        "validate_every": 0,
        "tensorboard": False,
    },
}


BOTH_WAYS = ["data.train.0.both_directions=true"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a preset, its corpus, and the models that come of it in one direction and in two."""
    folder = tmp_path_factory.mktemp("trained")
    pairs = [(f"the {a} and the {b}.", f"{WORDS[a]} und {WORDS[b]}.") for a in WORDS for b in WORDS]
    (folder / "pairs.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs))
    (folder / "preset.yaml").write_text(yaml.safe_dump(SETTINGS))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
        assert cli.main(["train", "preset.yaml"]) == 0
        learned = ["train.steps=300", "train.schedule.peak=0.02", "train.tokens=256"]  # enough to end its sentences
        assert cli.main(["train", "preset.yaml", *BOTH_WAYS, "output=two-way", *learned]) == 0
    return folder


@pytest.fixture
def regard(trained: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The command line, in a copy of that folder."""
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


STUDENT = ["distill", "preset.yaml", "--teacher", "teacher"]


def test_at_the_word_level(regard: Run) -> None:
    """The teacher's own preset serves the student; its vocabulary is the teacher's."""
    status, out, _ = regard(*STUDENT, "--temperature", "2", "output=student", "model.d_model=8")
    assert (status, out) == (0, "the model is in student\n")
    assert Path("student/tokenizer.model").read_bytes() == Path("teacher/tokenizer.model").read_bytes()
    card = Path("student/README.md").read_text()
    assert "regard distill preset.yaml --teacher teacher --temperature 2 model.d_model=8" in card
    assert "temperature: 2.0" in card
    assert "output" not in card


@pytest.mark.parametrize("level", ["sequence", "both"])
def test_at_the_sequence_level(regard: Run, level: str) -> None:
    """The student's corpora are the teacher's translations, made once."""
    command = ["distill", "preset.yaml", "--teacher", "two-way", "--level", level, "--beam", "1", "output=student"]
    status, _, err = regard(*command, *BOTH_WAYS)
    assert status == 0, err
    for name in ("0.en-de.tsv", "0.de-en.tsv"):
        assert Path("student/translations", name).read_text().count("\n") > 5
    assert "translating pairs.tsv, de to en" in err
    assert ("distill" in Path("student/README.md").read_text().split("```yaml")[1]) == (level == "both")
    status, _, err = regard(*command, *BOTH_WAYS)
    assert status == 0
    assert "translating" not in err
    command[command.index("--beam") + 1] = "2"
    status, _, err = regard(*command, *BOTH_WAYS)
    assert status == 1
    assert "holds translations that another teacher made, or another search" in err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["distill", "preset.yaml"], "name a teacher"),
        ([*STUDENT, "--beam", "3"], "--beam has no effect"),
        ([*STUDENT, "--level", "sequence", "--share", "0.3"], "have no effect with --level sequence"),
        ([*STUDENT, "--share", "2"], "share is 2.0"),
        ([*STUDENT, "tokenizer.vocab_size=200"], "tokenizer settings have no effect"),
        ([*STUDENT, "--level", "both", "--beam", "0"], "beam is 0"),
        (STUDENT, "is a teacher's folder"),
        ([*STUDENT, "--level", "sequence"], "is a teacher's folder"),
        (["distill", "preset.yaml", "--teacher", "nowhere", "output=student"], "nowhere"),
        ([*STUDENT, "data.train.0.target=fr", "output=student"], "does not translate en→fr"),
    ],
)
def test_bad_input(regard: Run, command: list[str], message: str) -> None:
    status, _, err = regard(*command)
    assert status in (1, 2)
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("student").exists()

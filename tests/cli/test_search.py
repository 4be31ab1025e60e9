from pathlib import Path

import pytest
import torch
import yaml

from regard.cli import main as cli

pytest.importorskip("optuna", reason="Optuna is not installed (regard[search])")

PAIRS = [
    (f"{a} {b} {c}", f"{c} {b} {a}")
    for a in "one two three".split()
    for b in "red blue".split()
    for c in "cat dog".split()
]


@pytest.fixture
def preset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
    for name, pairs in (("train", PAIRS[:9]), ("dev", PAIRS[9:])):
        Path(f"{name}.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in pairs), encoding="utf-8")
    corpus = {"source": "en", "target": "de"}
    values = {
        "output": "runs",
        "data": {"train": [{"path": "train.tsv", **corpus}], "dev": [{"path": "dev.tsv", **corpus}]},
        "tokenizer": {"vocab_size": 275},
        "model": {"d_model": 8, "d_ff": 16, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 1},
        "train": {"steps": 2, "validate_every": 1, "device": "cpu", "threads": 1, "tensorboard": False},
        "search": {"trials": 5, "ranges": {"model.dropout": {"low": 0.0, "high": 0.3}}},
    }
    Path("preset.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    return Path("preset.yaml")


@pytest.fixture(autouse=True)
def _threads() -> object:
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


def test_ranges_of_the_preset_and_of_the_command(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = "search preset.yaml train.log_every=1 --trials 2 --range train.schedule.peak=1e-3..1e-1:log"
    assert cli.main(arguments.split()) == 0
    out, err = capsys.readouterr()
    assert out == "the search is in runs\n"
    header = Path("runs/search.tsv").read_text().splitlines()[0]
    assert header.split("\t") == ["run", "loss", "state", "model.dropout", "train.schedule.peak"]
    assert Path("runs/search.png").stat().st_size > 1000
    assert "the best run is" in err
    assert cli.main(["train", "runs/best.yaml"]) == 0  # what was found can be trained as it stands


def test_a_preset_with_a_search_trains_as_well(preset: Path) -> None:
    assert cli.main(["train", "preset.yaml", "output=mine"]) == 0
    assert Path("mine/config.json").exists()


def test_a_range_that_is_none(preset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", "preset.yaml", "--range", "model.dropout"]) == 1
    assert "is no range" in capsys.readouterr().err

from collections.abc import Callable
from pathlib import Path

import pytest

from regard.cli import main as cli

PAIRS = [
    ("The kettle sings.", "Der Kessel singt."),
    ("Seven geese walked.", "水壶在响。"),
    ("", "Nichts."),
    ("Who left the gate open?", "Wer hat das Tor offen gelassen?"),
]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    Path("pairs.tsv").write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS))

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


def line(model: Path, *more: str) -> list[str]:
    usual = f"filter --model {model} --data pairs.tsv --source en --target de --device cpu"
    return [*usual.split(), *more]


@pytest.mark.parametrize("by", ["model", "dual", "roundtrip"])
def test_the_best_pairs_are_kept(regard: Run, tiny_model: Path, by: str) -> None:
    status, out, err = regard(*line(tiny_model, "--by", by, "--keep", "1"))
    assert status == 0
    rows = [row.split("\t") for row in out.splitlines()]
    assert [tuple(row[:2]) for row in rows] == [pair for pair in PAIRS if pair[0]]
    assert "dropped: no score" in err
    assert "median" in err
    best = max(rows, key=lambda row: float(row[2]))
    status, out, _ = regard(*line(tiny_model, "--by", by, "--keep", "0.25"))
    assert out.split("\t")[:2] == best[:2]
    status, _, err = regard(*line(tiny_model, "--by", by, "--threshold", best[2], "--output", "kept.tsv"))
    assert status == 0
    assert set(Path("kept.tsv").read_text().splitlines()) <= {"\t".join(row) for row in rows}


def test_a_model_for_the_way_back(regard: Run, tiny_model: Path, other_model: Path) -> None:
    scores = [
        [row.split("\t")[2] for row in regard(*line(tiny_model, "--by", "dual", "--keep", "1", *more))[1].splitlines()]
        for more in ([], ["--reverse-model", str(tiny_model)], ["--reverse-model", str(other_model)])
    ]
    assert scores[0] == scores[1] != scores[2]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "fr"], "does not translate en→fr"),
        (["--keep", "0.5", "--threshold", "0"], "give one of them"),
        (["--keep", "0"], "keep is 0"),
        (["--reverse-model", "x"], "no effect with --by model"),
        (["--beam", "3"], "nothing is searched for with --by model"),
        (["--engine", "native"], "which the PyTorch engine does"),
        (["--data", "nowhere.tsv"], "cannot read nowhere.tsv"),
        (["--data", "empty.tsv"], "holds no pair"),
    ],
)
def test_bad_input(regard: Run, tiny_model: Path, more: list[str], message: str) -> None:
    Path("empty.tsv").write_text("")
    status, _, err = regard(*line(tiny_model, "--output", "kept.tsv", *more))
    assert status in (1, 2)
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("kept.tsv").exists()

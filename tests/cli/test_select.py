from collections.abc import Callable
from pathlib import Path

import pytest

from regard.cli import main as cli

TEXT = ["The kettle sings.", "Who left the garden gate open?", "", "The zebra left.", "The kettle sings."]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    Path("new.en").write_text("\n".join(TEXT) + "\n")
    Path("known.tsv").write_text("The kettle sings and nobody listens.\tDer Kessel singt, das Zebra auch.\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


def line(model: Path, *more: str) -> list[str]:
    usual = f"select --model {model} --text new.en --source en --target de --count 2 --device cpu"
    return [*usual.split(), *more]


def test_sentences_with_drafts_and_reasons(regard: Run, tiny_model: Path) -> None:
    status, out, _ = regard(*line(tiny_model, "--known", "known.tsv"))
    assert status == 0
    rows = [row.split("\t") for row in out.splitlines()]
    assert len(rows) == 2
    assert {row[0] for row in rows} < set(TEXT)
    assert all(row[1] and float(row[2]) > 0 and row[3] for row in rows)
    assert regard(*line(tiny_model, "--known", "known.tsv", "--output", "chosen.tsv"))[0] == 0
    assert Path("chosen.tsv").read_text() == out


def test_each_reason_can_stand_alone(regard: Run, tiny_model: Path) -> None:
    new = regard(*line(tiny_model, "--known", "known.tsv", "--uncertainty", "0", "--diversity", "0"))[1]
    assert new.splitlines()[0].startswith("Who left the garden gate open?\t")
    assert new.splitlines()[1].split("\t")[3] == "new (83%: zebra, left)"
    for doubt in ("log_prob", "entropy"):
        out = regard(*line(tiny_model, "--diversity", "0", "--doubt", doubt))[1]
        assert out.splitlines()[0].split("\t")[3].startswith("uncertain (")
    unlike = regard(*line(tiny_model, "--uncertainty", "0"))[1]
    assert unlike.splitlines()[1].split("\t")[3].startswith("unlike those before it (")


def test_fewer_than_were_asked_for(regard: Run, tiny_model: Path) -> None:
    status, out, err = regard(*line(tiny_model, "--count", "9"))
    assert status == 0
    assert len(out.splitlines()) == 3
    assert "there were 3 different sentences" in err


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "fr"], "does not translate en→fr"),
        (["--count", "0"], "count is 0"),
        (["--novelty", "1"], "needs text that the model knows"),
        (["--known", "known.tsv", "--novelty", "0"], "--known has no effect"),
        (["--uncertainty", "0", "--diversity", "0"], "nor all be 0"),
        (["--uncertainty", "0", "--doubt", "entropy"], "--doubt has no effect"),
        (["--text", "nowhere"], "cannot read nowhere"),
        (["--text", "empty"], "no sentence to choose from"),
    ],
)
def test_bad_input(regard: Run, tiny_model: Path, more: list[str], message: str) -> None:
    Path("empty").write_text("\n\n")
    status, _, err = regard(*line(tiny_model, "--output", "chosen.tsv", *more))
    assert status in (1, 2)
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("chosen.tsv").exists()

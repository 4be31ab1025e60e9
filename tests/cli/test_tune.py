import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from regard.cli import main as cli

PAIRS = [
    ("the kettle sings and nobody listens.", "der Kessel singt und niemand hört zu."),
    ("the garden gate is open.", "das Gartentor ist offen."),
    ("seven geese walk across the pond.", "sieben Gänse laufen über den Teich."),
    ("who left the kettle open?", "wer hat den Kessel offen gelassen?"),
]


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The trainer sets these for the whole process; the curve takes most of so short a run."""
    monkeypatch.setattr("regard.train.finish.draw_curve", lambda history, path: path.write_text("curve"))
    monkeypatch.setattr("os.fsync", lambda descriptor: None)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.set_flush_denormal(False)


@pytest.fixture
def corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    path = tmp_path / "domain.tsv"
    path.write_text("".join(f"{s}\t{t}\n" for s, t in PAIRS), encoding="utf-8")
    return path


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


def arguments(corpus: Path, model: Path, output: str = "law", *more: str) -> list[str]:
    """``regard tune`` on the little corpus."""
    line = f"tune --base {model} --data {corpus} --source en --target de --output {output} --device cpu --threads 1"
    return [*line.split(), "--steps", "8", *more]


def test_from_pairs_to_translations(
    corpus: Path, tiny_model: Path, regard: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = regard(*arguments(corpus, tiny_model, "law", "--rate", "0.2", "tune.rank=2", "tune.alpha=4"))
    assert (status, out) == (0, "the adapter is in law\n")
    assert "are trained" in err
    assert json.loads(Path("law/regard.json").read_text())["rank"] == 2
    card = Path("law/README.md").read_text()
    assert "regard tune --base tiny --data domain.tsv" in card  # nothing of where they lie
    assert "--rate 0.2 tune.rank=2" in card
    assert str(corpus.parent) not in card
    search = ["--source", "en", "--target", "de", "--device", "cpu", "--precision", "fp32", "--format", "json"]
    Path("text").write_text("The kettle sings.\nSeven geese.\n")
    command = ["translate", "--model", str(tiny_model), "--input", "text", *search]

    def scores(*more: str) -> list[float]:
        status, out, err = regard(*command, *more)
        assert status == 0, err
        return [json.loads(line)["score"] for line in out.splitlines()]

    plain, tuned = scores(), scores("--adapter", "law")
    assert plain != tuned
    assert scores("--adapter", "law=0") == plain
    assert scores("--adapter", "law=0.4", "--adapter", "law=0.6") == pytest.approx(tuned, abs=2e-3)
    Path("law").rename("a=1")
    assert scores("--adapter", "a=1") == tuned


def test_it_goes_on(corpus: Path, tiny_model: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    assert regard(*arguments(corpus, tiny_model))[0] == 0
    assert "nothing is left to train" in regard(*arguments(corpus, tiny_model))[2]


def test_with_development_pairs(corpus: Path, tiny_model: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    Path("dev.tsv").write_text("the pond is open.\tder Teich ist offen.\n", encoding="utf-8")
    status, _, err = regard(*arguments(corpus, tiny_model, "law", "--dev", "dev.tsv", "--method", "bias"))
    assert status == 0, err
    assert "validation: loss" in err
    assert "mean of the best validations" in Path("law/README.md").read_text()


def test_all_weights(corpus: Path, tiny_model: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    status, out, _ = regard(*arguments(corpus, tiny_model, "model", "--method", "full"))
    assert (status, out) == (0, "the model is in model\n")
    assert str(corpus.parent) not in Path("model/README.md").read_text()
    assert Path("model/config.json").exists()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--target", "fr"], "knows no target language fr"),
        (["tune.targets=[qeury]"], "targets: 'qeury' fits no name in this model. Did you mean 'query'"),
        (["tune.rank=99"], "rank 99 is above the width of"),
        (["--base", "nowhere"], "nowhere is not a model folder"),
        (["--data", "missing.tsv"], "cannot read missing.tsv"),
        (["--data", "empty.tsv"], "holds no pair of sentences"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    corpus: Path,
    tiny_model: Path,
    regard: Callable[..., tuple[int, str, str]],
    more: list[str],
    message: str,
) -> None:
    Path("empty.tsv").write_text("")
    given = arguments(corpus, tiny_model, "law", *more)
    if "--base" in more:
        del given[1:3]
    status, _, err = regard(*given)
    assert status == 1
    assert message in err.splitlines()[-1]
    assert not Path("law/training").exists()


def test_an_adapter_of_another_model(
    corpus: Path, tiny_model: Path, other_model: Path, regard: Callable[..., tuple[int, str, str]]
) -> None:
    regard(*arguments(corpus, tiny_model))
    Path("text").write_text("The kettle sings.\n")
    languages = ["--source", "en", "--target", "de", "--input", "text"]
    status, _, err = regard("translate", "--model", str(other_model), "--adapter", "law", *languages)
    assert (status, "law was made for another model, tiny" in err) == (1, True)
    status, _, err = regard("translate", "--model", str(tiny_model), "--adapter", "low=0.5", *languages)
    assert (status, "low is not an adapter" in err) == (1, True)
    both = ["--model", str(tiny_model), "--model", str(other_model), "--adapter", "law"]
    status, _, err = regard("translate", *both, *languages)
    assert (status, "an ensemble cannot have them" in err) == (1, True)


def test_the_general_domain_is_rehearsed(corpus: Path) -> None:
    """A share of it each epoch, beside all of the domain."""
    from regard.cli.arguments import parse
    from regard.cli.tune import Options, settings

    line = "--data domain.tsv --source en --target de --output law --replay general.tsv --replay-share 0.2 --base x"
    train = settings(parse(Options, line.split(), prog="regard tune"))["data"]["train"]
    assert [(part["path"], part.get("weight")) for part in train] == [("domain.tsv", None), ("general.tsv", 0.2)]


def test_a_share_of_nothing(corpus: Path, regard: Callable[..., tuple[int, str, str]]) -> None:
    line = "tune --data domain.tsv --source en --target de --output law --replay-share 0.2"
    status, _, err = regard(*line.split())
    assert (status, "no effect without --replay" in " ".join(err.split())) == (2, True)

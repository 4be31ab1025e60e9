from collections.abc import Callable
from pathlib import Path

import pytest

from regard.cli import main as cli

TEXT = ["The kettle sings.", "", "Who left the garden gate open?", "Seven geese walked across the pond."]
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def regard(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REGARD_DEBUG", raising=False)
    Path("mono.en").write_text("\n".join(TEXT) + "\n")

    def run(*arguments: str) -> tuple[int, str, str]:
        capsys.readouterr()
        return (cli.main(list(arguments)), *capsys.readouterr())

    return run


def line(model: Path, *more: str) -> list[str]:
    usual = f"backtranslate --model {model} --text mono.en --source de --target en --output made.tsv --max-ratio 0"
    return [*usual.split(), *more]


def test_from_text_to_a_corpus(regard: Run, tiny_model: Path) -> None:
    status, out, err = regard(*line(tiny_model, "--sample", "--seed", "2"))
    assert (status, out) == (0, "the corpus is in made.tsv\n")
    assert "dropped: empty" in err
    rows = [row.split("\t") for row in Path("made.tsv").read_text().splitlines()]
    assert [row[1] for row in rows] == [text for text in TEXT if text]
    status, _, err = regard(*line(tiny_model))
    assert status == 1
    assert "made.tsv is there already" in err


def test_forward(regard: Run, tiny_model: Path) -> None:
    forward = line(tiny_model, "--forward")
    forward[forward.index("de")], forward[forward.index("en", 8)] = "en", "zh"
    assert regard(*forward)[0] == 0
    assert Path("made.tsv").read_text().splitlines()[0].startswith("The kettle sings.\t")


def test_an_interrupted_run_goes_on_with_its_own_model_only(
    regard: Run, tiny_model: Path, other_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regard.tasks.translation import Translator

    monkeypatch.setattr("regard.tasks.synthesis.CHUNK", 2)
    translate, calls = Translator.translate, []

    def interrupted(self: Translator, texts: list[str], *args: str, **options: object) -> object:
        calls.append(texts)
        if len(calls) == 3:  # the first call asks for the direction alone
            raise KeyboardInterrupt
        return translate(self, texts, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Translator, "translate", interrupted)
        assert regard(*line(tiny_model))[0] == 130
    assert Path("made.tsv.partial").read_text().count("\n") == 1
    status, _, err = regard(*line(other_model))
    assert status == 1
    assert "begun with other settings: model was" in err
    assert regard(*line(tiny_model))[0] == 0
    assert [row.split("\t")[1] for row in Path("made.tsv").read_text().splitlines()] == [t for t in TEXT if t]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--source", "fr"], "does not translate en→fr"),
        (["--text", "nowhere"], "cannot read nowhere"),
        (["--text", "-"], "cannot be standard input"),
        (["--text", "empty"], "empty is empty"),
        (["--text", "latin"], "latin, line 2: byte 0xfc"),
        (["--output", "made.tmx"], "let its name end in .tsv"),
        (["--max-words", "0"], "max_words is 0"),
        (["--max-ratio", "0.5"], "max_ratio is 0.5"),
        (["--temperature", "2"], "no effect without --sample"),
    ],
)
def test_bad_input(regard: Run, tiny_model: Path, more: list[str], message: str) -> None:
    Path("empty").write_text("")
    Path("latin").write_bytes("Eins.\nFünf.\n".encode("latin-1"))
    status, _, err = regard(*line(tiny_model, *more))
    assert status in (1, 2)
    assert message in " ".join(err.replace("│", " ").split())
    assert not Path("made.tsv").exists()

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from regard.base.errors import ConfigError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.decode.native_engine import NativeEngine, why_not


@dataclass(frozen=True)
class Options:
    """Try."""

    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)


def read(line: str) -> Options:
    return parse(Options, line.split(), prog="regard try")


def test_what_is_not_given_is_left_to_the_model() -> None:
    assert read("").search.options() == {}
    assert read("") == Options()


def test_options_have_the_names_of_the_search() -> None:
    line = "--beam 3 --length-penalty 0.5 --coverage-penalty 0.1 --no-repeat-ngram 3 --min-length 2 --max-length 9"
    assert read(f"{line} --prefix Der --ban Katze Hund").search.options() == {
        "beam": 3,
        "length_penalty": 0.5,
        "coverage_penalty": 0.1,
        "no_repeat_ngram": 3,
        "min_length": 2,
        "max_length": 9,
        "prefix": "Der",
        "banned": ("Katze", "Hund"),
    }
    line = "--sample --temperature 0.7 --top-k 5 --top-p 0.9 --seed 3"
    assert read(line).search.options() == {"sample": True, "temperature": 0.7, "top_k": 5, "top_p": 0.9, "seed": 3}


def test_every_option_of_the_search_can_be_given() -> None:
    from dataclasses import fields

    from regard.decode import Options as Search

    theirs = {f.name for f in fields(Search)} - {"alignment", "num_hypotheses"}  # the verb's own
    ours = {f.name for f in fields(SearchOptions)} - {"ban", "require", "prefix"} | {"banned", "required"}
    assert ours == theirs


def test_models_add_up() -> None:
    assert read("--model a --model b/c").model.model == (Path("a"), Path("b/c"))


@pytest.mark.parametrize("line", ["--seed 3", "--top-k 2", "--temperature 0.5", "--top-p 0.5"])
def test_settings_of_sampling_need_it(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read(line)
    assert "has no effect without --sample" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_contradictions_are_refused() -> None:
    with pytest.raises(ConfigError, match="leave --beam out"):
        SearchOptions(sample=True, beam=4)
    with pytest.raises(ConfigError, match="at least 1"):
        ModelOptions(threads=0)


def test_threads_are_those_asked_for(tiny_model: Path) -> None:
    import torch

    if why_not() is None:
        engine = ModelOptions((tiny_model,), threads=1, engine="native").load().engine
        assert isinstance(engine, NativeEngine)
        assert engine.threads == 1
    before = torch.get_num_threads()
    try:
        ModelOptions((tiny_model,), threads=1, engine="torch").load()
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)

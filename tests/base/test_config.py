from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.config import expand_environment, from_dict, override, read_json, read_yaml, to_dict
from regard.base.errors import ConfigError


@dataclass(frozen=True)
class Optimizer:
    learning_rate: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.98)
    schedule: Literal["constant", "cosine"] = "constant"

    def __post_init__(self) -> None:
        if self.learning_rate <= 0:
            raise ConfigError("learning_rate must be above 0.")


@dataclass(frozen=True)
class Config:
    name: str
    layers: int = 6
    tied: bool = True
    folder: Path | None = None
    files: list[str] = field(default_factory=list)
    sizes: tuple[int, ...] = ()
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | str = 3
    anything: Any = None
    optimizer: Optimizer = Optimizer()
    stages: list[Optimizer] = field(default_factory=list)


def test_defaults_fill_what_is_left_out() -> None:
    assert from_dict(Config, {"name": "a"}) == Config(name="a")


def test_values_are_converted_all_the_way_down() -> None:
    values = {
        "name": "a",
        "layers": 4.0,
        "folder": "runs/a",
        "files": ["x", "y"],
        "sizes": [1, 2, 3],
        "weights": {"de": 1},
        "limit": "none",
        "anything": {"x": [1]},
        "optimizer": {"learning_rate": "1e-4", "betas": [0, 1], "schedule": "cosine"},
        "stages": [{"learning_rate": 2}, {}],
    }
    config = from_dict(Config, values)
    assert config == Config(
        name="a",
        layers=4,
        folder=Path("runs/a"),
        files=["x", "y"],
        sizes=(1, 2, 3),
        weights={"de": 1.0},
        limit="none",
        anything={"x": [1]},
        optimizer=Optimizer(1e-4, (0.0, 1.0), "cosine"),
        stages=[Optimizer(2.0), Optimizer()],
    )
    assert isinstance(config.layers, int)
    assert isinstance(config.weights["de"], float)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "missing setting 'name'"),
        ({"name": "a", "layer": 3}, r"unknown setting 'layer'\. Did you mean 'layers'\?"),
        ({"name": "a", "optimizer": {"learning_rat": 1}}, r"unknown setting 'optimizer.learning_rat'.*learning_rate"),
        ({"name": 3}, "name: expected str, got 3"),
        ({"name": "a", "layers": 2.5}, "layers: expected int, got 2.5"),
        ({"name": "a", "layers": True}, "layers: expected int, got True"),
        ({"name": "a", "tied": 1}, "tied: expected bool, got 1"),
        ({"name": "a", "tied": "yes"}, "tied: expected bool, got 'yes'"),
        ({"name": "a", "folder": 3}, "folder: expected Path, got 3"),
        ({"name": "a", "files": "x"}, "files: expected a list, got 'x'"),
        ({"name": "a", "files": ["x", 1]}, r"files\[1\]: expected str, got 1"),
        ({"name": "a", "weights": [1]}, "weights: expected a mapping"),
        ({"name": "a", "weights": {"de": "much"}}, r"weights\.de: expected float, got 'much'"),
        ({"name": "a", "optimizer": 3}, "optimizer: expected a section of settings, got 3"),
        ({"name": "a", "optimizer": {"betas": [0.9]}}, r"optimizer\.betas: expected 2 values, got 1"),
        ({"name": "a", "optimizer": {"schedule": "cosin"}}, r"optimizer\.schedule: 'cosin'.*Did you mean 'cosine'"),
        ({"name": "a", "optimizer": {"learning_rate": 0}}, r"optimizer: learning_rate must be above 0"),
        ({"name": "a", "stages": [{}, {"learning_rate": -1}]}, r"stages\[1\]: learning_rate must be above 0"),
    ],
)
def test_what_is_wrong_is_named(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Config, values)


def test_a_list_is_not_a_section() -> None:
    with pytest.raises(ConfigError, match="Config: expected a section"):
        from_dict(Config, [1])  # type: ignore[arg-type]


configs = st.builds(
    Config,
    name=st.text(),
    layers=st.integers(),
    tied=st.booleans(),
    folder=st.none() | st.from_regex(r"[a-z]+(/[a-z]+)*", fullmatch=True).map(Path),
    files=st.lists(st.text()),
    sizes=st.lists(st.integers()).map(tuple),
    weights=st.dictionaries(st.text(), st.floats(allow_nan=False)),
    limit=st.integers() | st.text(),
    optimizer=st.builds(Optimizer, st.floats(1e-9, 1.0), schedule=st.sampled_from(["constant", "cosine"])),
    stages=st.lists(st.builds(Optimizer)),
)


@given(configs)
def test_to_dict_and_back_is_the_same(config: Config) -> None:
    assert from_dict(Config, to_dict(config)) == config


def test_yaml_is_read_with_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CORPORA", "/corpora")
    (tmp_path / "a.yaml").write_text("name: a\nfiles: ['${CORPORA}/x', plain]\n", encoding="utf-8")
    assert read_yaml(tmp_path / "a.yaml") == {"name": "a", "files": ["/corpora/x", "plain"]}


def test_an_unset_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ConfigError, match=r"preset\.yaml uses \$\{NOWHERE\}"):
        expand_environment({"a": [{"b": "${NOWHERE}/x"}]}, "preset.yaml")


@pytest.mark.parametrize(
    ("text", "message"),
    [("- 1\n", "expected a mapping"), ("a: [1\n", "not valid YAML"), ("", "expected a mapping")],
)
def test_bad_yaml_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("[1]", "expected a JSON object"), ("{", "not valid JSON")])
def test_bad_json_names_the_file(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_json(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("read", [read_yaml, read_json])
def test_a_missing_file_is_named(tmp_path: Path, read: Any) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere: No such file"):
        read(tmp_path / "nowhere")


def test_overrides_are_yaml_values_and_leave_the_original_alone() -> None:
    values = {"model": {"layers": 6}, "data": [{"path": "a"}, {"path": "b"}]}
    changed = override(values, ["model.layers=2", "data.1.path=c", "train.steps=10", "--model.tied=false", "name=a=b"])
    assert changed == {
        "model": {"layers": 2, "tied": False},
        "data": [{"path": "a"}, {"path": "c"}],
        "train": {"steps": 10},
        "name": "a=b",
    }
    assert values == {"model": {"layers": 6}, "data": [{"path": "a"}, {"path": "b"}]}


@pytest.mark.parametrize(
    ("assignment", "message"), [("layers", "write section.name=value"), ("name.x=1", "'name' is not a section")]
)
def test_what_is_not_an_override_is_refused(assignment: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override({"name": "a"}, [assignment])

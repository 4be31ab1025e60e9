import math
from pathlib import Path
from typing import Any

import pytest
import yaml

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, RegardError
from regard.tasks.preset import Preset
from regard.tasks.search import Search, SearchConfig, parse_range
from regard.train.trainer import Trainer

optuna = pytest.importorskip("optuna", reason="Optuna is not installed (regard[search])")
pytestmark = pytest.mark.usefixtures("_as_it_was")

RANGES = {"train.schedule.peak": {"low": 1e-4, "high": 1e-1, "log": True}, "model.d_ff": [16, 32]}


@pytest.fixture(autouse=True)
def _plain_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.tasks.search._draw", lambda study, metric, higher, path: path.write_text("picture"))


@pytest.fixture
def values(settings: dict[str, Any]) -> dict[str, Any]:
    """A preset whose runs are validated twice in four steps."""
    return override(settings, ["train.steps=4", "train.validate_every=2", "train.schedule.warmup=1"])


def search(values: dict[str, Any], said: list[str] | None = None, **config: Any) -> Search:
    return Search(values, SearchConfig(**{"ranges": RANGES, "trials": 4, "startup": 2, **config}),
                  (said if said is not None else []).append)  # fmt: skip


def study_of(folder: Path) -> Any:
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    storage = JournalStorage(JournalFileBackend(str(folder / "journal.log")))
    return optuna.load_study(study_name="regard", storage=storage)


def test_a_search(values: dict[str, Any]) -> None:
    """As many runs as asked for within their ranges; the best is kept, and its settings are a preset."""
    said: list[str] = []
    folder = search(values, said).run()
    assert folder == Path(values["output"])
    trials = study_of(folder).trials
    assert len(trials) == 4
    assert all(1e-4 <= t.params["train.schedule.peak"] <= 1e-1 and t.params["model.d_ff"] in (16, 32) for t in trials)
    done = [t for t in trials if t.state.name == "COMPLETE"]
    best = min(done, key=lambda t: t.value)
    assert best.value == min(best.intermediate_values.values())
    assert sorted(p.name for p in folder.glob("run-*")) == [f"run-{best.number:03}"]
    rows = [line.split("\t") for line in (folder / "search.tsv").read_text().splitlines()]
    assert rows[0] == ["run", "loss", "state", *RANGES]
    assert rows[1][0] == str(best.number)
    assert len(rows) == 5
    assert (folder / "search.png").read_text() == "picture"
    found = yaml.safe_load((folder / "best.yaml").read_text())
    assert found["model"]["d_ff"] == best.params["model.d_ff"]
    assert math.isclose(from_dict(Preset, found).train.schedule.peak, best.params["train.schedule.peak"])
    assert any("the best run is" in line for line in said)


def test_it_goes_on_where_it_was_interrupted(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The run at work goes on from its checkpoint with the same settings; those before it are not run again."""
    original, count = Trainer.step, [0]

    def interrupted(self: Trainer) -> dict[str, float]:
        found = original(self)
        count[0] += 1
        self._interruption.requested = count[0] == 7  # in the second run, after its first validation
        return found

    monkeypatch.setattr(Trainer, "step", interrupted)
    assert search(values, trials=3, startup=3).run() is None
    output = Path(values["output"])
    before = study_of(output).trials
    assert [t.state.name for t in before] == ["COMPLETE", "RUNNING"]
    assert list(before[1].intermediate_values) == [2]
    assert search(values, trials=3, startup=3).run() == output
    after = study_of(output).trials
    assert [t.state.name for t in after] == ["COMPLETE"] * 3
    assert after[1].params == before[1].params
    assert after[2].params != after[0].params
    assert after[1].intermediate_values[2] == before[1].intermediate_values[2]
    assert sorted(after[1].intermediate_values) == [2, 4]
    assert count[0] == 12  # no step was taken twice
    assert search(values, trials=3, startup=3).run() == output  # nothing is left to do
    assert count[0] == 12


def test_bad_runs_are_given_up(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is worse than the median at its first validation gets no second."""
    from regard.tasks.translation_training import TranslationTask

    losses = iter([3.0, 2.0, 3.1, 2.1, 9.0, 2.9, 1.0])
    monkeypatch.setattr(TranslationTask, "validate", lambda self, model: {"loss": next(losses)})
    folder = search(values).run()
    assert folder is not None
    trials = study_of(folder).trials
    assert [t.state.name for t in trials] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    assert [t.value for t in trials] == [2.0, 2.1, 9.0, 1.0]
    assert (folder / "search.tsv").read_text().splitlines()[1].startswith("3\t1.0000\tcomplete")
    assert [p.name for p in folder.glob("run-*")] == ["run-003"]


def test_higher_may_be_better(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from regard.tasks.translation_training import TranslationTask

    scores = iter([10.0, 12.0, 30.0, 20.0])
    monkeypatch.setattr(TranslationTask, "validate", lambda self, model: {"bleu": next(scores)})
    wanted = override(values, ["train.stopping.metric=bleu", "validation.metrics=[bleu]"])
    folder = search(wanted, trials=2).run()
    assert folder is not None
    assert [t.value for t in study_of(folder).trials] == [12.0, 30.0]
    assert study_of(folder).best_trial.number == 1


def test_a_run_that_fails_is_one_of_many(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trainer.train
    runs = [0]

    def sometimes(self: Trainer) -> Path | None:
        runs[0] += 1
        if runs[0] == 1:
            raise RegardError("the loss is not finite")
        return original(self)

    monkeypatch.setattr(Trainer, "train", sometimes)
    said: list[str] = []
    folder = search(values, said, trials=2).run()
    assert folder is not None
    assert [t.state.name for t in study_of(folder).trials] == ["FAIL", "COMPLETE"]
    assert "run 0 failed: the loss is not finite" in said


def test_no_run_comes_to_an_end(values: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: Trainer) -> Path | None:
        raise RegardError("the loss is not finite")

    monkeypatch.setattr(Trainer, "train", fails)
    with pytest.raises(RegardError, match=r"no run came to an end\. the loss is not finite"):
        search(values, trials=2).run()


def test_other_settings_are_another_search(values: dict[str, Any]) -> None:
    assert search(values, trials=1).run() is not None
    with pytest.raises(ConfigError, match="holds a search with other settings"):
        search(override(values, ["train.steps=6"]), trials=1).run()


@pytest.mark.parametrize(
    ("change", "ranges", "message"),
    [
        ("train.steps=4", {}, "nothing to search"),
        ("train.steps=4", {"model.d_fff": [8, 16]}, "unknown setting 'model.d_fff'"),
        ("train.steps=4", {"model.dropout": {"low": 0.0, "high": 1.5}}, "dropout lies in"),
        ("train.validate_every=0", RANGES, "a search compares validations"),
        ("validation.metrics=[bleu]", RANGES, "a search compares validations"),
    ],
)
def test_what_is_wrong_is_said_before_anything_runs(
    values: dict[str, Any], change: str, ranges: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        search(override(values, [change]), ranges=ranges)


@pytest.mark.parametrize(
    ("ranges", "message"),
    [
        ({"a": [1]}, "nothing to choose from"),
        ({"a": {"low": 1, "high": 1}}, "from a smaller number to a larger"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "begins above 0"),
        ({"a": {"low": 0}}, "missing setting 'ranges.a.high'"),
    ],
)
def test_ranges_that_are_none(ranges: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        SearchConfig(ranges)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("model.dropout=0..0.3", {"low": 0, "high": 0.3}),
        ("train.schedule.peak=1e-4..1e-2:log", {"low": 1e-4, "high": 1e-2, "log": True}),
        ("model.num_heads=2..8:2", {"low": 2, "high": 8, "step": 2}),
        ("model.d_ff=256,512", [256, 512]),
        ("model.norm=layernorm,rmsnorm", ["layernorm", "rmsnorm"]),
        ("tune.rank_stabilised=true,false", [True, False]),
    ],
)
def test_ranges_as_they_are_typed(text: str, found: Any) -> None:
    assert parse_range(text) == (text.partition("=")[0], found)


@pytest.mark.parametrize("text", ["model.dropout", "=1..2", "a=1..b", "a=1..2:often"])
def test_what_is_no_range(text: str) -> None:
    with pytest.raises(ConfigError, match="is no range"):
        parse_range(text)

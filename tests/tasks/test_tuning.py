import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, DataError
from regard.decode.native_engine import NativeEngine, why_not
from regard.model.folder import load_config, load_model, load_weights, model_hash
from regard.tasks.preset import Preset
from regard.tasks.translation import Translator
from regard.tasks.translation_training import train
from regard.train.checkpoint import CheckpointFolder
from regard.tune.folder import read_adapter

pytestmark = pytest.mark.usefixtures("_as_it_was")

METHODS = ["lora", "adalora", "houlsby", "pfeiffer", "prefix", "prompt", "bias"]
SMALL = {"lora": {"rank": 2, "dropout": 0.1}, "adalora": {"rank": 4, "final_rank": 2, "every": 1}}


@pytest.fixture
def tuning(settings: dict[str, Any], corpora: Path) -> dict[str, Any]:
    """A preset that tunes a model of the toy task, which has been trained."""
    base = train(from_dict(Preset, override(settings, [f"output={corpora / 'base'}", "train.validate_every=0"])), str)
    changes = ["tokenizer={}", "model={}", f"start.model={base}", "train.validate_every=0", "train.tokens=64"]
    return override(settings, changes)


def preset(values: dict[str, Any], method: str, *changes: str) -> Preset:
    tune = json.dumps({"method": method, **SMALL.get(method, {})})
    return from_dict(Preset, override(values, [f"tune={tune}", *changes]))


@pytest.mark.parametrize("method", METHODS)
def test_n_and_n_steps_are_2n_steps(tuning: dict[str, Any], corpora: Path, method: str) -> None:
    """Bit for bit, whatever the method remembers; and the base is as it was."""
    before = load_weights(corpora / "base" / "model.safetensors")
    for name, stops in (("whole", [6]), ("parts", [2, 4, 6])):
        for stop in stops:
            steps = 6 if method == "adalora" else stop  # it plans for the whole run
            wanted = preset(tuning, method, f"output={corpora / name}", f"train.steps={steps}")
            if method == "adalora" and stop < 6:
                stop_at(wanted, stop)
            else:
                assert train(wanted, str) == corpora / name
    whole, parts = corpora / "whole", corpora / "parts"
    assert (whole / "adapter_model.safetensors").read_bytes() == (parts / "adapter_model.safetensors").read_bytes()
    states = [load_file(CheckpointFolder(f / "training").path(6) / "state.safetensors") for f in (whole, parts)]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(name.startswith("task.kept.") for name in states[0]) == (method == "adalora")
    after = load_weights(corpora / "base" / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)


def stop_at(wanted: Preset, step: int) -> None:
    """Interrupt a run after ``step`` steps, as Ctrl-C would."""
    from regard.train.trainer import Trainer

    original = Trainer.step

    def interrupted(self: Trainer) -> dict[str, float]:
        values = original(self)
        self._interruption.requested = self.step_count >= step
        return values

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "step", interrupted)
        assert train(wanted, str) is None


@pytest.mark.parametrize("method", METHODS)
def test_an_adapter_serves(tuning: dict[str, Any], corpora: Path, method: str) -> None:
    """Trained from the preset, it is a folder that a translator takes, and it makes a difference."""
    said: list[str] = []
    rate = "train.schedule.peak=0.3"
    folder = train(preset(tuning, method, f"output={corpora / 'law'}", "train.steps=12", rate), said.append)
    assert folder is not None
    assert any("are trained" in line for line in said)
    saved = read_adapter(folder)
    assert saved.method.name == method
    assert saved.base == model_hash(corpora / "base")
    assert saved.about["directions"] == [["en", "de"]]
    assert saved.about["base_name"] == "base"
    merges = method in ("lora", "adalora", "bias")
    card = (folder / "README.md").read_text()
    assert f"- method: {method}" in card
    assert "in 12 steps" in card
    text = "the red house likes a cat."
    base, machine = corpora / "base", {"device": "cpu", "precision": "fp32"}
    plain = Translator.from_pretrained(base, engine="torch", **machine)
    tuned = Translator.from_pretrained(base, adapters={"law": folder}, shares={"law": 1}, **machine)
    chosen = Translator.from_pretrained(base, adapters={"law": folder}, **machine)
    scores = [t.translate(text, "en", "de").score for t in (plain, chosen, tuned)]
    assert scores[0] == scores[1] != scores[2]
    assert isinstance(tuned.engine, NativeEngine) == (merges and why_not(load_config(base)[0]) is None)
    on = chosen.translate(text, "en", "de", adapters={"law": 1})
    assert on.score == pytest.approx(scores[2], abs=1e-4)
    assert on.text == tuned.translate(text, "en", "de").text


def test_validation_judges_the_adapter(tuning: dict[str, Any], corpora: Path) -> None:
    """The best validation becomes the adapter; that of step 0 is the base's."""
    best = ["train.validate_every=2", "train.keep_best=1", "train.final=average_best", "validation.metrics=[loss]"]
    folder = train(preset(tuning, "lora", f"output={corpora / 'law'}", *best), str)
    assert folder is not None
    history = CheckpointFolder(folder / "training").state()["history"]  # type: ignore[index]
    losses = [record["valid_loss"] for record in history if "valid_loss" in record]
    assert len(set(losses)) == 3
    assert f"- loss: {min(losses):.3f}" in (folder / "README.md").read_text()


def test_the_penalty_is_counted_once(tuning: dict[str, Any], corpora: Path) -> None:
    """However the step falls into micro-batches: the gradient of the mean loss plus the penalty."""
    from regard.tasks.preparation import Prepared, prepare
    from regard.tasks.translation_training import TranslationTask
    from regard.tasks.tuning import TuningTask
    from regard.tune.adalora import AdaLora

    wanted = preset(tuning, "adalora", f"output={corpora / 'law'}")
    prepare(wanted, str)
    inner = TranslationTask(wanted, Prepared.open(wanted))
    model = load_model(corpora / "base")[0]
    plan = inner.draw()
    plain = float(inner.loss(model, inner.batch(plan)).detach())
    task = TuningTask(inner, model, AdaLora(4, 2, orthogonality=0.5), preset=wanted, base="", examples=2)
    parts = [task.batch(part) for part in task.split(plan, 3)]
    tokens = sum(batch.num_tokens for batch in parts)
    total = sum(float(task.loss(model, batch).detach()) for batch in parts) / tokens
    penalty = task.method.penalty({n: p.detach() for n, p in task._weights.items()})
    assert penalty is not None
    assert float(penalty) > 0.1
    assert total == pytest.approx(plain / tokens + float(penalty), rel=1e-4)


# ---- all weights


def test_frozen_and_slow_parts(tuning: dict[str, Any], corpora: Path) -> None:
    """A weight of rate 0 stays as it was to the bit, and is in the finished model all the same."""
    rates = json.dumps({"encoder.0.feed_forward.*": 1e-6, "encoder.*": 0, "*embedder*": 0})
    folder = train(from_dict(Preset, override(tuning, [f"output={corpora / 'more'}", f"start.rates={rates}"])), str)
    assert folder is not None
    before, after = (load_weights(path / "model.safetensors") for path in (corpora / "base", folder))
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    for name, distance in moved.items():
        if name.startswith("encoder.0.feed_forward."):
            assert 0 < distance < 1e-6
        elif name.startswith("encoder.") or "embedder" in name:
            assert distance == 0
        else:
            assert distance > 1e-4


# ---- bad input


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['tune={"method": "lorra"}'], "tune: 'lorra' is not a method. Did you mean 'lora'"),
        (['tune={"method": "lora", "rnak": 2}'], "unknown setting 'tune.rnak'. Did you mean 'rank'"),
        (['tune={"method": "lora", "rank": 0}'], "rank is 0"),
        (['tune={"method": "lora"}', "start=null"], "tune makes an adapter for a trained model"),
        (['tune={"method": "lora"}', 'start.rates={"head": 0}'], "start.rates has no effect with tune"),
        (['start.rates={"head": -1}'], "the factor of 'head' is -1"),
    ],
)
def test_settings(tuning: dict[str, Any], changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(Preset, override(tuning, changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (['tune={"method": "lora", "targets": ["qery"]}'], "targets: 'qery' fits no name in this model"),
        (['tune={"method": "lora", "rank": 17}'], "rank 17 is above the width"),
        (['tune={"method": "adalora"}', "train.steps=0", "train.epochs=1"], "adalora plans its ranks"),
        (['start.rates={"decodre.*": 0}'], "start.rates: 'decodre.*' fits no name"),
        (['start.rates={"*": 0}'], "freezes every weight"),
    ],
)
def test_what_does_not_fit_the_model_is_said_before_training(
    tuning: dict[str, Any], corpora: Path, changes: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace("*", r"\*")):
        train(from_dict(Preset, override(tuning, [f"output={corpora / 'law'}", *changes])), str)


def test_one_pair_is_too_few(tuning: dict[str, Any], corpora: Path) -> None:
    (corpora / "one.tsv").write_text("the red river.\tdas rot Fluss.\n", encoding="utf-8")
    with pytest.raises(DataError, match="1 pair is left to tune on"):
        train(preset(tuning, "lora", f"output={corpora / 'law'}", f"data.train.0.path={corpora / 'one.tsv'}"), str)


def test_an_interrupted_run_keeps_its_method(tuning: dict[str, Any], corpora: Path) -> None:
    train(preset(tuning, "lora", f"output={corpora / 'law'}"), str)
    with pytest.raises(ConfigError, match=r"tune\.rank was 2 and is 3"):
        train(preset(tuning, "lora", f"output={corpora / 'law'}", "tune.rank=3", "train.steps=8"), str)

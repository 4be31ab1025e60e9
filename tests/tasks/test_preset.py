import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regard.base.config import from_dict, override, read_yaml, to_dict
from regard.base.errors import ConfigError
from regard.model.config import ModelConfig
from regard.tasks.preset import Preset
from regard.tasks.pretraining_preset import PretrainingPreset


def preset(settings: dict[str, Any], *changes: str) -> Preset:
    return from_dict(Preset, override(settings, changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["train.stepz=3"], r"unknown setting 'train\.stepz'\. Did you mean 'steps'"),
        (["model.d_modell=3"], r"unknown setting 'model\.d_modell'\. Did you mean 'd_model'"),
        (["model.source_vocab_size=3"], "comes from the tokenizer"),
        (["model.num_heads=3"], "not a multiple of num_heads"),
        (["data.train=[]"], "there is no corpus to train on"),
        (["data.max_tokens=0"], "max_tokens"),
        (["data.subword_alpha=2"], "subword_alpha"),
        (["data.word_dropout=1"], "word_dropout"),
        (["data.temperature=0.5"], "temperature"),
        (["data.subword_alpha=0.1", "tokenizer.kind=char"], "needs a unigram or bpe tokenizer, not 'char'"),
        (["tokenizer.joint=false"], "set model.tie"),
        (
            ["tokenizer.joint=false", "model.tie=none", "data.train.0.both_directions=true"],
            "several directions need one joint vocabulary",
        ),
        (["model.position=learned", "model.max_positions=200"], "max_positions is 200; data.max_tokens takes 258"),
        (["data.dev=[]"], "set data.dev, or train.validate_every to 0"),
        (["data.dev.0.both_directions=true"], r"data\.dev has de→en .*, which data\.train does not"),
        (["data.dev.0.target=fr"], "data.dev has en→fr"),
        (["validation.metrics=[]"], "metrics is empty"),
        (["validation.metrics=[blue]"], r"'blue' is not a choice\. Did you mean 'bleu'"),
        (["validation.beam=4"], "no effect: metrics asks for neither bleu nor chrf"),
        (["validation.sentences=50"], "no effect"),
        (["validation.metrics=[bleu]", "validation.beam=0"], "beam must be at least 1"),
        (["train.stopping.patience=2", "train.stopping.metric=bleu"], "validation.metrics does not measure"),
        (["train.keep_best=2", "validation.metrics=[chrf]"], "'loss', which validation.metrics does not measure"),
        (["storage=int4"], "storage: 'int4' is not a choice"),
        (["data.train.0.source=no"], "expected str, got False. Put it in quotes."),
    ],
)
def test_mistakes_are_found_before_anything_is_read(settings: dict[str, Any], changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset(settings, *changes)


def test_a_metric_can_be_measured_without_being_watched(settings: dict[str, Any]) -> None:
    assert preset(settings, "validation.metrics=[bleu]").validation.translates


def test_directions_in_the_order_of_the_corpora(settings: dict[str, Any]) -> None:
    corpus = settings["data"]["train"][0]
    settings["data"]["train"] = [{**corpus, "both_directions": True}, {**corpus, "target": "zh"}, corpus]
    assert preset(settings).directions == [("en", "de"), ("de", "en"), ("en", "zh")]


def test_the_fingerprint_survives_json_and_leaves_out_what_may_change(settings: dict[str, Any]) -> None:
    first = preset(settings)
    recorded = json.loads(json.dumps(first.fingerprint()))
    assert recorded == first.fingerprint()
    allowed = ["train.steps=99", "train.tokens=64", "output=elsewhere", "storage=int8", "validation.metrics=[bleu]"]
    assert preset(settings, *allowed, "description=new").changes_since(recorded) == []


def test_changes_are_named_with_both_values(settings: dict[str, Any]) -> None:
    recorded = preset(settings).fingerprint()
    changed = preset(settings, "data.train.0.weight=2", "model.dropout=0.3", "train.seed=7", "tokenizer.vocab_size=310")
    assert changed.changes_since(recorded) == [
        "data.train.0.weight was 1.0 and is 2.0",
        "tokenizer.vocab_size was 300 and is 310",
        "model.dropout was 0.1 and is 0.3",
        "train.seed was 1 and is 7",
    ]
    more = copy.deepcopy(settings)
    more["data"]["train"] *= 2
    assert preset(more).changes_since(recorded) == ["data.train had 1 items and has 2"]


def test_settings_that_came_later_count_as_their_defaults(settings: dict[str, Any]) -> None:
    """A run of an earlier version goes on although its record lacks what the program has learnt since."""
    recorded = preset(settings).fingerprint()
    del recorded["data"]["subword_alpha"]
    del recorded["data"]["train"][0]["weight"]
    del recorded["data"]["join"]["seed"]
    del recorded["tokenizer"]["split_digits"]
    assert preset(settings).changes_since(recorded) == []
    assert preset(settings, "model.dropout=0.1").changes_since(recorded) == []  # the default, written out
    assert preset(settings, "data.subword_alpha=0.1").changes_since(recorded) == [
        "data.subword_alpha was 0.0 and is 0.1"
    ]


def test_a_model_to_start_from_brings_architecture_and_vocabulary(settings: dict[str, Any], tmp_path: Path) -> None:
    base = ModelConfig(9, 9, d_model=24, num_heads=3, encoder_layers=2, tie="decoder")
    (tmp_path / "config.json").write_text(
        json.dumps({"format": 1, "model": to_dict(base), "task": {"name": "translation"}})
    )
    started = {**settings, "tokenizer": {}, "model": {"dropout": 0.3}, "start": {"model": str(tmp_path)}}
    assert preset(started).model_config(7, 7) == replace(base, source_vocab_size=7, target_vocab_size=7, dropout=0.3)
    assert preset(started).changes_since(json.loads(json.dumps(preset(started).fingerprint()))) == []
    assert preset(started, "model.dropout=0.2").changes_since(preset(started).fingerprint()) == [
        "model.dropout was 0.3 and is 0.2"
    ]
    with pytest.raises(ConfigError, match="leave the section tokenizer out"):
        preset(started, "tokenizer.vocab_size=100")
    (tmp_path / "config.json").write_text(
        json.dumps({"format": 1, "model": to_dict(base), "task": {"name": "tagging"}})
    )
    with pytest.raises(ConfigError, match="a model for tagging, not translation"):
        preset(started)


@pytest.mark.parametrize("damage", [{"data": {"new": 1}}, {}, {"data": None}])
def test_a_record_that_this_version_cannot_read_is_a_change(settings: dict[str, Any], damage: dict[str, Any]) -> None:
    recorded = {**preset(settings).fingerprint(), **damage} if damage else {}
    assert "settings of another version" in preset(settings).changes_since(recorded)[0]


def test_every_preset_of_the_project_is_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGARD_DATA", "/corpora")
    found = sorted((root / "presets").glob("*.yaml"))
    assert found
    for path in found:
        values = read_yaml(path)
        values.pop("start", None)  # what it starts from is made by another preset
        verb = "pretrain" if "objective" in values else "train"
        from_dict(PretrainingPreset if verb == "pretrain" else Preset, values)
        assert path.read_text(encoding="utf-8").startswith(f"# regard {verb} presets/{path.name}\n")

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, DataError, ModelError
from regard.data.batch import Batch, TextBatch
from regard.data.tokenizer import Tokenizer
from regard.decode.request import Options
from regard.model import DecoderOnly, EncoderOnly, Transformer
from regard.model.folder import load_family
from regard.tasks.generation import TextGenerator
from regard.tasks.pretraining import PretrainingTask, prepare, pretrain
from regard.tasks.pretraining_preset import PretrainingPreset
from regard.tasks.translation import Translator
from regard.train.checkpoint import CheckpointFolder

from .conftest import sentences

pytestmark = pytest.mark.usefixtures("_as_it_was")

KINDS = ["masked", "causal", "denoising", "spans"]


@pytest.fixture
def texts(tmp_path: Path) -> dict[str, Any]:
    """A preset as YAML gives it, and its texts: one in each language."""
    for name, count, seed in (("train", 150, 1), ("dev", 12, 2)):
        for side, language in enumerate(("en", "de")):
            lines = [
                pair[side].capitalize() + "\n" + "\n" * (i % 10 == 9) for i, pair in enumerate(sentences(count, seed))
            ]
            (tmp_path / f"{name}.{language}").write_text("".join(lines), encoding="utf-8")
    return {
        "output": str(tmp_path / "run"),
        "objective": "masked",
        "data": {
            "train": [{"path": str(tmp_path / f"train.{code}"), "language": code} for code in ("en", "de")],
            "dev": [{"path": str(tmp_path / "dev.en"), "language": "en"}],
            "max_tokens": 40,
        },
        "tokenizer": {"vocab_size": 320},
        "model": {"d_model": 16, "d_ff": 32, "num_heads": 2},
        "train": {
            "steps": 6,
            "tokens": 160,
            "precision": "fp32",
            "device": "cpu",
            "threads": 1,
            "schedule": {"peak": 0.01, "warmup": 3},
            "log_every": 2,
            "validate_every": 3,
            "checkpoint_every": 100,
            "tensorboard": False,
        },
    }


def small(kind: str) -> list[str]:
    """As many layers as the objective has stacks."""
    absent = {"masked": ["decoder"], "causal": ["encoder"]}.get(kind, [])
    stacks = [stack for stack in ("encoder", "decoder") if stack not in absent]
    return [f"objective={kind}", *(f"model.{stack}_layers=1" for stack in stacks)]


def preset_of(texts: dict[str, Any], *changes: str) -> PretrainingPreset:
    return from_dict(PretrainingPreset, override(texts, changes))


def task_of(texts: dict[str, Any], *changes: str) -> PretrainingTask:
    preset = preset_of(texts, *changes)
    prepare(preset, str)
    return PretrainingTask(preset)


# ---- batches


def test_noise_is_new_in_each_epoch_and_the_same_after_a_restart(texts: dict[str, Any]) -> None:
    task, again = task_of(texts, *small("masked")), task_of(texts, *small("masked"))
    plan = task.draw()
    first, same = task.batch(plan), again.batch(again.draw())
    assert isinstance(first, TextBatch)
    assert isinstance(same, TextBatch)
    assert torch.equal(first.inputs, same.inputs)
    task.sampler.epoch = 1
    other = task.batch(plan)
    assert isinstance(other, TextBatch)
    assert other.inputs.shape == first.inputs.shape
    assert not torch.equal(other.inputs, first.inputs)


def test_a_plan_is_described_by_file_line_and_text(texts: dict[str, Any]) -> None:
    task = task_of(texts, *small("causal"), "data.join_lines=false")
    path = Path(texts["data"]["train"][0]["path"])
    lines = path.read_text(encoding="utf-8").splitlines()
    number = next(i for i in range(150) if task.parts[0].store.line(i) == 13)
    assert task.describe(np.array([[0, number]])) == f"{path}, line 13 ('{lines[12]}')"


def test_lines_of_the_development_text_are_left_out(texts: dict[str, Any]) -> None:
    path = Path(texts["data"]["train"][0]["path"])
    held = Path(texts["data"]["dev"][0]["path"]).read_text(encoding="utf-8").splitlines()[:3]
    path.write_text(
        "\n".join([line.upper() for line in held]) + "\n" + path.read_text(encoding="utf-8"), encoding="utf-8"
    )
    said: list[str] = []
    prepare(preset_of(texts, *small("masked"), "data.join_lines=false"), said.append)
    assert any(line.startswith(f"{path}: 150 examples") and "3 lines left out" in line for line in said)


def test_the_validation_loss_is_the_mean_over_all_pieces_and_always_the_same(texts: dict[str, Any]) -> None:
    task = task_of(texts, *small("causal"))
    model = task.new_model().eval()
    assert isinstance(model, DecoderOnly)
    loss = task.validate(model)
    assert loss == task.validate(model) == PretrainingTask(task.preset).validate(model)
    total = pieces = 0.0
    path = Path(task.preset.data.dev[0].path)
    with torch.no_grad():
        for document in path.read_text(encoding="utf-8").split("\n\n"):
            rows, room = [], 0  # as many lines as fit
            for line in document.splitlines():
                ids = task.tokenizer.encode(line)
                if len(ids) > room:
                    rows.append([])
                    room = 40
                rows[-1] += ids
                room -= len(ids)
            for row in rows:
                logits = model.logits(model.decode(torch.tensor([[2, *row]])))[0]
                total += float(torch.nn.functional.cross_entropy(logits, torch.tensor([*row, 3]), reduction="sum"))
                pieces += len(row) + 1
    assert loss["loss"] == pytest.approx(total / pieces, rel=1e-5)


# ---- whole runs


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_makes_a_model_folder_of_its_family(texts: dict[str, Any], kind: str) -> None:
    said: list[str] = []
    folder = pretrain(preset_of(texts, *small(kind), "description=A toy."), said.append)
    assert folder == Path(texts["output"])
    family: Any = {"masked": EncoderOnly, "causal": DecoderOnly}.get(kind, Transformer)
    model, section = load_family(folder, family)
    assert section["name"] == "pretraining"
    assert section["objective"]["kind"] == kind
    assert section["languages"] == ["en", "de"]
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.vocab_size == model.config.source_vocab_size
    assert "A toy." in (folder / "README.md").read_text(encoding="utf-8")
    assert (folder / "curve.png").exists()
    with pytest.raises(ModelError, match="is not a translation model: its task is 'pretraining'"):
        Translator.from_pretrained(folder)
    state = CheckpointFolder(folder / "training").state()
    assert state is not None
    assert [record["step"] for record in state["history"] if "valid_loss" in record] == [3, 6]


@pytest.mark.parametrize("kind", ["masked", "denoising"])
def test_n_and_n_steps_are_2n_steps(texts: dict[str, Any], kind: str) -> None:
    """Bit for bit, across an epoch, with accumulation, a fraction of a text, early stopping and an average."""
    changes = [*small(kind), "train.steps=9", "train.accumulate=2", "train.ema=0.9", "train.tokens=700"]
    changes += ["data.train.0.weight=0.6", "train.stopping.patience=5", "train.keep_best=2"]
    parent = Path(texts["output"]).parent
    pretrain(preset_of(texts, *changes, f"output={parent / 'whole'}"), str)
    for steps in (4, 9):
        pretrain(preset_of(texts, *changes, f"output={parent / 'parts'}", f"train.steps={steps}"), str)
    whole, parts = (CheckpointFolder(parent / name / "training").load() for name in ("whole", "parts"))
    assert whole is not None
    assert parts is not None
    assert whole.state["stream"]["epoch"] >= 1
    assert parts.state["stream"] == whole.state["stream"]
    assert parts.state["stopping"] == whole.state["stopping"]
    for mine, theirs in ((whole.weights, parts.weights), (whole.tensors, parts.tensors)):
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    files = [(parent / name / "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert files[0] == files[1]


def test_a_masked_model_learns(texts: dict[str, Any]) -> None:
    """In a language whose words follow one another like the days of a week, every word can be found."""
    days = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
    for text in (*texts["data"]["train"], *texts["data"]["dev"]):
        lines = (" ".join((days * 2)[i % 7 : i % 7 + 6]) + "\n" for i in range(300))
        Path(text["path"]).write_text("".join(lines))
    changes = ["data.dev.0.path=" + str(Path(texts["output"]).parent / "week.en"), "data.join_lines=false"]
    (Path(texts["output"]).parent / "week.en").write_text(" ".join(days[2:] + days[:4]) + "\n")
    changes += ["tokenizer={kind: word, vocab_size: 12, byte_fallback: false}", "train.steps=60", "train.tokens=800"]
    changes += ["model.d_model=32", "model.dropout=0", "train.schedule={kind: constant, peak: 0.01, warmup: 3}"]
    folder = pretrain(preset_of(texts, *small("masked"), *changes, "train.validate_every=60"), str)
    assert folder is not None
    state = CheckpointFolder(folder / "training").state()
    assert state is not None
    (loss,) = (record["valid_loss"] for record in state["history"] if "valid_loss" in record)
    assert loss < 0.5  # of log 7 = 1.9


# ---- texts


def test_a_causal_model_writes(texts: dict[str, Any]) -> None:
    folder = pretrain(preset_of(texts, *small("causal")), str)
    assert folder is not None
    generator = TextGenerator.from_pretrained(folder)
    options = Options(sample=True, num_hypotheses=3, seed=1, max_length=6)
    written = generator.generate("The red cat", options)
    assert len(written) == 3
    assert all(text.startswith("The red cat") and "<" not in text for text in written)
    assert written == generator.generate("The red cat", options)
    prompt = generator.tokenizer.encode("The red cat")
    (whole,) = generator.complete(prompt, Options())
    assert len(whole.ids) <= 40 - len(prompt)
    with pytest.raises(DataError, match=r"the prompt has \d+ pieces; this model was .* 40 pieces at most"):
        generator.generate("cat " * 60)
    with pytest.raises(DataError, match=r"and max_length is 40; .* Shorten the prompt, or lower max_length"):
        generator.generate("The red cat", Options(max_length=40))


def test_other_models_write_nothing(texts: dict[str, Any], shipped_model: Path) -> None:
    folder = pretrain(preset_of(texts, *small("masked"), "train.steps=1", "train.validate_every=0", "data.dev=[]"), str)
    assert folder is not None
    with pytest.raises(ModelError, match="writes no texts: it is a masked model"):
        TextGenerator.from_pretrained(folder)
    with pytest.raises(ModelError, match="writes no texts: it is a translation model"):
        TextGenerator.from_pretrained(shipped_model)


# ---- what cannot be used


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["objective=maskd"], "'maskd' is not an objective. Did you mean 'masked'"),
        (["model.decoder_layers=2"], "model.decoder_layers has no effect: 'masked' trains the encoder alone"),
        (["objective=causal", "model.encoder_layers=2"], "model.encoder_layers has no effect"),
        (["objective=spans", "model.encoder_layers=0"], "'spans' trains both stacks"),
        (["model.source_vocab_size=9"], "comes from the tokenizer"),
        (["model.d_modle=9"], r"unknown setting 'model.d_modle'. Did you mean 'd_model'\?"),
        (["model.position=learned", "model.max_positions=41"], "data.max_tokens takes 42"),
        (["tokenizer.joint=false"], "one vocabulary for all texts"),
        (["tokenizer.vocab_size=8"], "the objective has 1 marks"),
        (["data.train=[]"], "there is no text to train on"),
        (["data.max_tokens=1"], "max_tokens is 1; it must be at least 2"),
        (["data.dev=[]"], "validation needs development text"),
        (["train.validate_every=0"], "data.dev has no effect"),
        (["train.stopping.metric=bleu"], "pretraining measures loss"),
        (["train.privacy={examples: 8, noise: 1}"], "train.privacy guards sentence pairs"),
        (["tags=1"], "unknown setting 'tags'"),
    ],
)
def test_presets_that_cannot_be_meant(texts: dict[str, Any], changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        preset_of(texts, *changes)


def test_smoothing_is_off_unless_wanted(texts: dict[str, Any]) -> None:
    assert preset_of(texts).train.label_smoothing == 0
    assert preset_of(texts, "train.label_smoothing=0.1").train.label_smoothing == 0.1


def test_empty_text_is_refused_before_anything_is_computed(texts: dict[str, Any]) -> None:
    Path(texts["data"]["train"][1]["path"]).write_text("\n\n")
    with pytest.raises(DataError, match=r"train\.de holds no text"):
        pretrain(preset_of(texts, *small("masked")), str)
    assert not (Path(texts["output"]) / "data" / "tokenizer.model").exists()


def test_a_run_with_other_settings_is_not_gone_on_with(texts: dict[str, Any]) -> None:
    prepare(preset_of(texts, *small("masked")), str)
    settings = json.loads((Path(texts["output"]) / "data" / "settings.json").read_text())
    assert settings["objective"]["rate"] == 0.15
    with pytest.raises(ConfigError, match=r"other settings: objective.rate was 0.15 and is 0.3"):
        prepare(preset_of(texts, "model.encoder_layers=1", "objective={kind: masked, rate: 0.3}"), str)
    with pytest.raises(ConfigError, match="other settings"):
        prepare(preset_of(texts, *small("causal")), str)
    prepare(
        preset_of(texts, "model.encoder_layers=1", "objective={kind: masked}", "train.steps=7"), str
    )  # said in other words


def test_denoising_batches_are_pairs(texts: dict[str, Any]) -> None:
    task = task_of(texts, *small("denoising"))
    batch = task.batch(task.draw())
    assert isinstance(batch, Batch)
    assert batch.source.max() < task.tokenizer.vocab_size
    assert task.tokenizer.tag_id("<mask>") in batch.source
    assert task.tokenizer.tag_id("<mask>") not in batch.targets

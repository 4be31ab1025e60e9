"""A student of trained teachers, from the preset to the folder."""

from pathlib import Path
from typing import Any

import pytest
import torch

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError
from regard.model.folder import load_config, load_model, load_weights
from regard.tasks.distillation import load_objective
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import Preset
from regard.tasks.translation import Translator
from regard.tasks.translation_training import TranslationTask, train
from regard.tasks.vocabulary import load_tokenizers

pytestmark = pytest.mark.usefixtures("_as_it_was")

NO_VALIDATION = "train.validate_every=0"


@pytest.fixture
def teacher(settings: dict[str, Any], corpora: Path) -> Path:
    folder = train(from_dict(Preset, override(settings, [f"output={corpora / 'teacher'}", NO_VALIDATION])), str)
    assert folder is not None
    return folder


def student(settings: dict[str, Any], teacher: Path, *changes: str) -> Preset:
    usual = ["tokenizer={}", NO_VALIDATION, "model.d_model=8", f"distill.teachers=[{teacher}]"]
    return from_dict(Preset, override(settings, [*usual, *changes]))


def test_n_and_n_steps_are_2n_steps(settings: dict[str, Any], teacher: Path, corpora: Path) -> None:
    """Bit for bit; the student has the teacher's vocabulary, its own width, and the teacher stays as it was."""
    before = load_weights(teacher / "model.safetensors")
    for name, stops in (("whole", [6]), ("parts", [3, 6])):
        for stop in stops:
            changes = [f"output={corpora / name}", f"train.steps={stop}"]
            assert train(student(settings, teacher, *changes), str) == corpora / name
    whole, parts = (load_weights(corpora / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    after = load_weights(teacher / "model.safetensors")
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert load_config(corpora / "whole")[0].d_model == 8
    own, taken = load_tokenizers(teacher)[0], load_tokenizers(corpora / "whole")[0]
    assert own.sentencepiece_model() == taken.sentencepiece_model()
    translator = Translator.from_pretrained(corpora / "whole", engine="torch", device="cpu")
    assert translator.translate("the red cat.", "en", "de", beam=1).sentences


def test_a_student_comes_to_think_like_its_teacher(settings: dict[str, Any], teacher: Path) -> None:
    """Learning from distributions alone, the divergence falls, on pairs that it has not seen too."""
    wanted = student(settings, teacher, "distill.share=1", "train.steps=40", "train.schedule.peak=0.03")
    assert train(wanted, str) is not None
    task = TranslationTask(wanted, Prepared.open(wanted))
    objective = load_objective(wanted.distill, wanted.directions, teacher, 0.0)  # type: ignore[arg-type]
    torch.manual_seed(0)
    fresh, (taught, _) = type(load_model(teacher)[0])(task.config), load_model(wanted.output)
    batches = list(task._make_dev_batches())
    with torch.no_grad():
        before, after = (sum(float(objective(made, batch)) for batch in batches) for made in (fresh, taught))
    assert after < before / 2


def test_settings_are_remembered(settings: dict[str, Any], teacher: Path) -> None:
    train(student(settings, teacher), str)
    with pytest.raises(ConfigError, match=r"distill.share was 0.5 and is 0.9"):
        train(student(settings, teacher, "distill.share=0.9"), str)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["distill.teachers=[]"], "teachers is empty"),
        (["distill.share=0"], "share is 0"),
        (["distill.share=1.5"], "share is 1.5"),
        (["distill.temperature=0"], "temperature is 0"),
        (["tokenizer.vocab_size=200"], "leave the section tokenizer out"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], teacher: Path, changes: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        student(settings, teacher, *changes)


def test_the_teachers_own_folder(settings: dict[str, Any], teacher: Path) -> None:
    with pytest.raises(ConfigError, match="is a teacher's folder"):
        student(settings, teacher, f"output={teacher}")


def test_a_teacher_with_another_vocabulary(settings: dict[str, Any], teacher: Path, corpora: Path) -> None:
    """Refused before anything is prepared, whether it is the second teacher or the model to start from."""
    other = [f"output={corpora / 'other'}", NO_VALIDATION, "tokenizer.vocab_size=290"]
    other_folder = train(from_dict(Preset, override(settings, other)), str)
    two = student(settings, teacher, f"distill.teachers=[{teacher}, {other_folder}]", f"output={corpora / 'two'}")
    start = student(settings, teacher, f"start.model={other_folder}", "model={}", f"output={corpora / 'two'}")
    for wanted in (two, start):
        with pytest.raises(ConfigError, match="has another source vocabulary"):
            train(wanted, str)
        assert not (corpora / "two").exists()


def test_a_teacher_of_another_direction(settings: dict[str, Any], teacher: Path, corpora: Path) -> None:
    wanted = student(settings, teacher, "data.train.0.target=fr", "data.dev=[]", f"output={corpora / 'fr'}")
    with pytest.raises(ConfigError, match=r"does not translate en→fr. It has en→de"):
        train(wanted, str)


# ---- tagged corpora


def test_a_corpus_has_its_tag_in_front_of_every_source(settings: dict[str, Any]) -> None:
    corpus = settings["data"]["train"][0]
    values = override(settings, [NO_VALIDATION])
    values["data"]["train"] = [corpus, {**corpus, "tag": "<BT>"}]
    wanted = from_dict(Preset, values)
    prepare(wanted, str)
    prepared = Prepared.open(wanted)
    real, made = (part.example(0) for part in prepared.parts)
    text = prepared.tokenizers[0].decode(real[0])
    assert prepared.tokenizers[0].decode(made[0]) == f"<BT> {text}"
    assert (real[1] == made[1]).all()
    assert prepared.parts[1].lengths()[0][0] == len(made[0]) + 1


def test_tags_that_have_no_effect_or_no_pieces(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="tag has no effect on"):
        from_dict(Preset, override(settings, ["data.dev.0.tag=<BT>"]))
    wanted = from_dict(
        Preset, override(settings, ["data.train.0.tag=<☃>", "tokenizer={byte_fallback: false, vocab_size: 50}"])
    )
    prepare(wanted, str)
    with pytest.raises(ConfigError, match="no pieces to spell the tag '<☃>'"):
        Prepared.open(wanted)
    limited = ["model.position=learned", "model.max_positions=258", "data.train.0.tag=<BT>"]
    with pytest.raises(ConfigError, match=r"max_positions is 258; data.max_tokens takes 263"):
        from_dict(Preset, override(settings, limited))

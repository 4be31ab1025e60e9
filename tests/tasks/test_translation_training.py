import json
import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, DataError, ModelError
from regard.model import Transformer
from regard.model.folder import load_model
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import Preset
from regard.tasks.translation_training import TranslationTask, train
from regard.tasks.vocabulary import load_tokenizers
from regard.train.checkpoint import CheckpointFolder
from regard.train.trainer import Trainer, TrainingError

pytestmark = pytest.mark.usefixtures("_as_it_was")


def quiet(text: str) -> None:
    pass


@pytest.fixture
def task(settings: dict[str, Any]) -> Callable[..., TranslationTask]:
    def make(*changes: str) -> TranslationTask:
        preset = from_dict(Preset, override(settings, changes))
        prepare(preset, quiet)
        return TranslationTask(preset, Prepared.open(preset))

    return make


# ---- batches


def test_a_batch_is_what_the_corpus_says(task: Callable[..., TranslationTask]) -> None:
    toy = task("data.train.0.both_directions=true")
    plan = toy.draw()
    batch = toy.batch(plan)
    source_tokenizer, target_tokenizer = toy.tokenizers
    position = 0
    for row, (part, index) in enumerate(plan):
        source, target = toy.parts[part].example(index)
        length = int(batch.source_lengths[row])
        assert batch.source[row, :length].tolist() == [*source, toy.config.eos_id]
        assert batch.targets[position : position + len(target) + 1].tolist() == [*target, toy.config.eos_id]
        position += len(target) + 1
        language = "en" if toy.parts[part].reverse else "de"
        assert source[0] == source_tokenizer.tag_id(f"<2{language}>")
        assert target_tokenizer.decode(target).endswith(".")
    assert position == batch.num_tokens <= 128


def test_subwords_are_sampled_anew_each_epoch_and_alike_after_a_restart(task: Callable[..., TranslationTask]) -> None:
    changes = ["data.subword_alpha=0.2", "data.train.0.both_directions=true"]
    toy, again = task(*changes), task(*changes)
    plan = toy.draw()
    first, same = toy.batch(plan), again.batch(again.draw())
    assert torch.equal(first.source, same.source)
    assert torch.equal(first.targets, same.targets)
    toy.sampler.epoch = 1
    other = toy.batch(plan)
    assert other.source.shape != first.source.shape or not torch.equal(other.source, first.source)
    for row, (part, index) in enumerate(plan):
        whole, _ = toy.parts[part].example(index)
        for batch in (first, other):
            pieces = batch.source[row, : batch.source_lengths[row] - 1].tolist()
            assert pieces[0] == whole[0]  # the tag
            assert toy.tokenizers[0].decode(pieces) == toy.tokenizers[0].decode(whole)


def test_a_sampled_segmentation_that_is_too_long_gives_way_to_the_best(task: Callable[..., TranslationTask]) -> None:
    limit = 12
    toy = task("data.subword_alpha=0.01", f"data.max_tokens={limit}")
    sampled = 0
    for _ in range(toy.sampler.batches_in_epoch):
        plan = toy.draw()
        batch = toy.batch(plan)
        assert batch.source_lengths.max() <= limit + 1
        assert batch.target_inputs.shape[1] <= limit + 1
        best = [toy.parts[part].example(index)[0].tolist() for part, index in plan]
        sampled += sum(batch.source[i, : len(row)].tolist() != row for i, row in enumerate(best))
    assert sampled


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_word_dropout_keeps_its_rate(task: Callable[..., TranslationTask], rate: float) -> None:
    """Source pieces become unknown, others in each epoch and the same after a restart; tags and targets stay."""
    changes = [f"data.word_dropout={rate}", "data.train.0.both_directions=true"]
    toy, again = task(*changes), task(*changes)
    unknown, gaps, pieces = toy.tokenizers[0].unk_id, 0, 0
    for _ in range(toy.sampler.batches_in_epoch):
        plan = toy.draw()
        batch = toy.batch(plan)
        assert torch.equal(batch.source, again.batch(again.draw()).source)
        for row, (part, index) in enumerate(plan):
            whole = toy.parts[part].example(index)[0].tolist()
            got = batch.source[row, : len(whole)].tolist()
            assert got[0] == whole[0]
            assert all(g in (w, unknown) for g, w in zip(got, whole, strict=True))
            gaps += sum(g != w for g, w in zip(got, whole, strict=True))
            pieces += len(whole) - 1
        assert unknown not in batch.targets
    assert abs(gaps / pieces - rate) < 4 * (rate * (1 - rate) / pieces) ** 0.5  # four standard deviations
    toy.sampler.epoch += 1
    assert not torch.equal(toy.batch(plan).source, batch.source)


def test_a_plan_is_described_by_file_line_and_text(task: Callable[..., TranslationTask], corpora: Path) -> None:
    toy = task()
    text = (corpora / "train.tsv").read_text(encoding="utf-8").splitlines()[4].split("\t")[0]
    number = next(i for i in range(300) if toy.prepared.locate(0, i).endswith("line 5"))
    assert toy.describe(np.array([[0, number]])) == f"{corpora / 'train.tsv'}, line 5 ('{text}')"


# ---- judging


def test_the_validation_loss_is_the_mean_over_all_target_pieces(task: Callable[..., TranslationTask]) -> None:
    toy = task("data.train.0.both_directions=true", "data.dev.0.both_directions=true")
    torch.manual_seed(0)
    model = Transformer(toy.config).eval()
    total, pieces = 0.0, 0
    with torch.no_grad():
        for source, target, pairs in toy.dev():
            assert {source, target} == {"en", "de"}
            for pair in pairs:
                tag = toy.tokenizers[0].tag_id(f"<2{target}>")
                rows = [tag, *toy.tokenizers[0].encode(pair.source)], toy.tokenizers[1].encode(pair.target)
                batch = toy._collate([rows])
                total += float(model(batch))
                pieces += batch.num_tokens
        metrics = toy.validate(model)
    assert metrics == {"loss": pytest.approx(total / pieces, rel=1e-5)}


def test_development_pairs_that_are_all_too_long(task: Callable[..., TranslationTask]) -> None:
    toy = task()
    toy.preset.data.__dict__["max_tokens"] = 1
    with pytest.raises(DataError, match="no development pair has at most 1 pieces"):
        toy.validate(Transformer(toy.config))


def test_scores_of_translations_with_their_signatures(task: Callable[..., TranslationTask]) -> None:
    changes = ["validation.metrics=[bleu, chrf]", "validation.sentences=4"]
    toy = task(*changes)
    model = Transformer(toy.config).eval()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    metrics = toy.validate(model)
    assert list(metrics) == ["bleu", "chrf"]
    assert "tok:13a" in toy.signatures["bleu"]
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())
    assert toy.state_dict()["signatures"] == toy.signatures
    both = task(
        *changes,
        "data.train.0.both_directions=true",
        "data.dev.0.both_directions=true",
        f"output={toy.preset.output.with_name('both')}",
    )
    metrics = both.validate(Transformer(both.config).eval())
    assert list(metrics) == ["bleu", "bleu_en_de", "bleu_de_en", "chrf", "chrf_en_de", "chrf_de_en"]
    assert metrics["chrf"] == pytest.approx((metrics["chrf_en_de"] + metrics["chrf_de_en"]) / 2)
    assert "chrf" not in both.signatures
    assert "tok:13a" in both.signatures["bleu_de_en"]


# ---- whole runs


def run(settings: dict[str, Any], *changes: str) -> Path | None:
    return train(from_dict(Preset, override(settings, changes)), quiet)


def newest(folder: str | Path) -> Any:
    return CheckpointFolder(Path(folder) / "training").load()


def assert_same_runs(first: Path, second: Path) -> None:
    """Two folders hold the same run, but for the time it took."""
    ours, theirs = newest(first), newest(second)
    for mine, other in ((ours.weights, theirs.weights), (ours.tensors, theirs.tensors)):
        assert mine.keys() == other.keys()
        assert all(torch.equal(mine[name], other[name]) for name in mine)
    for state in (ours.state, theirs.state):
        del state["seconds"]
        for record in [*state["history"], *state["window"]]:
            for name in ("minutes", "tokens_per_second", "seconds"):
                record.pop(name, None)
    assert ours.state == theirs.state
    for name in ("model.safetensors", "config.json", "tokenizer.model", "generation.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()


def test_a_run_makes_a_model_folder(settings: dict[str, Any]) -> None:
    said: list[str] = []
    changes = ["storage=float16", "data.train.0.both_directions=true", "description=A toy."]
    folder = train(from_dict(Preset, override(settings, changes)), said.append)
    assert folder == Path(settings["output"])
    assert "parameters" in said[-1]
    assert "batches an epoch" in said[-1]
    model, section = load_model(folder)
    assert section == {"name": "translation", "directions": [["en", "de"], ["de", "en"]], "tagged": True}
    assert load_tokenizers(folder)[0].vocab_size == model.config.source_vocab_size
    weights = newest(folder).weights
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach(), weights[name].half().float())
    assert json.loads((folder / "generation.json").read_text())["beam"] == 5
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "A toy." in card
    assert re.search(r"\| 6 \| \d\.\d \|", card)
    assert (folder / "curve.png").exists()
    assert not list(folder.glob(".*"))


def test_a_run_starts_from_a_model(settings: dict[str, Any], corpora: Path) -> None:
    """It goes on where that stood: a rate of almost nothing leaves its weights as they were."""
    base = train(from_dict(Preset, settings), str)
    assert base is not None
    before = load_model(base)[0]
    changes = ["tokenizer={}", "model={}", f"start.model={base}", f"output={corpora / 'more'}"]
    said: list[str] = []
    tiny = ["train.schedule.peak=1e-12", "train.steps=1", "train.validate_every=0"]
    more = train(from_dict(Preset, override(settings, [*changes, *tiny])), said.append)
    assert more is not None
    assert f"starting from {base}" in said
    after = load_model(more)[0]
    assert after.config == before.config
    for mine, theirs in zip(after.parameters(), before.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-9)
    with pytest.raises(ModelError, match=r"weight.*(missing|expected|no place)"):
        wrong = ["model.d_ff=48", f"output={corpora / 'wrong'}"]
        train(from_dict(Preset, override(settings, [*changes, *wrong])), str)


def test_n_and_n_steps_are_2n_steps_with_everything_on(settings: dict[str, Any]) -> None:
    """Accumulation, sampled subwords, dropout, both directions, fractions, early stopping, averages, two epochs."""
    changes = [
        "data.train.0.both_directions=true",
        "data.train.0.weight=0.6",
        "data.subword_alpha=0.2",
        "data.word_dropout=0.1",
        "model.embedding_noise=5",
        "model.attention_dropout=0.1",
        "train.steps=12",
        "train.tokens=600",
        "train.accumulate=2",
        "train.ema=0.9",
        "train.stopping.patience=5",
        "train.keep_best=2",
        "train.final=average_best",
        "train.log_every=5",
    ]
    parent = Path(settings["output"]).parent
    assert run(settings, *changes, f"output={parent / 'whole'}")
    assert newest(parent / "whole").state["stream"]["epoch"] >= 1
    for steps in (5, 8, 12):
        assert run(settings, *changes, f"output={parent / 'parts'}", f"train.steps={steps}")
    assert_same_runs(parent / "parts", parent / "whole")


def test_n_and_n_steps_are_2n_steps_on_two_cores(settings: dict[str, Any]) -> None:
    changes = ["train.threads=2", "train.validate_every=0", "data.subword_alpha=0.2", "train.steps=4"]
    parent = Path(settings["output"]).parent
    run(settings, *changes, f"output={parent / 'whole'}")
    for steps in (2, 4):
        run(settings, *changes, f"output={parent / 'parts'}", f"train.steps={steps}")
    assert_same_runs(parent / "parts", parent / "whole")


def test_a_signal_during_the_training(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Path(settings["output"]).parent
    run(settings, f"output={parent / 'whole'}")
    step = Trainer.step

    def watched(trainer: Trainer) -> dict[str, float]:
        if trainer.step_count == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", watched)
        assert run(settings) is None
    assert run(settings) == Path(settings["output"])
    assert_same_runs(Path(settings["output"]), parent / "whole")


def test_two_half_batches_are_one_batch(settings: dict[str, Any]) -> None:
    """With the same examples in a step, the gradient does not depend on how they are spread over micro-batches."""
    preset = from_dict(Preset, override(settings, ["model.dropout=0", "train.validate_every=0"]))
    prepare(preset, quiet)
    plans = [TranslationTask(preset, Prepared.open(preset)).draw()]
    found = []
    for cut in (1, 2, 3):
        torch.manual_seed(0)
        task = TranslationTask(preset, Prepared.open(preset))
        parts = iter(np.array_split(plans[0], cut))
        task.draw = lambda parts=parts: next(parts)  # type: ignore[method-assign]
        changed = from_dict(Preset, override(settings, ["model.dropout=0", f"train.accumulate={cut}"]))
        trainer = Trainer(Transformer(task.config), task, changed.train, preset.output)
        values = trainer.step()
        found.append((values["loss"], values["grad_norm"], trainer.optimizer.state_dict()))
    for loss, norm, moments in found[1:]:
        assert loss == pytest.approx(found[0][0], abs=1e-6)
        assert norm == pytest.approx(found[0][1], rel=1e-5)
        for name, value in moments.items():
            torch.testing.assert_close(value, found[0][2][name], rtol=1e-4, atol=1e-7)


def test_a_loss_that_is_not_finite_names_corpus_and_line(
    settings: dict[str, Any], corpora: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = (corpora / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines[41:41] = ["", "zebra\tZebra"]
    (corpora / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    changes = ["model.tie=decoder", "train.steps=40", "train.checkpoint_every=1", "train.validate_every=0"]
    preset = from_dict(Preset, override(settings, changes))
    prepare(preset, quiet)
    tokenizer = Prepared.open(preset).tokenizers[0]
    z = next(i for i in tokenizer.encode("zebra") if "z" in tokenizer.pieces([i])[0])
    initialise = Transformer._initialise

    def poisoned(model: Transformer) -> None:
        initialise(model)
        with torch.no_grad():
            model.source_embedder.tokens.weight[z] = float("nan")

    monkeypatch.setattr(Transformer, "_initialise", poisoned)
    with pytest.raises(TrainingError) as caught:
        train(preset, quiet)
    assert f"the loss is not finite. The cause is {corpora / 'train.tsv'}, line 43 ('zebra'). " in str(caught.value)
    assert not list(preset.output.rglob(".tmp-*"))


def test_what_is_wrong_with_the_development_set_is_known_at_once(settings: dict[str, Any], corpora: Path) -> None:
    assert run(settings, "train.steps=2")
    (corpora / "dev.tsv").write_bytes(b"\xff\n")
    with pytest.raises(DataError, match=r"dev\.tsv, line 1"):
        run(settings, "train.steps=4")


def test_a_run_that_fails_before_it_began_leaves_nothing(settings: dict[str, Any], corpora: Path) -> None:
    (corpora / "train.tsv").write_bytes(b"\xff\n")
    with pytest.raises(DataError):
        run(settings)
    assert not Path(settings["output"]).exists()


# ---- what makes a model robust


def test_typing_errors_are_drawn_anew_each_epoch_and_alike_after_a_restart(
    task: Callable[..., TranslationTask],
) -> None:
    """On the source only; the target is as the corpus has it."""
    changes = ["data.typing_noise=0.5", "data.train.0.both_directions=true"]
    toy, again = task(*changes), task(*changes)
    plan = toy.draw()
    first, same = toy.batch(plan), again.batch(again.draw())
    assert torch.equal(first.source, same.source)
    clean = toy._collate([toy.parts[part].example(index) for part, index in plan])
    assert torch.equal(first.targets, clean.targets)
    changed = 0
    for row, (part, index) in enumerate(plan):
        whole, _ = toy.parts[part].example(index)
        pieces = first.source[row, : first.source_lengths[row] - 1].tolist()
        assert pieces[0] == whole[0]  # the tag
        text, noisy = (toy.tokenizers[0].decode(ids) for ids in (whole, pieces))
        assert len(text.split()) == len(noisy.split())
        changed += text != noisy
    assert changed > len(plan) / 2
    toy.sampler.epoch = 1
    assert toy.batch(plan).source.shape != first.source.shape or not torch.equal(toy.batch(plan).source, first.source)


def test_typing_errors_need_a_keyboard(settings: dict[str, Any]) -> None:
    chinese = override(settings, ["data.typing_noise=0.5", "data.train.0.source=zh", "data.dev=[]",
                                  "train.validate_every=0"])  # fmt: skip
    preset = from_dict(Preset, chinese)
    prepare(preset, quiet)
    with pytest.raises(ConfigError, match="no source language of this run has a keyboard"):
        TranslationTask(preset, Prepared.open(preset))


@pytest.mark.parametrize(
    "change",
    ["regularise.r_drop=1", "regularise.adversarial=0.5", "model.layer_drop=0.5", "data.typing_noise=0.3",
     "regularise={r_drop: 1, adversarial: 0.5}", "regularise.int8=true"],
)  # fmt: skip
def test_n_and_n_steps_are_2n_steps_with_it(settings: dict[str, Any], corpora: Path, change: str) -> None:
    """Bit for bit; and it makes a difference."""
    plain = override(settings, ["train.validate_every=0", "train.schedule.warmup=1", change])
    for output, steps in (("whole", [4]), ("parts", [2, 4])):
        for stop in steps:
            values = override(plain, [f"output={corpora / output}", f"train.steps={stop}"])
            assert train(from_dict(Preset, values), quiet) == corpora / output
    whole, parts = ((corpora / name / "model.safetensors").read_bytes() for name in ("whole", "parts"))
    assert whole == parts
    usual = override(settings, ["train.validate_every=0", "train.schedule.warmup=1", "train.steps=4"])
    folder = train(from_dict(Preset, override(usual, [f"output={corpora / 'usual'}"])), quiet)
    assert folder is not None
    assert (folder / "model.safetensors").read_bytes() != whole


def test_a_private_run_says_so_in_its_card(settings: dict[str, Any], corpora: Path) -> None:
    pytest.importorskip("opacus", reason="Opacus is not installed (regard[private])")
    quick = override(settings, ["train.validate_every=0", f"output={corpora / 'base'}"])
    base = train(from_dict(Preset, quick), quiet)
    privacy = "train.privacy={examples: 30, noise: 1.0, delta: 1e-4}"
    tuned = override(settings, ["tokenizer={}", "model={}", f"start.model={base}", "train.validate_every=0", privacy])
    for name, change in (("full", "train.steps=3"), ("adapter", "tune={method: lora, rank: 2}")):
        values = override(tuned, ["train.steps=3", change, f"output={corpora / name}"])
        folder = train(from_dict(Preset, values), quiet)
        assert folder is not None
        assert "0.0001)-differentially private for one training example" in (folder / "README.md").read_text()
    for change, message in (
        ("data.train.0.both_directions=true", "counts each pair once"),
        ("data.join={share: 0.1}", "joined examples show a pair more than once"),
        ("data.temperature=2", "counts each pair once"),
    ):
        with pytest.raises(ConfigError, match=message):
            from_dict(Preset, override(tuned, [change]))
    with pytest.raises(ConfigError, match="a vocabulary would be learned from the private text"):
        from_dict(Preset, override(settings, [privacy]))

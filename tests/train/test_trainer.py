import json
import math
import os
import resource
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from regard.base.errors import RegardError
from regard.train.config import ScheduleConfig, StoppingConfig
from regard.train.trainer import Trainer, TrainingError

TIMES = ("minutes", "tokens_per_second", "seconds")


def everything(trainer: Trainer) -> dict[str, Any]:
    """All that a run is made of, but the time it took."""
    history = [{k: v for k, v in record.items() if k not in TIMES} for record in trainer.history]
    values: dict[str, Any] = {
        "weights": trainer.optimizer.weights(),
        "moments": trainer.optimizer.state_dict(),
        "parameters": dict(trainer.model.named_parameters()),
        "average": trainer.average.values if trainer.average else {},
        "random": {"state": torch.get_rng_state()},
        "stream": trainer.task.state_dict(),
        "stopping": trainer.stopping.state_dict(),
        "best": trainer.best_scores,
        "tokens": trainer.tokens_seen,
        "step": trainer.step_count,
        "history": history,
        "next": trainer.task.draw(),
    }
    return {k: {n: t.clone() if isinstance(t, Tensor) else t for n, t in v.items()} if isinstance(v, dict) else v
            for k, v in values.items()}  # fmt: skip


def assert_same(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        if isinstance(value, dict) and any(isinstance(v, Tensor) for v in value.values()):
            assert value.keys() == theirs[key].keys()
            assert all(torch.equal(value[name], theirs[key][name]) for name in value), key
        else:
            assert value == theirs[key], key


def interrupt(trainer: Trainer, step: int, number: int = signal.SIGINT, times: int = 1) -> None:
    """Send a signal to this process while the trainer takes ``step``."""
    batch, left = trainer.task.batch, [times]

    def watched(plan: Any) -> Any:
        if trainer.step_count == step - 1 and left[0]:
            left[0] -= 1
            os.kill(os.getpid(), number)
        return batch(plan)

    trainer.task.batch = watched  # type: ignore[method-assign]


# ---- one step


def test_the_loss_is_normalised_by_the_tokens_of_the_whole_step(toy: Any) -> None:
    """Four sentences as one batch, as two micro-batches of two and as four of one: one gradient."""
    found = []
    for width, accumulate in ((4, 1), (2, 2), (1, 4)):
        task = toy.task(width, sentences=8)
        trainer = toy.trainer(task=task, dropout=0.0, accumulate=accumulate, clip=0.0)
        losses = [trainer.step()["loss"] for _ in range(4)]
        found.append((losses, trainer.optimizer.weights(), trainer.tokens_seen))
    for losses, weights, tokens in found[1:]:
        assert losses == pytest.approx(found[0][0], abs=1e-6)
        assert tokens == found[0][2]
        for name, value in weights.items():
            torch.testing.assert_close(value, found[0][1][name], rtol=0, atol=1e-6)


def test_a_step_is_the_hand_formula(toy: Any) -> None:
    trainer = toy.trainer(dropout=0.0, schedule=ScheduleConfig(kind="constant", peak=0.1, warmup=0), clip=0.0)
    model = trainer.model
    batch = trainer.task.batch(toy.task().draw())
    gradient = torch.autograd.grad(model(batch) / batch.num_tokens, model.out.bias)[0]
    before = model.out.bias.detach().clone()
    values = trainer.step()
    torch.testing.assert_close(model.out.bias.detach(), before - 0.1 * gradient / (gradient.abs() + 1e-9))
    assert values["tokens"] == batch.num_tokens
    assert values["lr"] == 0.1


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_loss_that_is_not_finite_names_the_step_and_the_examples(toy: Any, where: str) -> None:
    task = toy.task(width=3, sentences=9)
    task.sentences = [sentence.clamp(max=8) for sentence in task.sentences]
    task.sentences[7] = torch.tensor([3, 10, 4])  # nobody else has word 10

    def loss(model: nn.Module, batch: Any) -> Tensor:
        value = model(batch)
        if 10 not in batch.inputs:
            return value
        # the square root has an infinite slope at 0
        return value + (math.nan if where == "loss" else torch.sqrt(value - value.detach()))

    task.loss = loss
    trainer = toy.trainer(task=task, checkpoint_every=1)
    with pytest.raises(TrainingError, match=rf"the {where} is not finite\. The cause is sentence 7\. ") as caught:
        trainer.train()
    assert f"step {trainer.step_count + 1}: " in str(caught.value)
    assert "The checkpoints in" in str(caught.value)
    assert trainer.step_count >= 1
    assert trainer.checkpoints.steps() == [trainer.step_count]
    assert all(weight.isfinite().all() for weight in trainer.optimizer.weights().values())


def test_weights_that_diverged_are_not_blamed_on_one_example(toy: Any) -> None:
    trainer = toy.trainer()
    with torch.no_grad():
        trainer.model.out.bias.fill_(math.nan)
    with pytest.raises(TrainingError, match=r"step 1: the loss is not finite\. Each of the 2 examples does that: "):
        trainer.train()


def test_a_sum_that_is_not_finite_names_all_examples(toy: Any) -> None:
    task = toy.task(width=8)
    task.loss = lambda model, batch: model(batch) * (math.inf if len(batch.inputs) > 8 else 1)
    with pytest.raises(TrainingError, match=r"None of this process's examples does that alone: .*; and 3 more\."):
        toy.trainer(task=task).train()


# ---- exact resume

RICH: dict[str, Any] = {
    "steps": 24,
    "accumulate": 3,
    "ema": 0.9,
    "log_every": 5,
    "validate_every": 4,
    "checkpoint_every": 6,
    "keep_last": 3,
    "keep_best": 2,
    "stopping": StoppingConfig(patience=9),
}


@pytest.mark.parametrize(
    ("at", "final"), [(1, "last"), (7, "average_last"), (8, "ema"), (12, "average_best"), (23, "average_last")]
)
def test_n_and_n_steps_are_2n_steps_bit_for_bit(toy: Any, at: int, final: str) -> None:
    whole = toy.trainer("whole", **RICH, final=final)
    assert whole.train() == toy.folder / "whole"
    first = toy.trainer("parts", **RICH, final=final)
    interrupt(first, at)
    assert first.train() is None
    assert first.checkpoints.steps()[-1] == at
    second = toy.trainer("parts", **RICH, final=final)
    torch.rand(100)  # whatever happened in between
    assert second.train() == toy.folder / "parts"
    assert_same(everything(second), everything(whole))
    models = [torch.load(toy.folder / run / "model.pt") for run in ("whole", "parts")]
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert (toy.folder / "parts" / "README.md").read_text() == (toy.folder / "whole" / "README.md").read_text()


def test_a_killed_run_goes_on_from_its_last_checkpoint_as_if_nothing_had_been(toy: Any) -> None:
    whole = toy.trainer("whole", **RICH, final="average_best")
    whole.train()
    killed = toy.trainer("parts", **RICH, final="average_best")
    killed.task.on_validate = lambda model: 1 / (16 - killed.step_count)  # by then the best of step 12 was replaced
    with pytest.raises(ZeroDivisionError):
        killed.train()
    assert killed.checkpoints.steps() == [6, 12]
    again = toy.trainer("parts", **RICH, final="average_best")
    again.train()
    assert_same(everything(again), everything(whole))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_resume_with_either_precision(toy: Any, precision: str) -> None:
    whole = toy.trainer("whole", precision=precision, ema=0.9)
    whole.train()
    first = toy.trainer("parts", precision=precision, ema=0.9)
    interrupt(first, 3)
    first.train()
    second = toy.trainer("parts", precision=precision, ema=0.9)
    second.train()
    assert_same(everything(second), everything(whole))
    assert next(second.model.parameters()).dtype == (torch.bfloat16 if precision == "bf16" else torch.float32)


def test_checkpoints_of_the_first_version_go_on(toy: Any) -> None:
    """They lack what was added since: the unfinished window, the last validation, the size of the epoch."""
    first = toy.trainer(validate_every=4)
    interrupt(first, 6)
    first.train()
    path = first.checkpoints.path(6) / "state.json"
    state = json.loads(path.read_text())
    for name in ("window", "validated"):
        del state[name]
    path.write_text(json.dumps(state))
    second = toy.trainer(validate_every=4)
    assert second.train()
    assert [r["step"] for r in second.history if "valid_loss" in r] == [4, 8]


def test_a_moving_average_that_is_asked_for_later_starts_from_the_weights(toy: Any) -> None:
    toy.trainer(steps=4).train()
    trainer = toy.trainer(steps=5, ema=0.5)
    trainer.resume()
    assert trainer.average is not None
    weights = trainer.optimizer.weights()
    assert all(torch.equal(trainer.average.values[name], weights[name]) for name in weights)
    trainer.step()
    assert all(not torch.equal(trainer.average.values[name], weights[name]) for name in weights)


def test_the_checkpoint_of_another_model_or_number_of_processes_is_refused(
    toy: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.trainer(steps=2).train()
    other = toy.trainer("other", steps=2)
    other.train()
    path = other.checkpoints.path(2) / "weights.safetensors"
    save_file({**load_file(path), "more": torch.zeros(2)}, path)
    with pytest.raises(TrainingError, match="of another model"):
        toy.trainer("other", steps=4).train()
    trainer = toy.trainer(steps=4)
    monkeypatch.setattr(trainer.processes, "world", 2)
    with pytest.raises(TrainingError, match="has 1 processes, this one 2"):
        trainer.resume()


# ---- ends


def test_steps(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = toy.trainer(steps=5)
    trainer.train()
    assert trainer.step_count == 5
    assert "finished: all 5 steps are taken (train.steps)" in capsys.readouterr().err


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 10), (2, 5), (3, 4)])
def test_epochs(toy: Any, accumulate: int, steps: int) -> None:
    trainer = toy.trainer(steps=0, epochs=2, accumulate=accumulate)  # of five batches each
    trainer.train()
    assert trainer.step_count == steps


def test_minutes_count_steps_only(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("regard.train.trainer.time.perf_counter", lambda: clock[0])
    task = toy.task()
    task.on_validate = lambda model: clock.__setitem__(0, clock[0] + 1000)
    batch = task.batch
    task.batch = lambda plan: (clock.__setitem__(0, clock[0] + 6), batch(plan))[1]
    trainer = toy.trainer(task=task, steps=0, minutes=0.5, validate_every=2)
    trainer.train()
    assert trainer.step_count == 5
    assert trainer.seconds == 30


def test_early_stopping_and_its_reason(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    task = toy.task()
    task.judgements = [3.0, 2.0, 2.5, 2.25, 1.0]
    trainer = toy.trainer(task=task, steps=50, validate_every=2, stopping=StoppingConfig(patience=2))
    trainer.train()
    assert trainer.step_count == 8
    assert "loss has not improved in 2 validations (best: 2.0000 at step 4)" in capsys.readouterr().err


def test_patience_is_not_lost_on_the_way(toy: Any) -> None:
    settings = {"steps": 50, "validate_every": 2, "stopping": StoppingConfig(patience=3)}
    for at in (7, None):
        task = toy.task()
        task.judgements = [3.0, 2.0, 2.5, 2.25, 2.25, 1.0]
        trainer = toy.trainer(task=task, **settings)
        if at:
            interrupt(trainer, at)
        trainer.train()
    assert trainer.step_count == 10


def test_a_metric_that_is_only_measured_is_not_needed_for_stopping(toy: Any) -> None:
    task = toy.task()
    task.validate = lambda model: {"bleu": 20.0}
    trainer = toy.trainer(task=task, validate_every=4)
    trainer.train()
    assert [r["valid_bleu"] for r in trainer.history if "valid_bleu" in r] == [20, 20]


def test_nothing_left_to_do_says_so_and_leaves_the_model_as_it_was(
    toy: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"steps": 6, "ema": 0.9, "final": "ema", "validate_every": 4}
    toy.trainer(**settings).train()
    before = {p.name: p.read_bytes() for p in (toy.folder / "run").iterdir() if p.is_file()}
    capsys.readouterr()
    again = toy.trainer(**settings)
    assert again.train() == toy.folder / "run"
    said = capsys.readouterr().err
    assert "resuming after step 6" in said
    assert "nothing is left to train: all 6 steps are taken (train.steps)" in said
    after = {p.name: p.read_bytes() for p in (toy.folder / "run").iterdir() if p.is_file()}
    assert before == after


def test_raising_the_steps_goes_on(toy: Any) -> None:
    whole = toy.trainer("whole", steps=9, validate_every=3)
    whole.train()
    for steps in (4, 9):
        trainer = toy.trainer("parts", steps=steps, validate_every=3)
        trainer.train()
    assert_same(everything(trainer), everything(whole))
    assert (toy.folder / "parts" / "config.json").read_text() == "9"


def test_a_finished_run_can_be_made_into_another_model(toy: Any) -> None:
    toy.trainer(steps=6, ema=0.9).train()
    first = torch.load(toy.folder / "run" / "model.pt")
    trainer = toy.trainer(steps=6, ema=0.9, final="ema")
    trainer.train()
    second = torch.load(toy.folder / "run" / "model.pt")
    assert trainer.average is not None
    assert all(torch.equal(second[name], value) for name, value in trainer.average.values.items())
    assert any(not torch.equal(first[name], second[name]) for name in first)


# ---- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_after_the_step_with_a_checkpoint(
    toy: Any, number: signal.Signals, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = toy.trainer()
    interrupt(trainer, 3, number)
    assert trainer.train() is None
    assert trainer.checkpoints.steps() == [3]
    assert not (toy.folder / "run" / "model.pt").exists()
    assert "stopped after step 3; run the same command again to go on" in capsys.readouterr().err
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_while_the_last_checkpoint_is_written(toy: Any) -> None:
    trainer = toy.trainer()
    save = trainer.checkpoints.save
    trainer.checkpoints.save = lambda *values: (os.kill(os.getpid(), signal.SIGTERM), save(*values))[1]
    assert trainer.train() is None
    assert trainer.checkpoints.steps() == [8]
    assert toy.trainer().train() == toy.folder / "run"


def test_a_second_ctrl_c_ends_at_once(toy: Any) -> None:
    trainer = toy.trainer(accumulate=2)
    interrupt(trainer, 3, times=2)  # once for each of the two micro-batches
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    assert trainer.step_count == 2
    assert trainer.checkpoints.steps() == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_validation_is_given_up_for_a_signal_and_made_up_for(toy: Any) -> None:
    settings = {**RICH, "accumulate": 1}
    whole = toy.trainer("whole", **settings)
    whole.train()
    first = toy.trainer("parts", **settings)
    first.task.on_validate = lambda model: os.kill(os.getpid(), signal.SIGTERM) if first.step_count == 12 else None
    assert first.train() is None
    assert first.checkpoints.steps()[-1] == 12
    assert not any(r["step"] == 12 and "valid_loss" in r for r in first.history)
    second = toy.trainer("parts", **settings)
    second.train()
    assert_same(everything(second), everything(whole))


# ---- judging


def test_validation_does_not_change_the_training(toy: Any) -> None:
    results = []
    for every in (2, 0):
        trainer = toy.trainer(str(every), validate_every=every, ema=0.9, steps=8)
        trainer.train()
        found = everything(trainer)
        found["stream"] = found["stream"]["position"]
        del found["history"]
        results.append(found)
    assert_same(*results)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_sees_the_moving_average(toy: Any, precision: str) -> None:
    seen = []
    task = toy.task()
    task.on_validate = lambda model: seen.append({n: p.detach().clone() for n, p in model.named_parameters()})
    trainer = toy.trainer(task=task, ema=0.9, validate_every=8, precision=precision)
    trainer.train()
    assert trainer.average is not None
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    for name, value in trainer.average.values.items():
        assert torch.equal(seen[0][name], value.to(dtype))
        assert not torch.equal(trainer.optimizer.weights()[name], value)
        assert torch.equal(dict(trainer.model.named_parameters())[name], trainer.optimizer.weights()[name].to(dtype))


def test_an_error_in_validation_leaves_the_weights_of_the_training(toy: Any) -> None:
    trainer = toy.trainer(ema=0.9)
    trainer.step()
    before = {name: p.detach().clone() for name, p in trainer.model.named_parameters()}
    assert trainer.average is not None
    with pytest.raises(KeyError), trainer.holding(trainer.average.values):
        raise KeyError
    assert all(torch.equal(p, before[name]) for name, p in trainer.model.named_parameters())


def test_the_finished_model_is_judged_when_it_was_not_yet(toy: Any) -> None:
    task = toy.task()
    toy.trainer("judged", task=task, validate_every=4).train()
    assert task.validations == 2  # steps 4 and 8: the weights of step 8 are the model
    task = toy.task()
    toy.trainer("between", task=task, validate_every=3).train()
    assert task.validations == 3  # steps 3 and 6, and the model
    task = toy.task()
    toy.trainer("other", task=task, validate_every=4, ema=0.9).train()
    assert task.validations == 3  # the average of step 8 was judged, but its weights are the model
    task = toy.task()
    toy.trainer("never", task=task).train()
    assert task.validations == 0


# ---- the finished model


def saved_at(trainer: Trainer, seen: dict[int, dict[str, Tensor]], weights: Callable[[], dict[str, Tensor]]) -> None:
    step = trainer.step

    def watched() -> dict[str, float]:
        values = step()
        seen[trainer.step_count] = {name: value.clone() for name, value in weights().items()}
        return values

    trainer.step = watched  # type: ignore[method-assign]


def test_final_average_last_is_the_mean_of_the_newest_checkpoints(toy: Any) -> None:
    trainer = toy.trainer(steps=9, checkpoint_every=2, keep_last=3, final="average_last")
    seen: dict[int, dict[str, Tensor]] = {}
    saved_at(trainer, seen, trainer.optimizer.weights)
    trainer.train()
    model = torch.load(toy.folder / "run" / "model.pt")
    for name, value in model.items():
        torch.testing.assert_close(value, (seen[6][name] + seen[8][name] + seen[9][name]) / 3)
    assert "mean of the checkpoints of steps 6, 8, 9" in (toy.folder / "run" / "README.md").read_text()


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_final_average_best_is_the_mean_of_what_the_best_validations_judged(toy: Any, ema: float) -> None:
    task = toy.task()
    task.judgements = [4.0, 1.0, 3.0, 2.0, 5.0]
    trainer = toy.trainer(task=task, steps=10, validate_every=2, keep_best=2, final="average_best", ema=ema)
    seen: dict[int, dict[str, Tensor]] = {}
    saved_at(trainer, seen, lambda: trainer.average.values if trainer.average else trainer.optimizer.weights())
    trainer.train()
    assert trainer.best_scores == {4: 1.0, 8: 2.0}
    for name, value in torch.load(toy.folder / "run" / "model.pt").items():
        torch.testing.assert_close(value, (seen[4][name] + seen[8][name]) / 2)


def test_a_validation_that_is_not_a_number_is_never_among_the_best(toy: Any) -> None:
    task = toy.task()
    task.judgements = [math.nan, 3.0, math.nan, 2.0]
    trainer = toy.trainer(task=task, steps=8, validate_every=2, keep_best=2)
    trainer.train()
    assert trainer.best_scores == {8: 2.0, 4: 3.0}


def test_final_average_best_without_a_validation_says_what_it_took(toy: Any) -> None:
    toy.trainer(steps=2, validate_every=100, keep_best=2, final="average_best").train()
    assert "step 2, since there was no validation" in (toy.folder / "run" / "README.md").read_text()


def test_a_model_that_was_half_moved_is_moved_whole(toy: Any) -> None:
    toy.trainer(steps=3).train()
    run = toy.folder / "run"
    finished = run / ".finished"
    finished.mkdir()
    (run / "config.json").rename(finished / "config.json")
    (finished / "config.json").write_text("moved")
    trainer = toy.trainer(steps=3)
    trainer._finish = lambda reporter: None  # type: ignore[method-assign]
    trainer.train()
    assert (run / "config.json").read_text() == "moved"
    assert not finished.exists()


def test_a_disk_that_is_full_at_the_end_leaves_the_checkpoint_and_the_earlier_model(toy: Any) -> None:
    toy.trainer(steps=3).train()
    run = toy.folder / "run"
    before = (run / "model.pt").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = toy.trainer(steps=4)
    trainer.task.save = lambda folder, outcome: (folder / "model.pt").write_bytes(bytes(20_000))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (15_000, hard))
        with pytest.raises(RegardError, match=r"cannot write .*Free some space"):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (run / "model.pt").read_bytes() == before
    assert trainer.checkpoints.steps() == [4]
    assert toy.trainer(steps=4).train() == run
    assert (run / "config.json").read_text() == "4"


def test_a_disk_that_is_full_at_a_checkpoint(toy: Any) -> None:
    toy.trainer(steps=2).train()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    trainer = toy.trainer(steps=8, checkpoint_every=3)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(RegardError, match=r"cannot write .*step-00000003: .*Free some space"):
            trainer.train()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert trainer.checkpoints.steps() == [2]
    again = toy.trainer(steps=8, checkpoint_every=3)
    again.train()
    assert again.step_count == 8


def test_what_a_run_reports(toy: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = toy.trainer(tensorboard=True, validate_every=4)
    trainer.train()
    lines = capsys.readouterr().err.splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["step 3", "step 4", "step 6"]
    assert "tokens/s" in lines[0]
    assert "left" in lines[0]
    assert "validation: loss " in lines[1]
    assert trainer.history[0]["epoch"] == pytest.approx(0.6)
    assert list((toy.folder / "run" / "training" / "tensorboard").glob("events.*"))
    assert (toy.folder / "run" / "curve.png").exists()

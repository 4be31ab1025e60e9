"""Against manual per-sample gradients and, for what a run costs, against Opacus itself."""

import re
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.base.errors import ConfigError
from regard.train.config import PrivacyConfig
from regard.train.privacy import Private, add_clipped, check_accountant, noise_for, spent
from regard.train.trainer import Trainer


def accountant() -> Any:
    return pytest.importorskip("opacus.accountants", reason="Opacus is not installed (regard[private])")


@pytest.fixture
def _with_opacus() -> None:
    accountant()


class PrivateToy:
    """Makes the toy task draw each sentence by itself."""

    def __init__(self, toy: Any):
        self.toy = toy

    def task(self) -> Any:
        task_class = self.toy.task

        class Drawn(task_class):  # type: ignore[misc, valid-type]
            sample_rate = 0.4

            def draw(self) -> list[int]:
                self.position += 1
                random = torch.Generator().manual_seed(self.position)
                return (torch.rand(len(self.sentences), generator=random) < 0.4).nonzero()[:, 0].tolist()

            def loss(self, model: nn.Module, batch: Any) -> Tensor:
                return model(batch)

        return Drawn()

    def trainer(self, output: str = "run", **settings: Any) -> Trainer:
        privacy = PrivacyConfig(**{"examples": 4, "noise": 1.0, **settings.pop("privacy", {})})
        return self.toy.trainer(output, task=self.task(), privacy=privacy, **settings)


@pytest.fixture
def private(toy: Any, _with_opacus: None) -> PrivateToy:
    return PrivateToy(toy)


def test_clipping_in_float64() -> None:
    """min(1, C/‖g‖) over all weights of an example together."""
    for scale, most in ((3.0, 0.5), (0.01, 0.5), (1.0, 100.0)):
        gradients = [scale * torch.randn(3, 4, dtype=torch.float64), None, scale * torch.randn(5, dtype=torch.float64)]
        sums = [torch.randn(3, 4, dtype=torch.float64), torch.randn(2, dtype=torch.float64), torch.randn(5).double()]
        expected = [value.clone() for value in sums]
        norm = sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
        for value, gradient in zip(expected, gradients, strict=True):
            if gradient is not None:
                value += gradient * min(1.0, most / norm)
        add_clipped(sums, gradients, most)
        for one, other in zip(sums, expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_gradients_are_manual_per_sample_ones(private: PrivateToy) -> None:
    """Without noise: the clipped gradients of single sentences, added up, over the size of a lot on average."""
    trainer = private.trainer(dropout=0.0, privacy={"noise": 1e-12, "clip": 0.3})
    source = trainer.gradients
    assert isinstance(source, Private)
    plan, parameters = [0, 3, 5, 6], trainer.optimizer.parameters
    expected = [torch.zeros_like(p) for p in parameters]
    clipped = 0
    for sentence in plan:
        batch = trainer.task.batch([sentence])
        gradients = torch.autograd.grad(trainer.model(batch) / batch.num_tokens, parameters)
        norm = float(torch.cat([g.flatten() for g in gradients]).norm())
        clipped += norm > 0.3
        for value, gradient in zip(expected, gradients, strict=True):
            value += gradient * min(1.0, 0.3 / norm) / 4
    assert clipped
    with torch.no_grad():
        total = float(trainer.model(trainer.task.batch(plan)))
    loss, tokens = source.compute([plan])
    assert tokens == trainer.task.batch(plan).num_tokens
    assert loss == pytest.approx(total, rel=1e-5)
    for master, value in zip(trainer.optimizer.masters, expected, strict=True):
        torch.testing.assert_close(master.grad, value, rtol=1e-5, atol=1e-7)


def test_noise_has_its_scale(private: PrivateToy) -> None:
    """σ C over the size of a lot, in every weight, another time another; an empty lot is noise alone."""
    trainer = private.trainer(privacy={"noise": 1.7, "clip": 0.6})
    drawn = []
    for _ in range(40):
        assert trainer.gradients.compute([[]]) == (0.0, 0)
        drawn.append(torch.cat([m.grad.flatten() for m in trainer.optimizer.masters if m.grad is not None]))
        trainer.optimizer.adamw.zero_grad()
    noise = torch.cat(drawn)
    scale = 1.7 * 0.6 / 4
    assert float(noise.std()) == pytest.approx(scale, rel=4 / (2 * len(noise)) ** 0.5)
    assert abs(float(noise.mean())) < 4 * scale / len(noise) ** 0.5
    assert not torch.equal(drawn[0], drawn[1])


def test_two_runs_draw_other_noise(private: PrivateToy) -> None:
    """Whatever the seed: who knows it could take the noise off."""
    one, other = private.trainer("one"), private.trainer("other")
    for trainer in (one, other):
        trainer.gradients.compute([[]])
    assert not torch.equal(one.optimizer.masters[0].grad, other.optimizer.masters[0].grad)  # type: ignore[arg-type]


def test_n_and_n_steps_are_2n_steps(private: PrivateToy) -> None:
    whole = private.trainer("whole", steps=6, ema=0.9)
    noise = whole.gradients.state_dict()
    for _ in range(6):
        whole.step()
    first = private.trainer("parts", steps=6, ema=0.9)
    first.gradients.load_state_dict(noise)
    for _ in range(3):
        first.step()
    first.save_checkpoint()
    second = private.trainer("parts", steps=6, ema=0.9)
    assert second.resume()
    for _ in range(3):
        second.step()
    ours, theirs = second.optimizer.weights(), whole.optimizer.weights()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_other_terms_are_refused(private: PrivateToy) -> None:
    private.trainer(steps=4).save_checkpoint()
    with pytest.raises(ConfigError, match=r"leave train\.privacy"):
        private.trainer(steps=4, privacy={"noise": 2.0}).resume()


def test_a_run_trains_and_says_what_it_promises(private: PrivateToy) -> None:
    trainer = private.trainer(steps=5, log_every=1)
    folder = trainer.train()
    assert folder is not None
    promise = trainer.gradients.promise(5)
    found = re.match(r"\(([\d.]+), 1e-05\)-differentially private for one training example", promise)
    assert found is not None
    assert float(found.group(1)) == pytest.approx(spent(1.0, 0.4, 5, 1e-5), abs=0.005)


@pytest.mark.usefixtures("_with_opacus")
def test_the_budget_is_that_of_opacus() -> None:
    """Step by step as Opacus counts, and the noise for a budget keeps to it."""
    rdp = accountant().RDPAccountant()
    for _ in range(50):
        rdp.step(noise_multiplier=1.1, sample_rate=0.02)
    assert spent(1.1, 0.02, 50, 1e-5) == pytest.approx(rdp.get_epsilon(1e-5), rel=1e-12)
    noise = noise_for(3.0, 0.02, 500, 1e-5)
    assert 2.8 < spent(noise, 0.02, 500, 1e-5) <= 3.0
    assert spent(noise, 0.02, 1000, 1e-5) > 3.0


@pytest.mark.usefixtures("_with_opacus")
def test_a_budget_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match=r"no noise makes 1,000,000 steps cost at most ε = 0\.001"):
        noise_for(0.001, 0.9, 1_000_000, 1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"examples": 4}, "give one of epsilon"),
        ({"examples": 4, "noise": 1.0, "epsilon": 3.0}, "give one of epsilon"),
        ({"examples": 0, "noise": 1.0}, "examples is 0"),
        ({"examples": 4, "noise": 1.0, "delta": 1.0}, "delta is 1.0"),
        ({"examples": 4, "noise": 1.0, "clip": 0.0}, "clip is 0.0"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        PrivacyConfig(**settings)


@pytest.mark.usefixtures("_with_opacus")
def test_what_does_not_go_with_privacy(toy: Any) -> None:
    privacy = PrivacyConfig(4, noise=1.0)
    with pytest.raises(ConfigError, match="accumulate has no effect with privacy"):
        toy.config(privacy=privacy, accumulate=2)
    with pytest.raises(ConfigError, match="set steps"):
        toy.config(privacy=PrivacyConfig(4, epsilon=3.0), steps=0, epochs=1)
    with pytest.raises(ConfigError, match="drawn one by one"):
        toy.trainer(privacy=privacy)


def test_without_opacus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    check_accountant(None)
    with pytest.raises(ConfigError, match=r"pip install 'regard\[private\]'"):
        check_accountant(PrivacyConfig(4, noise=1.0))

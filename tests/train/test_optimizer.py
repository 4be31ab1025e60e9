import copy
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from regard.train.optimizer import MasterAdamW, MovingAverage

RATES = [0.01, 0.02, 0.005]


def model(dtype: torch.dtype = torch.float32) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3, bias=False)).to(dtype)


def gradients(parameters: list[nn.Parameter], step: int, size: float = 1.0) -> list[Tensor]:
    random = torch.Generator().manual_seed(step)
    return [size * torch.randn(p.shape, generator=random) for p in parameters]


def master_adamw(module: nn.Module, clip: float = 0.0) -> MasterAdamW:
    return MasterAdamW(module, betas=(0.9, 0.98), eps=1e-9, weight_decay=0.1, clip=clip)


@pytest.mark.parametrize("clip", [0.0, 1.0, 100.0])
def test_float32_is_torch_adamw_with_its_clipping_bit_for_bit(clip: float) -> None:
    ours, theirs = model(), model()
    optimizer = master_adamw(ours, clip)
    decayed = [p for p in theirs.parameters() if p.dim() >= 2]
    plain = [p for p in theirs.parameters() if p.dim() < 2]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": plain, "weight_decay": 0.0}]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-9, fused=True)
    for step, rate in enumerate(RATES):
        for module in (ours, theirs):
            parameters = list(module.parameters())
            for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
                parameter.grad = gradient
        norm = torch.nn.utils.clip_grad_norm_(theirs.parameters(), clip or float("inf"))
        for group in adamw.param_groups:
            group["lr"] = rate
        adamw.step()
        assert optimizer.step(rate) == float(norm)
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


def test_the_first_step_is_the_hand_formula() -> None:
    module = model()
    optimizer, before = master_adamw(module), [p.detach().clone() for p in module.parameters()]
    parameters = list(module.parameters())
    for parameter, gradient in zip(parameters, gradients(parameters, 0), strict=True):
        parameter.grad = gradient
    optimizer.step(0.01)
    for old, new, gradient in zip(before, parameters, gradients(parameters, 0), strict=True):
        decay = 0.1 if old.dim() >= 2 else 0.0
        # after bias correction the first moments are the gradient and its square
        expected = old * (1 - 0.01 * decay) - 0.01 * gradient / (gradient.abs() + 1e-9)
        torch.testing.assert_close(new.detach(), expected)


def test_bf16_weights_are_rounded_from_float32_masters_which_are_those_of_float32_training() -> None:
    small, wide = model(torch.bfloat16), model(torch.bfloat16).float()
    optimizers = master_adamw(small), master_adamw(wide)
    for step in range(20):
        for module, optimizer in zip((small, wide), optimizers, strict=True):
            parameters = list(module.parameters())
            for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
                parameter.grad = gradient.bfloat16().to(parameter.dtype)
            optimizer.step(1e-5)  # far below the resolution of bf16
    for name, weight in optimizers[0].weights().items():
        assert weight.dtype == torch.float32
        assert torch.equal(weight, optimizers[1].weights()[name])
        assert torch.equal(dict(small.named_parameters())[name], weight.bfloat16())
    assert any(not torch.equal(w.bfloat16().float(), w) for w in optimizers[0].weights().values())


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_changes_nothing(bad: float) -> None:
    module = model()
    optimizer = master_adamw(module, clip=1.0)
    before = copy.deepcopy(module.state_dict())
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    parameters[0].grad[0, 0] = bad  # type: ignore[index]
    assert not torch.tensor(optimizer.step(0.1)).isfinite()
    assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
    assert all(parameter.grad is None for parameter in parameters)
    assert optimizer.state_dict() == {}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_state_goes_on_bit_for_bit_and_is_not_shared(dtype: torch.dtype) -> None:
    def run(module: nn.Module, optimizer: MasterAdamW, steps: range) -> None:
        for step in steps:
            parameters = list(module.parameters())
            for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
                parameter.grad = gradient.to(dtype)
            optimizer.step(0.01)

    whole, first, second = model(dtype), model(dtype), model(dtype)
    optimizers = [master_adamw(module) for module in (whole, first, second)]
    run(whole, optimizers[0], range(6))
    run(first, optimizers[1], range(3))
    weights = {name: value.clone() for name, value in optimizers[1].weights().items()}
    state = optimizers[1].state_dict()
    kept = {name: value.clone() for name, value in state.items()}
    optimizers[2].load_state_dict(weights, state)
    run(second, optimizers[2], range(3, 6))
    assert all(torch.equal(kept[name], value) for name, value in state.items())
    for name, value in optimizers[0].weights().items():
        assert torch.equal(optimizers[2].weights()[name], value)
    for name, value in optimizers[0].state_dict().items():
        assert torch.equal(optimizers[2].state_dict()[name], value)


def test_frozen_parameters_are_left_alone() -> None:
    module = model()
    frozen = next(module.parameters())
    frozen.requires_grad_(False)
    optimizer = master_adamw(module)
    assert "0.weight" not in optimizer.weights()
    for _, parameter in optimizer.named_parameters():
        parameter.grad = torch.ones_like(parameter)
    before = frozen.clone()
    optimizer.step(0.1)
    assert torch.equal(frozen, before)


def test_factors_on_the_rate_are_groups_of_torch_adamw() -> None:
    ours, theirs = model(), model()
    settings = {"betas": (0.9, 0.98), "eps": 1e-9, "weight_decay": 0.1, "clip": 0.0}
    optimizer = MasterAdamW(ours, **settings, factors={"0.weight": 0.1, "1.bias": 3.0})
    named = dict(theirs.named_parameters())
    groups = [
        {"params": [p], "lr": 0.02 * {"0.weight": 0.1, "1.bias": 3.0}.get(n, 1.0), "weight_decay": 0.1 * (p.dim() > 1)}
        for n, p in named.items()
    ]
    adamw = torch.optim.AdamW(groups, betas=(0.9, 0.98), eps=1e-9, fused=True)
    for step in range(3):
        for module in (ours, theirs):
            parameters = list(module.parameters())
            for parameter, gradient in zip(parameters, gradients(parameters, step), strict=True):
                parameter.grad = gradient
        adamw.step()
        optimizer.step(0.02)
    for mine, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=0, atol=1e-7)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_adjusts_a_step_sees_weights_and_gradients_and_has_the_last_word(dtype: torch.dtype) -> None:
    module = model(dtype)
    optimizer = master_adamw(module)
    given = dict(zip(optimizer.names, gradients(optimizer.parameters, 1), strict=True))
    for name, parameter in optimizer.named_parameters():
        parameter.grad = given[name].to(dtype)
    before = optimizer.weights()["0.bias"].clone()

    def adjust(weights: Mapping[str, Tensor], seen: Mapping[str, Tensor]) -> None:
        assert all(torch.equal(gradient, given[name].to(dtype).float()) for name, gradient in seen.items())
        assert not torch.equal(weights["0.bias"], before)  # the step has been taken
        weights["0.weight"].zero_()

    optimizer.step(0.01, adjust)
    assert not module.get_parameter("0.weight").any()
    assert module.get_parameter("2.weight").any()


def test_publish_goes_by_name() -> None:
    module = model()
    optimizer = master_adamw(module)
    weights = {name: torch.full_like(value, i) for i, (name, value) in enumerate(optimizer.weights().items())}
    optimizer.publish(dict(reversed(weights.items())))
    assert all(torch.equal(parameter, weights[name]) for name, parameter in module.named_parameters())


def test_the_moving_average_is_the_hand_formula() -> None:
    average = MovingAverage({"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}, 0.9)
    expected = torch.tensor([1.0, -2.0], dtype=torch.float64)
    for step in range(1, 200):
        weights = torch.tensor([step * 0.1, step**0.5], dtype=torch.float64)
        average.update({"w": weights}, step)
        decay = min(0.9, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * weights
    torch.testing.assert_close(average.values["w"], expected)


def test_the_moving_average_owns_its_values() -> None:
    weights = {"w": torch.zeros(2)}
    average = MovingAverage(weights, 0.9)
    weights["w"] += 1
    other = {"w": torch.ones(2)}
    assert torch.equal(average.values["w"], torch.zeros(2))
    average.load_state_dict(other)
    average.update({"w": torch.zeros(2)}, 1)
    assert torch.equal(other["w"], torch.ones(2))

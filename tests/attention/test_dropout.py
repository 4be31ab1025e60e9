"""Dropout from a pool of masks: what it keeps, how it scales, and that it can be repeated."""

import math
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from regard.attention import Dropout, dropout
from regard.attention.dropout import POOL_SIZE, UniformNoise, offsets_from


@pytest.fixture
def small_pool(monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(dropout, "POOL_SIZE", 1 << 12)
    monkeypatch.setattr(dropout, "_pools", {})
    return 1 << 12


@pytest.mark.parametrize("size", [POOL_SIZE // 2, POOL_SIZE // 2 + 1], ids=["from the pool", "larger than half of it"])
def test_keep_rate_and_scale(size: int) -> None:
    rate = 0.1
    x = torch.ones(size)
    y = Dropout(rate)(x)
    kept = y != 0
    # five standard deviations of a binomial
    assert float(kept.double().mean()) == pytest.approx(1 - rate, abs=5 * (rate * (1 - rate) / size) ** 0.5)
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 1 / (1 - rate)))


def test_neighbours_are_independent(small_pool: int) -> None:
    """Each element is dropped as often as it should be, in calls one after the other."""
    layer, x = Dropout(0.5), torch.ones(64)
    kept = torch.stack([layer(x) != 0 for _ in range(4000)]).double()  # calls × elements
    assert (kept.mean(0) - 0.5).abs().max() < 0.05
    correlation = torch.corrcoef(kept.T) - torch.eye(64)
    assert correlation.abs().max() < 0.1


@pytest.mark.usefixtures("small_pool")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("shape", [(), (0, 3), (7,), (3, 4, 5), (50, 50)])
def test_add_is_residual_plus_dropped(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    layer = Dropout(0.3)
    residual, x = torch.randn(2, *shape).to(dtype)
    state = torch.get_rng_state()
    together = layer.add(residual, x)
    torch.set_rng_state(state)
    apart = residual + layer(x)
    torch.testing.assert_close(together, apart, rtol=2e-2 if dtype == torch.bfloat16 else 1e-6, atol=1e-2)
    assert together.dtype == apart.dtype == dtype
    assert together.shape == shape


@pytest.mark.parametrize("layer", [Dropout(0.5).eval(), Dropout(0.0)], ids=["evaluation", "rate 0"])
def test_identity(layer: Dropout) -> None:
    residual, x = torch.randn(2, 10)
    state = torch.get_rng_state()
    assert layer(x) is x
    assert torch.equal(layer.add(residual, x), residual + x)
    assert torch.equal(torch.get_rng_state(), state)  # draws no numbers


@pytest.mark.usefixtures("small_pool")
@pytest.mark.parametrize("size", [100, 3000])
def test_gradient_is_the_mask(size: int) -> None:
    layer = Dropout(0.25)
    x, residual = torch.randn(2, size, dtype=torch.float64).unbind()
    x.requires_grad_()
    residual.requires_grad_()
    y, probe = layer(x), torch.randn(size, dtype=torch.float64)
    mask = (y / x).detach()
    torch.testing.assert_close(torch.autograd.grad((y * probe).sum(), x)[0], mask * probe)
    y = layer.add(residual, x)
    mask = ((y - residual) / x).detach()
    found = torch.autograd.grad((y * probe).sum(), [residual, x])
    assert torch.equal(found[0], probe)
    torch.testing.assert_close(found[1], mask * probe)


@pytest.mark.parametrize("size", [100, 3000])
def test_the_state_of_the_generator_is_enough_to_repeat_it(
    small_pool: int, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = Dropout(0.25), torch.ones(size)
    layer(x)
    state = torch.get_rng_state()
    first = [layer(x) for _ in range(3)]
    assert not torch.equal(first[0], first[1])
    monkeypatch.setattr(dropout, "_pools", {})  # as in another process
    torch.set_rng_state(state)
    assert all(torch.equal(layer(x), y) for y in first)


@pytest.mark.usefixtures("small_pool")
@pytest.mark.parametrize("size", [100, 3000])
def test_a_thread_can_have_numbers_of_its_own(size: int) -> None:
    """Threads that drop at the same time get what their seeds say, and leave the common numbers alone."""
    layer, x = Dropout(0.25), torch.ones(size)

    def work(seed: int) -> list[torch.Tensor]:
        with offsets_from(seed):
            return [layer(x) for _ in range(20)]

    expected = [work(seed) for seed in range(8)]
    state = torch.get_rng_state()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, range(8)))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(found, expected, strict=True):
        assert all(map(torch.equal, a, b))
    assert not torch.equal(expected[0][0], expected[1][0])
    layer(x)
    assert not torch.equal(torch.get_rng_state(), state)  # outside, as before


@pytest.mark.usefixtures("small_pool")
def test_a_pool_made_in_inference_mode_serves_in_training() -> None:
    layer, x = Dropout(0.25), torch.ones(5, requires_grad=True)
    with torch.inference_mode():
        layer(x)
    layer(x).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("rate", [-0.1, 1.0, 2.0])
def test_rates(rate: float) -> None:
    with pytest.raises(ValueError, match=r"lies in \[0, 1\), got"):
        Dropout(rate)


# ---- noise


def test_noise_is_uniform_with_the_published_size() -> None:
    """In (-α/√(T·D), α/√(T·D)), mean 0, variance a third of the square; nothing in evaluation."""
    noise, x = UniformNoise(5.0), torch.randn(400, 20, 32, dtype=torch.float64)
    drawn = noise(x) - x
    size = 5 / math.sqrt(20 * 32)
    assert size * 0.999 < float(drawn.abs().max()) <= size * (1 + 1e-9)
    count = drawn.numel()
    assert abs(float(drawn.mean())) < 4 * size / math.sqrt(3 * count)
    assert float(drawn.var()) == pytest.approx(size**2 / 3, rel=0.01)
    assert torch.equal(noise.eval()(x), x)
    assert torch.equal(UniformNoise(0.0)(x), x)


def test_noise_in_threads_comes_from_their_own_generator() -> None:
    noise, x = UniformNoise(1.0), torch.zeros(3, 4, 5)
    drawn = []
    for seed in (1, 1, 2):
        with offsets_from(seed):
            drawn.append(noise(x))
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_the_size_of_noise_is_not_negative() -> None:
    with pytest.raises(ValueError, match="not negative, got -1"):
        UniformNoise(-1)

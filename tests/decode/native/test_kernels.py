"""Packed matrices against exact integer arithmetic, on every instruction set that this processor has."""

import os
import subprocess
import sys
from pathlib import Path

import hypothesis.extra.numpy
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regard.base.errors import RegardError
from regard.decode.native_engine import instruction_set

native = pytest.importorskip("regard.decode._native", reason="the native engine is not built")
INSTRUCTION_SETS = ("avx512", "avxvnni", "avx512bw", "avx2", "portable")
SHAPES = [(1, 1, 1), (1, 64, 64), (2, 3, 5), (3, 100, 17), (5, 129, 48), (6, 64, 256), (7, 65, 130), (13, 200, 64)]


def random_case(rows: int, outputs: int, inputs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, int8 weights with the extremes among them, their scales, and a bias."""
    draw = np.random.default_rng(outputs * 1000 + inputs)
    weights = draw.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    weights[0], weights[-1] = 127, -127
    scales = draw.uniform(0.001, 0.1, outputs).astype(np.float32)
    return draw.normal(size=(rows, inputs)).astype(np.float32), weights, scales, draw.normal(size=outputs)


@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
def test_int8_is_exact(rows: int, outputs: int, inputs: int) -> None:
    x, weights, scales, bias = random_case(rows, outputs, inputs)
    x[0] = 1.0  # with weights of ±127: the largest sums that there are
    rounded = [native.quantise(row) for row in x]
    exact = np.stack([ints.astype(np.int64) - zero for ints, _, zero in rounded]) @ weights.T.astype(np.int64)
    expected = exact * np.array([[unit] for _, unit, _ in rounded], np.float64) * scales + bias
    found = native.Matrix((weights, scales), bias, True).multiply(x)
    # one float32 rounding each: of the sum, of the product with the scales, and of the result
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=3e-6 * np.abs(expected).max())


@given(hypothesis.extra.numpy.arrays(np.float32, st.integers(1, 200), elements=st.floats(-1e4, 1e4, width=32)))
def test_rounding_is_to_the_nearest(row: np.ndarray) -> None:
    """Half a unit off at most, twice that where zero and the value were rounded apart; zero stays exact."""
    ints, unit, zero = native.quantise(row)
    off = np.abs((ints.astype(np.float64) - zero) * unit - row)
    assert off.max() <= 1.001 * unit
    assert np.median(off) <= 0.501 * unit
    assert not off[row == 0].any()
    assert unit <= np.abs(row).max() / 63 + 1e-30


@pytest.mark.parametrize(("rows", "outputs", "inputs"), SHAPES)
def test_float32(rows: int, outputs: int, inputs: int) -> None:
    x, weights, scales, bias = random_case(rows, outputs, inputs)
    full = weights * scales[:, None]
    expected = x.astype(np.float64) @ full.T.astype(np.float64) + bias
    for stored in (full, (weights, scales)):
        found = native.Matrix(stored, bias, False).multiply(x)
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=2e-5 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["relu", "gelu", "silu"])
def test_activations(name: str) -> None:
    import torch

    x = np.linspace(-12, 12, 960, dtype=np.float32).reshape(-1, 1)
    found = native.Matrix(np.ones((1, 1), np.float32), [0.0], False).multiply(x, name)
    expected = getattr(torch.nn.functional, name)(torch.from_numpy(x).double()).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)


def test_rows_come_back() -> None:
    """Embeddings are read out of the packed output projection."""
    _, weights, scales, bias = random_case(1, 130, 70)
    full = weights * scales[:, None]
    for row in (0, 1, 15, 63, 64, 129):
        np.testing.assert_array_equal(native.Matrix((weights, scales), bias, True).row(row), full[row])
        np.testing.assert_array_equal(native.Matrix(full, bias, False).row(row), full[row])


def test_float_weights_are_rounded_as_on_disk() -> None:
    import torch

    from regard.model.folder import quantise_rows

    weight = torch.randn(70, 50)
    weight[3] = 0
    rounded, scale = quantise_rows(weight)
    packed = native.Matrix(weight.numpy(), np.zeros(70), True)
    for row in range(70):
        expected = (rounded[row].float() * scale[row]).numpy()
        np.testing.assert_allclose(packed.row(row), expected, rtol=1e-6)


def test_an_unknown_instruction_set_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGARD_ISA", "sse9")
    with pytest.raises(RegardError, match=r"REGARD_ISA is 'sse9'; this processor runs .*portable"):
        instruction_set()


@pytest.mark.slow
@pytest.mark.parametrize("name", INSTRUCTION_SETS)
def test_every_instruction_set(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests of this folder once more, on each; one that the processor lacks has nothing to test."""
    monkeypatch.setenv("REGARD_ISA", name)
    try:
        found = instruction_set()
    except RegardError:  # this processor lacks it, and says so
        return
    assert found == name
    here = Path(__file__).parent
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow and not soak"]
    files = [here / "test_kernels.py", here / "test_equality.py"]
    done = subprocess.run([*command, *files], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:]

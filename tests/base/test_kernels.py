"""The way of processors that have AVX-512 but do not multiply bf16, on those that do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from regard.base.kernels import training_kernels


@pytest.mark.slow
@pytest.mark.avx512_bf16
def test_bf16_widened() -> None:
    if training_kernels() is None:
        pytest.skip("the compiled kernels were not built: no C++ compiler?")
    tests = Path(__file__).parents[1]
    files = [tests / "attention" / "test_tiled.py", tests / "model" / "test_norm.py", tests / "model" / "test_loss.py"]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", "bfloat16", *files]
    done = subprocess.run(command, env={**os.environ, "REGARD_BF16": "widened"}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def test_none_for_types_they_do_not_know() -> None:
    import torch

    from regard.base.kernels import training_kernel

    assert training_kernel("layer_norm_forward", torch.float64) is None
    assert training_kernel("layer_norm_forward", torch.float16) is None

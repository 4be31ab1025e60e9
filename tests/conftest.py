"""What every test shares.

Tests write below the checkout only: the home, cache and temporary folders of the process (and of the
processes it starts) lie in ``.cache``. A test that needs something this machine may lack asks for a fixture
here, which skips it by name with the reason; with REGARD_NO_SKIP=1 a skipped test fails the run.
"""

import os
import random
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CACHE = ROOT / ".cache"


def _stay_in_the_checkout() -> None:
    folders = {
        "HOME": CACHE / "home",
        "TMPDIR": CACHE / "tmp",
        "PYTEST_DEBUG_TEMPROOT": CACHE / "tmp",
        "XDG_CACHE_HOME": CACHE,
        "XDG_CONFIG_HOME": CACHE / "home" / ".config",
        "XDG_DATA_HOME": CACHE / "home" / ".local" / "share",
        "MPLCONFIGDIR": CACHE / "matplotlib",
        "TORCH_HOME": CACHE / "torch",
        "TORCHINDUCTOR_CACHE_DIR": CACHE / "torchinductor",
        "TRITON_CACHE_DIR": CACHE / "triton",
        "HYPOTHESIS_STORAGE_DIRECTORY": CACHE / "hypothesis",
    }
    for name, folder in folders.items():
        folder.mkdir(parents=True, exist_ok=True)
        os.environ[name] = str(folder)
    tempfile.tempdir = None  # forget what was read from the environment before
    # More threads than this make small tensors slower; set before torch is first imported.
    os.environ.setdefault("OMP_NUM_THREADS", str(min(4, os.cpu_count() or 1)))
    if os.environ.get("REGARD_DATA"):  # tests change the working folder
        os.environ["REGARD_DATA"] = str((ROOT / os.environ["REGARD_DATA"]).resolve())


_stay_in_the_checkout()


@pytest.fixture(autouse=True)
def _same_random_numbers() -> None:
    """Start every test from the same seed, in whichever libraries it has loaded."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of corpora that REGARD_DATA names."""
    value = os.environ.get("REGARD_DATA")
    if not value:
        pytest.skip("REGARD_DATA is not set: this test reads real corpora")
    if not Path(value).is_dir():
        pytest.fail(f"REGARD_DATA is {value}, which is not a folder")
    return Path(value)


@pytest.fixture(scope="session")
def shipped_model() -> Path:
    """The folder of the model that comes with the package."""
    folder = ROOT / "src" / "regard" / "assets" / "model"
    if not (folder / "config.json").is_file():
        pytest.skip("the shipped model is not in this checkout")
    return folder


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def _has_avx512_bf16() -> bool:
    from regard.base.device import cpu_flags

    return "avx512_bf16" in cpu_flags()


def _has_avx512() -> bool:
    from regard.base.device import cpu_flags

    return {"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= cpu_flags()


_HARDWARE = {"gpu": _has_gpu, "avx512": _has_avx512, "avx512_bf16": _has_avx512_bf16}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out tests marked with hardware that this machine lacks: none can install it."""
    for name, is_there in _HARDWARE.items():
        marked = [item for item in items if item.get_closest_marker(name)]
        if marked and not is_there():
            config.hook.pytest_deselected(items=marked)
            items[:] = [item for item in items if item not in marked]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With REGARD_NO_SKIP=1 a skipped test fails the run: continuous integration has everything."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("REGARD_NO_SKIP") != "1" or reporter is None:
        return
    skipped = reporter.stats.get("skipped", [])
    if skipped and session.exitstatus == pytest.ExitCode.OK:
        reporter.write_line("")
        reporter.write_line(f"REGARD_NO_SKIP=1, but {len(skipped)} were skipped: this run fails.", red=True)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

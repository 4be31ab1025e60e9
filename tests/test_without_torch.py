"""What a plain ``pip install regard`` can do: everything but what trains, without PyTorch or any other extra.

The tests run in an environment that holds the base dependencies, and theirs, as links to those that are installed
here; ``.ci/fresh.py`` installs them for real.
"""

import json
import os
import subprocess
import sys
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from regard.base.extras import EXTRAS
from regard.decode.native_engine import why_not

DIRECTION = ("--source", "en", "--target", "de")
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(autouse=True)
def _needs_the_native_engine() -> None:
    if reason := why_not():
        pytest.skip(f"the native engine is not here, and nothing else translates without PyTorch: {reason}")


def base_distributions(root: Path) -> Iterator[metadata.Distribution]:
    """What ``pip install .`` brings, and what that brings."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted, seen = list(map(Requirement, project["dependencies"])), set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        if name in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(name)
        distribution = metadata.distribution(name)
        wanted += map(Requirement, distribution.requires or ())
        yield distribution


@pytest.fixture(scope="module")
def python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of such an environment."""
    folder = tmp_path_factory.mktemp("plain") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "regard").symlink_to(root / "src" / "regard")
    for distribution in base_distributions(root):
        for name in {file.parts[0] for file in distribution.files or ()} - {"..", "__pycache__"}:
            (packages / name).symlink_to(Path(str(distribution.locate_file(name))))
    return folder / "bin" / "python"


def environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}


@pytest.fixture
def regard(python: Path) -> Run:
    def run(*arguments: str | Path, text: str = "") -> subprocess.CompletedProcess[str]:
        command = [python, "-m", "regard", *map(str, arguments)]
        return subprocess.run(command, env=environment(), input=text, capture_output=True, text=True)

    return run


def test_there_are_no_extras(python: Path) -> None:
    code = f"from importlib.util import find_spec\nprint([name for name in {list(EXTRAS)} if find_spec(name)])"
    assert subprocess.run([python, "-c", code], env=environment(), capture_output=True, text=True).stdout == "[]\n"


@pytest.mark.usefixtures("shipped_model")
@pytest.mark.parametrize(
    ("arguments", "text", "shown"),
    [
        (["translate", *DIRECTION], "Good morning.\n", "\n"),
        (["translate", *DIRECTION, "--format", "json"], "Good morning.\n", '"alignment"'),
        (["explain", "The house is old.", *DIRECTION], "", "←"),
        (["demo"], "", "zh → en"),
        (["doctor"], "", "PyTorch         not installed"),
        (["--help"], "", "train a model"),
        (["train", "--help"], "", "preset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_translates_runs(regard: Run, arguments: list[str], text: str, shown: str) -> None:
    done = regard(*arguments, text=text)
    assert (done.returncode, done.stderr) == (0, "")
    assert shown in done.stdout


@pytest.mark.usefixtures("shipped_model")
def test_evaluate(regard: Run, tmp_path: Path) -> None:
    (tmp_path / "set.tsv").write_text("Good morning.\tGuten Morgen.\nThank you.\tDanke.\n")
    done = regard("evaluate", *DIRECTION, "--tsv", tmp_path / "set.tsv")
    assert done.returncode == 0, done.stderr
    assert "BLEU" in done.stdout


def wait_until_ready(address: str) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            urllib.request.urlopen(f"{address}/ready", timeout=60).close()
            return
        except urllib.error.HTTPError as error:
            error.close()
            assert time.monotonic() < deadline, "the server does not become ready"
            time.sleep(0.05)


@pytest.mark.usefixtures("shipped_model")
def test_serve(python: Path, tmp_path: Path) -> None:
    """It starts, translates, and says that it cannot learn from corrections."""
    command = [python, "-m", "regard", "serve", "--port", "0", "--data", str(tmp_path / "data")]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().split()[3]
            wait_until_ready(address)
            body = json.dumps({"q": "Good morning.", "source": "en", "target": "de"}).encode()
            request = urllib.request.Request(f"{address}/translate", body, {"content-type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                assert json.load(answer)["translatedText"]
            with urllib.request.urlopen(f"{address}/v1/status", timeout=60) as answer:
                learning = json.load(answer)["learning"]
        finally:
            server.terminate()
    assert learning["available"] is False
    assert "pip install 'regard[train]'" in learning["reason"]


@pytest.mark.usefixtures("shipped_model")
@pytest.mark.parametrize(
    "arguments",
    [
        ["train", "presets/numbers.yaml", "output=OUT"],
        ["pretrain", "presets/pretrain.yaml", "output=OUT"],
        ["generate", "nowhere"],
        ["tune", *DIRECTION, "--data", "presets/numbers/dev.tsv", "--output", "OUT"],
        ["import", "nowhere", "--output", "OUT"],
        ["export", "--to", "hf", "--output", "OUT"],
        ["compress", "MODEL", "--int8", "--output", "OUT"],
        ["translate", *DIRECTION, "--engine", "torch"],
        ["evaluate", *DIRECTION, "--tsv", "presets/numbers/dev.tsv", "--precision", "bf16"],
    ],
    ids=" ".join,
)
def test_what_needs_torch_says_so_in_one_line(
    regard: Run, tmp_path: Path, root: Path, shipped_model: Path, arguments: list[str]
) -> None:
    places = {"OUT": str(tmp_path / "out"), "MODEL": str(shipped_model), "output=OUT": f"output={tmp_path / 'out'}"}
    given = [str(root / a) if a.startswith("presets/") else places.get(a, a) for a in arguments]
    done = regard(*given)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("regard: error: ")
    assert line.endswith("needs PyTorch, which is not installed. Get it with: pip install 'regard[train]'")
    assert not (tmp_path / "out").exists()


def test_a_library_call_says_so_too(python: Path) -> None:
    code = "from regard.base.extras import MissingExtra\ntry:\n    from regard.attention import Mask\n"
    code += "except MissingExtra as error:\n    print(error)"
    done = subprocess.run([python, "-c", code], env=environment(), capture_output=True, text=True)
    assert "pip install 'regard[train]'" in done.stdout, done.stderr

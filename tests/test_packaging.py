"""What is installed is what is here: versions, pins, package data, and a README whose commands can be run."""

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import regard


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, Any]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pins(root: Path) -> dict[str, str]:
    """Distribution → the version that constraints.txt fixes."""
    lines = (root / "constraints.txt").read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        if line and not line.startswith("#"):
            name, pinned = re.fullmatch(r"([\w.-]+)==([\w.]+)", line).groups()  # type: ignore[union-attr]
            found[canonicalize_name(name)] = pinned
    return found


def test_the_version_stands_in_one_place(project: dict[str, Any]) -> None:
    assert "version" in project["dynamic"]
    assert version("regard") == regard.__version__


def test_everything_the_makefile_installs_is_pinned(project: dict[str, Any], pins: dict[str, str]) -> None:
    """Each direct requirement has a pin within its own range; wandb is nobody's default."""
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    requirements = [Requirement(text) for group in groups for text in group]
    for requirement in requirements:
        name = canonicalize_name(requirement.name)
        if name not in ("regard", "wandb"):
            assert name in pins, f"{name} has no pin in constraints.txt"
            assert requirement.specifier.contains(pins[name]), f"{name}=={pins[name]} is not {requirement.specifier}"


def test_a_wheel_holds_every_file(root: Path, tmp_path: Path) -> None:
    """Also those that are not Python: the model, the demo texts, py.typed."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "setup.py", "LICENSE", "README.md"):
        if (root / name).is_file():
            shutil.copy(root / name, source)
    leave_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "native", "_native.*")
    shutil.copytree(root / "src", source / "src", ignore=leave_out)
    nested = source / "src" / "regard" / "assets" / "model" / "deep" / "file.bin"  # as a tokeniser folder might be
    nested.parent.mkdir(parents=True, exist_ok=True)
    nested.write_bytes(b"x")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*command, tmp_path, source], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.name == f"regard-{regard.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    here = {str(file.relative_to(source / "src")) for file in (source / "src" / "regard").rglob("*") if file.is_file()}
    assert here - packed == set()
    assert {"regard/py.typed", "regard/assets/model/deep/file.bin"} <= packed
    assert {name.split("/")[0] for name in packed} == {"regard", f"regard-{regard.__version__}.dist-info"}


@pytest.fixture(scope="module")
def readme(root: Path) -> ModuleType:
    """The script that runs a document's commands."""
    spec = importlib.util.spec_from_file_location("readme", root / ".ci" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["readme"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


DOCUMENT = """\
# Title

```sh
echo one
```

<!-- not run: it downloads a lot -->

```bash
make demo
```

<!-- not run: this comment is about nothing -->
Some words.

1. In a list:

   ```python
   if True:
       print("two")
   ```

```text
not a command
```

```
nor this
```
"""


def test_blocks_of_a_document(readme: ModuleType) -> None:
    found = list(readme.blocks(DOCUMENT))
    assert [(block.line, block.language, block.code, block.not_run) for block in found] == [
        (4, "sh", "echo one", None),
        (10, "bash", "make demo", "it downloads a lot"),
        (19, "python", 'if True:\n    print("two")', None),
    ]


def test_a_block_that_is_not_closed_is_an_error(readme: ModuleType) -> None:
    with pytest.raises(ValueError, match="line 1: this block is never closed"):
        list(readme.blocks("```sh\nls\n"))


@pytest.mark.parametrize(
    ("language", "code", "ok"),
    [
        ("sh", "echo x > made && test -s made", True),
        ("sh", "false\ntrue", False),
        ("sh", "false | true", False),
        ("python", "import regard", True),
        ("python", "raise SystemExit(3)", False),
        ("sh", "sleep 20", False),
    ],
)
def test_a_failing_block_is_noticed(readme: ModuleType, tmp_path: Path, language: str, code: str, ok: bool) -> None:
    assert readme.run(readme.Block(1, language, code), tmp_path, timeout=5 if ok else 2) is ok


@pytest.mark.parametrize("name", ["README.md", "README.zh.md"])
def test_every_document_can_be_read(root: Path, readme: ModuleType, name: str) -> None:
    """The commands themselves are run by .ci/run."""
    found = list(readme.blocks((root / name).read_text(encoding="utf-8")))
    assert any(block.not_run is None for block in found)
    for block in found:
        if block.language == "python":
            compile(block.code, f"{name}:{block.line}", "exec")


def test_links_between_documents_lead_somewhere(root: Path) -> None:
    documents = [*root.glob("*.md"), *(root / "docs").glob("*.md")]
    broken = []
    for document in documents:
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text(encoding="utf-8")):
            if "://" not in target and not target.startswith("mailto:") and not (document.parent / target).exists():
                broken.append(f"{document.name}: {target}")
    assert broken == []

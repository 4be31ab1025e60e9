import sys
import tomllib
from pathlib import Path

import pytest

from regard.base.errors import RegardError
from regard.base.extras import EXTRAS, MissingExtra, explaining, is_installed, missing, require


def test_the_extras_are_those_of_the_project(root: Path) -> None:
    """Each package comes with the extra that is named, and with no smaller installation."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for package, (extra, purpose) in EXTRAS.items():
        distribution = package.replace("_", "-")
        assert any(text.startswith(distribution) for text in project["optional-dependencies"][extra])
        assert not any(text.startswith(distribution) for text in project["dependencies"])
        assert purpose


def test_the_error_says_what_to_install() -> None:
    error = missing("torch", "training")
    assert str(error) == ("training needs PyTorch, which is not installed. Get it with: pip install 'regard[train]'")
    assert error.name == "torch"
    assert isinstance(error, RegardError)
    assert isinstance(error, ImportError)


def test_an_import_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingExtra, match=r"this needs ONNX, .* pip install 'regard\[onnx\]'"), explaining():
        import onnx  # noqa: F401
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    with pytest.raises(ModuleNotFoundError), explaining():  # of no extra: it is a damaged installation
        import sacrebleu  # noqa: F401


def test_what_is_there_is_found_without_importing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_installed("numpy")
    require("torch", "this")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert not is_installed("torch")
    with pytest.raises(MissingExtra, match="the PyTorch engine needs PyTorch"):
        require("torch", "the PyTorch engine")

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from regard.base.lazy import lazy

INIT = """
from regard.base.lazy import lazy
__getattr__, __dir__, __all__ = lazy(__name__, {"Wine": "shelf", "count": "deep.rack"}, submodules=("shelf",))
"""


@pytest.fixture
def cellar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A package ``cellar`` with two lazy names and one lazy submodule."""
    package = tmp_path / "cellar"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text(INIT)
    (package / "shelf.py").write_text("class Wine:\n    year = 1982\n")
    (package / "deep" / "__init__.py").write_text("")
    (package / "deep" / "rack.py").write_text("def count():\n    return 12\n")
    monkeypatch.syspath_prepend(tmp_path)
    import cellar  # pyright: ignore[reportMissingImports]

    yield cellar
    for name in [name for name in sys.modules if name.split(".")[0] == "cellar"]:
        del sys.modules[name]


def test_nothing_is_loaded_until_it_is_used(cellar: ModuleType) -> None:
    assert "cellar.shelf" not in sys.modules
    assert cellar.Wine.year == 1982
    assert "cellar.shelf" in sys.modules
    assert "cellar.deep.rack" not in sys.modules


def test_a_name_is_looked_up_once(cellar: ModuleType) -> None:
    assert "count" not in vars(cellar)
    assert cellar.count() == 12
    assert vars(cellar)["count"] is cellar.count


def test_a_submodule_needs_no_import(cellar: ModuleType) -> None:
    assert cellar.shelf.Wine is cellar.Wine


def test_dir_and_all_list_what_is_not_loaded_yet(cellar: ModuleType) -> None:
    assert {"Wine", "count", "shelf", "__name__"} <= set(dir(cellar))
    assert cellar.__all__ == ["Wine", "count"]
    assert "cellar.shelf" not in sys.modules


def test_star_import_takes_the_public_names(cellar: ModuleType) -> None:
    namespace: dict[str, object] = {}
    exec("from cellar import *", namespace)
    assert {"Wine", "count"} <= set(namespace)


def test_an_unknown_name_gets_the_nearest(cellar: ModuleType) -> None:
    with pytest.raises(AttributeError, match=r"module 'cellar' has no attribute 'Wime'\. Did you mean 'Wine'\?"):
        _ = cellar.Wime
    assert not hasattr(cellar, "__path_of_nothing__")


def test_a_name_that_is_also_a_module_is_refused() -> None:
    with pytest.raises(ValueError, match="both a public name and a module"):
        lazy("cellar", {"shelf": "shelf"})

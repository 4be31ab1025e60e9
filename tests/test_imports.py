"""The house stands: a room imports only from lower floors, and starting up stays cheap."""

import ast
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import regard
from regard.cli.main import VERBS

PACKAGE = Path(regard.__file__).parent

FLOORS = {
    "base": 0,
    "attention": 1,
    "data": 1,
    "model": 2,
    "tune": 3,
    "decode": 3,
    "train": 3,
    "tasks": 4,
    "explain": 5,
    "compress": 5,
    "serve": 6,
    "cli": 7,
}


def imported_names(tree: ast.AST, package: str) -> Iterator[tuple[int, str]]:
    """Yield (line, dotted name) for every import in ``tree``, wherever it stands.

    Function bodies and TYPE_CHECKING blocks count: a hidden arrow is an arrow. ``from a import b``
    gives ``a.b``, since b may be a module; ``import_module("a.b")`` counts too.

    Args:
        tree: a parsed module.
        package: the package that relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                parents = package.split(".")
                start = parents[: len(parents) - (node.level - 1)]
                module = ".".join([*start, module] if module else start)
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}"
        elif isinstance(node, ast.Call) and node.args:
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            name = node.args[0]
            if function in ("import_module", "__import__") and isinstance(name, ast.Constant):
                yield node.lineno, str(name.value)


def violations(source: str, module: str, is_package: bool = False) -> list[str]:
    """Return one line for each import in ``source`` that goes up, goes sideways or hides where it goes.

    Args:
        source: Python text.
        module: its dotted name, such as ``regard.data.batches``.
        is_package: whether it is an ``__init__.py``.
    """
    room = module.split(".")[1] if module.count(".") else ""
    if room in ("", "__main__"):
        return []  # the front door may lead anywhere
    if room not in FLOORS:
        return [f"{module}: no floor is known for the room '{room}'"]
    found = []
    for line, name in imported_names(ast.parse(source), module if is_package else module.rpartition(".")[0]):
        parts = name.split(".")
        if parts[0] != "regard" or name == "regard.__version__":
            continue
        target = parts[1] if len(parts) > 1 else ""
        if target == room:
            continue
        where = f"{module}:{line}"
        if target not in FLOORS:
            found.append(f"{where}: '{name}' does not say which room it comes from")
        elif FLOORS[target] == FLOORS[room]:
            found.append(f"{where}: '{name}' is sideways, from {room} to {target}")
        elif FLOORS[target] > FLOORS[room]:
            found.append(f"{where}: '{name}' is up, from floor {FLOORS[room]} ({room}) to {FLOORS[target]} ({target})")
    return found


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def rooms() -> list[str]:
    return sorted(folder.name for folder in PACKAGE.iterdir() if (folder / "__init__.py").is_file())


def dotted(path: Path) -> str:
    parts = ("regard", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@pytest.mark.parametrize("path", modules(), ids=dotted)
def test_no_import_goes_up_or_sideways(path: Path) -> None:
    found = violations(path.read_text(encoding="utf-8"), dotted(path), is_package=path.name == "__init__.py")
    assert not found, "\n".join(found)


@pytest.mark.parametrize("room", rooms())
def test_every_room_has_a_floor_and_a_purpose(room: str) -> None:
    assert room in FLOORS
    tree = ast.parse((PACKAGE / room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), f"regard/{room}/__init__.py does not say what the room is for"


def test_rooms_hold_something_and_are_reachable() -> None:
    assert [room for room in rooms() if len(list((PACKAGE / room).glob("*.py"))) < 2] == []
    assert [room for room in rooms() if not hasattr(regard, room)] == []


@pytest.mark.parametrize("room", ["regard", *(f"regard.{room}" for room in rooms())])
def test_public_names_are_there(room: str) -> None:
    """Each name in ``__all__`` can be had, and type checkers see the lazy ones too."""
    module = import_module(room)
    public = getattr(module, "__all__", [])
    assert [name for name in public if not hasattr(module, name)] == []
    assert len(public) == len(set(public))
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    seen = {name.rpartition(".")[2] for _, name in imported_names(tree, room)}
    seen |= {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    assert set(public) - {"__version__"} <= seen


GOOD = {
    "down": "from regard.base.errors import RegardError",
    "own room": "from regard.model.layers import Layer",
    "own room, relative": "from .layers import Layer",
    "down, relative": "from ..attention import Mask",
    "another package": "import torch.nn.functional as F\nfrom numpy import asarray",
    "the version": "from regard import __version__",
    "a look-alike": "import regardless.train",
    "a string that is not an import": "open('regard.train')",
}
BAD = {
    "up": "from regard.train.trainer import Trainer",
    "up, plain": "import regard.decode.beam",
    "up, plain, renamed": "import numpy, regard.decode as d",
    "up, from the top": "from regard import tasks",
    "up, relative": "from ..train import trainer",
    "up, relative, the room itself": "from .. import train",
    "up, in a function": "def f():\n    from regard.cli.main import main\n    return main",
    "up, for type checkers": "if TYPE_CHECKING:\n    from regard.tasks.translation import Translator",
    "up, by name": "importlib.import_module('regard.serve.app')",
    "up, by the oldest name": "__import__('regard.serve')",
    "no room": "import regard",
    "a public name of the front door": "from regard import Translator",
    "everything": "from regard import *",
    "an unknown room": "from regard.cellar import wine",
}


@pytest.mark.parametrize("source", GOOD.values(), ids=GOOD.keys())
def test_checker_accepts(source: str) -> None:
    assert violations(source, "regard.model.transformer") == []


@pytest.mark.parametrize("source", BAD.values(), ids=BAD.keys())
def test_checker_refuses(source: str) -> None:
    assert len(violations(source, "regard.model.transformer")) == 1


def test_checker_refuses_sideways_both_ways() -> None:
    assert "sideways" in violations("from regard.data import Corpus", "regard.attention.mask")[0]
    assert "sideways" in violations("from ..decode import search", "regard.train.loop")[0]


def test_checker_resolves_relative_imports_of_packages() -> None:
    """In an ``__init__`` one dot is the room itself; in a module it is the folder around it."""
    assert violations("from .trainer import Trainer", "regard.train", is_package=True) == []
    assert violations("from ..decode import beam", "regard.train", is_package=True) != []
    assert violations("from ..loop import Loop", "regard.train.hooks.board") == []
    assert violations("from ...decode import beam", "regard.train.hooks.board") != []


def test_checker_wants_a_floor_for_every_room() -> None:
    assert "no floor" in violations("", "regard.cellar.wine")[0]
    assert violations("from regard.cli import main", "regard") == []
    assert violations("from regard.cli.main import run", "regard.__main__") == []


HEAVY = ("torch", "numpy", "sentencepiece", "tyro", "rich", "yaml")


def loaded_after(code: str) -> set[str]:
    """Return which heavy packages a fresh interpreter has loaded after ``code``."""
    program = f"{code}\nimport sys\nprint('loaded:', *(set({HEAVY!r}) & sys.modules.keys()))"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(result.stdout.splitlines()[-1].split()[1:])


def test_importing_regard_loads_nothing_heavy() -> None:
    assert loaded_after("import regard; dir(regard); regard.__version__") == set()


def test_help_loads_nothing_heavy() -> None:
    assert loaded_after("from regard.cli.main import main; assert main(['--help']) == 0") == set()


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_does_not_load_torch(verb: str) -> None:
    assert "torch" not in loaded_after(f"from regard.cli.main import main; assert main(['{verb}', '--help']) == 0")


def test_the_probe_sees_what_is_loaded() -> None:
    assert "numpy" in loaded_after("import numpy")


def test_help_answers_in_under_half_a_second() -> None:
    def seconds() -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "regard", "--help"], capture_output=True, check=True)
        return time.perf_counter() - start

    assert min(seconds() for _ in range(3)) < 0.5

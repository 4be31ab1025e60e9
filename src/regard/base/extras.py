"""Packages that not every installation has: which extra of Regard brings them, and one error that says so.

The base installation translates, serves and evaluates with the native engine. PyTorch, a hundred times its size, comes
with the extra ``train``.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec

from regard.base.errors import RegardError

#: Package, as it is imported → the extra that brings it, and what it is for.
EXTRAS = {
    "torch": ("train", "training, adapting, the PyTorch engine"),
    "tensorboard": ("train", "curves of a training run"),
    "matplotlib": ("train", "the picture of a training run"),
    "wandb": ("wandb", "tracking with Weights & Biases"),
    "optuna": ("search", "settings that are searched for"),
    "opacus": ("private", "differentially private training"),
    "jieba": ("zh", "Chinese split into words"),
    "psycopg": ("postgres", "the server's store in PostgreSQL"),
    "huggingface_hub": ("hub", "models from the hub"),
    "tokenizers": ("bart", "the vocabulary of an imported BART"),
    "ctranslate2": ("ctranslate2", "export to CTranslate2"),
    "onnx": ("onnx", "export to ONNX"),
    "onnxscript": ("onnx", "export to ONNX"),
}
_NAMES = {"torch": "PyTorch", "ctranslate2": "CTranslate2", "onnx": "ONNX", "psycopg": "psycopg 3"}


class MissingExtra(ImportError, RegardError):
    """A package is not installed that an extra of Regard brings."""


def missing(package: str, needs: str = "this") -> MissingExtra:
    """The error for a ``package`` of :data:`EXTRAS` that is not installed; ``needs`` says what needs it."""
    extra, _ = EXTRAS[package]
    name = _NAMES.get(package, package)
    return MissingExtra(
        f"{needs} needs {name}, which is not installed. Get it with: pip install 'regard[{extra}]'", name=package
    )


@contextmanager
def explaining() -> Iterator[None]:
    """Within the block, an import that fails for want of an extra is a :class:`MissingExtra`."""
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in EXTRAS:
            raise
        raise missing(package) from error


def is_installed(package: str) -> bool:
    """Whether a package is there, found out without importing it."""
    return find_spec(package) is not None


def require(package: str, needs: str) -> None:
    """See that a package of :data:`EXTRAS` is there before any work is done.

    Raises:
        MissingExtra: it is not.
    """
    if not is_installed(package):
        raise missing(package, needs)

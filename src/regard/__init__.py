"""Regard: translation software that learns from its corrections and shows its reasons.

>>> from regard import Translator
>>> translator = Translator.from_pretrained()  # the model that ships with the package
>>> translator.translate("Good morning.", source="en", target="de")  # doctest: +SKIP

Nothing heavy is imported until it is used: ``import regard`` alone never loads PyTorch.
"""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.tasks.translation import Translator as Translator

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {"Translator": "tasks.translation"},
    submodules=(
        *("attention", "base", "cli", "compress", "data", "decode", "explain"),
        *("model", "serve", "tasks", "train", "tune"),
    ),
)
__all__ += ["__version__"]

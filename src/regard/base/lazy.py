"""Public names that are imported when first used (PEP 562), so that start-up stays fast.

A room's ``__init__.py`` reads::

    from typing import TYPE_CHECKING

    from regard.base.lazy import lazy

    if TYPE_CHECKING:
        from regard.attention.mask import Mask as Mask

    __getattr__, __dir__, __all__ = lazy(__name__, {"Mask": "mask"})

The ``as Mask`` says to type checkers that the name is public; a test compares the two lists.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Any

from regard.base.errors import did_you_mean
from regard.base.extras import explaining


def lazy(
    package: str, names: Mapping[str, str], submodules: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """Return the ``__getattr__``, ``__dir__`` and ``__all__`` of a package whose names load on demand.

    Args:
        package: the package's ``__name__``.
        names: public name → module below ``package`` that defines it (``"mask"``, ``"tasks.translation"``).
        submodules: modules below ``package`` that are reachable as attributes without an import of their own.

    Raises:
        ValueError: a name equal to its module's: which of the two ``package.name`` gave would depend on
            what was imported before.
    """
    for name, module in names.items():
        if name in (module, *submodules):
            raise ValueError(f"{package}: '{name}' is both a public name and a module; rename one of them.")

    def __getattr__(name: str) -> Any:
        if name in names:
            with explaining():
                value = getattr(import_module(f"{package}.{names[name]}"), name)
        elif name in submodules:
            value = import_module(f"{package}.{name}")
        else:
            hint = "" if name.startswith("_") else did_you_mean(name, [*names, *submodules])
            raise AttributeError(f"module '{package}' has no attribute '{name}'.{hint}", name=name)
        setattr(sys.modules[package], name, value)  # the next look-up does not come here
        return value

    def __dir__() -> list[str]:
        return sorted({*vars(sys.modules[package]), *names, *submodules})

    return __getattr__, __dir__, sorted(names)

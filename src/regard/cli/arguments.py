"""A verb's arguments: a frozen dataclass, its field docstrings the help texts.

::

    @dataclass(frozen=True)
    class Options:
        source: str
        \"\"\"Language of the input, such as en.\"\"\"
        max_length: int = 256
        \"\"\"Longest output, in tokens.\"\"\"

    options = parse(Options, argv, prog="regard translate", description="Translate lines of text.")

gives ``--source STR`` (required) and ``--max-length INT``. A field of type ``Positional[str]`` needs no flag.
"""

from collections.abc import Sequence
from typing import TypeVar

import tyro
from tyro.conf import Positional

__all__ = ["Positional", "parse"]

T = TypeVar("T")

STYLE = (
    tyro.conf.FlagCreatePairsOff,  # a bool is --flag, without a --no-flag beside it
    tyro.conf.OmitArgPrefixes,  # the fields of a nested dataclass are flags like the others
    tyro.conf.DisallowNone,  # an optional value is left out, not written as None
    tyro.conf.PositionalMetavarFromFieldName,
)


def parse(cls: type[T], argv: Sequence[str], prog: str, description: str | None = None) -> T:
    """Read ``argv`` into ``cls``.

    Args:
        cls: a dataclass; a field without a default is required. What it raises in ``__post_init__``
            (``ConfigError``) is shown like any other usage error.
        argv: the arguments after the verb.
        prog: the words before them, for the usage line.
        description: what the verb does; the docstring of ``cls`` by default.

    Raises:
        SystemExit: 0 after ``--help``; 2 after a usage error, which has been printed.
    """
    return tyro.cli(cls, args=list(argv), prog=prog, description=description, config=STYLE)

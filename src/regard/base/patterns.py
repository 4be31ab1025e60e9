"""Regular expressions that are compiled when they are first used, since start-up is part of speed.

A set with Chinese characters takes milliseconds to compile, and most commands use few of the package's patterns.
"""

import re
from typing import Any, cast


class _Pattern:
    """Becomes a compiled pattern bit by bit: each of its methods when first called."""

    def __init__(self, pattern: str):
        self.pattern = pattern

    def __getattr__(self, name: str) -> Any:
        value = getattr(re.compile(self.pattern), name)  # which re keeps, so that it is compiled once
        setattr(self, name, value)
        return value


def lazily(pattern: str) -> re.Pattern[str]:
    """What ``re.compile`` returns, at the price of keeping the text.

    Errors in it show when it is first used (``re.error``).
    """
    return cast("re.Pattern[str]", _Pattern(pattern))

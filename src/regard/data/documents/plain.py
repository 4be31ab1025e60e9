"""Plain text: a segment a line, as `regard translate` takes it."""

import re

from regard.data.documents.skeleton import Hole, make_hole, text_items

# Everything that some program takes for a line end.
_LINE = re.compile("[^\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


def parse(text: str) -> list[Hole]:
    """Holes of a text."""
    holes = (make_hole(text_items(text, *line.span()), _one_line) for line in _LINE.finditer(text))
    return [hole for hole in holes if hole]


def _one_line(text: str) -> str:
    return " ".join(_LINE.findall(text))

"""Builds these pages anew: draws the pictures, and copies the code that stands beside the equations from the package.

python docs/attention/build.py

Code stands behind a comment that says where it comes from, as ``<!-- code: similarity.Cosine.as_product -->``.
"""

import ast
import inspect
import re
import textwrap
from importlib import import_module
from pathlib import Path

HERE = Path(__file__).resolve().parent
EXCERPT = re.compile(r"<!-- code: (?P<name>[\w.]+) -->\n```python\n.*?```", re.DOTALL)


def code(name: str) -> str:
    """A function of ``regard.attention``, without its docstring."""
    module, *path = name.split(".")
    found = import_module(f"regard.attention.{module}")
    for part in path:
        found = getattr(found, part)
    source = textwrap.dedent(inspect.getsource(found))
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef), f"{name} is no function"
    lines, first = source.splitlines(), function.body[0]
    if ast.get_docstring(function) is not None:
        del lines[first.lineno - 1 : first.end_lineno]
    return "\n".join(lines)


def renew(text: str) -> str:
    """The page with its code as it is in the package."""
    return EXCERPT.sub(lambda found: f"<!-- code: {found['name']} -->\n```python\n{code(found['name'])}\n```", text)


def main() -> None:
    """Pictures first, then the pages."""
    from pictures import draw

    draw()
    for page in sorted(HERE.glob("*.md")):
        page.write_text(renew(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()

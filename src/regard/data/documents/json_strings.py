"""JSON: a segment a string that reads like language; keys, numbers and identifiers are left alone."""

import json
import re
from functools import partial

from regard.base.errors import DataError
from regard.data.documents.marked import Marked
from regard.data.documents.skeleton import Hole, has_words

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|[{}\[\],:]', re.DOTALL)
# One word with a digit, an inner capital or a mark that words do not have: a name for a program.
_IDENTIFIER = re.compile(r"(?=.*[\d_/:#@=\\<>+]|.*\w[.\-]\w|\w*[a-z][A-Z])[!-~]+")


def parse(text: str) -> list[Hole]:
    """Holes of a JSON document.

    Raises:
        DataError: it is not JSON.
    """
    try:
        json.loads(text)
    except RecursionError as error:
        raise DataError("the document is nested too deeply.") from error
    except ValueError as error:
        raise DataError(f"this is not JSON: {error}.") from error
    escape = partial(json.dumps, ensure_ascii=text.isascii() and "\\u" in text)
    holes: list[Hole] = []
    path: list[str | int] = []
    is_key: list[bool] = []  # in each open object or list, whether a key comes next
    for match in _TOKEN.finditer(text):
        token = match[0]
        if token in ("{", "["):
            path.append("" if token == "{" else 0)
            is_key.append(token == "{")
        elif token in ("}", "]"):
            path.pop()
            is_key.pop()
        elif token == ",":
            if isinstance(path[-1], int):
                path[-1] += 1
            else:
                is_key[-1] = True
        elif token == ":":
            is_key[-1] = False
        elif is_key and is_key[-1]:
            path[-1] = json.loads(token)
        else:
            value = json.loads(token)
            if is_language(value):
                holes.append(Hole(*match.span(), Marked(value), escape=escape, context=".".join(map(str, path))))
    return holes


def is_language(value: str) -> bool:
    """Whether a string is for people: it has words, and is no identifier, path, address or colour."""
    if not has_words(value) or _IDENTIFIER.fullmatch(value):
        return False
    return not re.search("[\ud800-\udfff]", value)  # half a character cannot be translated nor written

"""Bytes to text and back, as the document itself says: byte order mark, declaration, else UTF-8."""

import codecs
import re
from dataclasses import dataclass

from regard.base.errors import DataError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True)
class Encoding:
    """How a text is written as bytes."""

    name: str = "utf-8"
    mark: bytes = b""
    """Byte order mark."""

    def encode(self, text: str, errors: str = "strict") -> bytes:
        """Text as bytes.

        Args:
            text: any text.
            errors: ``xmlcharrefreplace`` writes ``&#29356;`` where the encoding lacks a character.

        Raises:
            DataError: the encoding lacks a character.
        """
        try:
            return self.mark + text.encode(self.name, errors)
        except UnicodeEncodeError as error:
            character = error.object[error.start]
            raise DataError(
                f"the document's encoding, {self.name}, has no '{character}' (U+{ord(character):04X}), which the "
                "translation needs. Convert the document to UTF-8 first."
            ) from error


def decode(data: bytes, declaration: "re.Pattern[bytes] | None" = None) -> tuple[str, Encoding]:
    """Text and encoding of ``data``.

    Args:
        data: a whole document.
        declaration: finds the name of the encoding in its first bytes, as group 1.

    Raises:
        DataError: the bytes are not what they should be; the message names the line.
    """
    for mark, name in _MARKS:
        if data.startswith(mark):
            return _decode(data[len(mark) :], Encoding(name, mark))
    found = declaration.search(data[:2048]) if declaration else None
    name = found.group(1).decode("ascii", "replace").lower() if found else "utf-8"
    try:
        codec = codecs.lookup(name)
    except LookupError as error:
        raise DataError(
            f"the document says that its encoding is '{name}', which is unknown. Convert it to UTF-8."
        ) from error
    if not getattr(codec, "_is_text_encoding", True):
        raise DataError(f"the document says that its encoding is '{name}', which is none. Convert it to UTF-8.")
    return _decode(data, Encoding(codec.name))


def _decode(data: bytes, encoding: Encoding) -> tuple[str, Encoding]:
    try:
        text = data.decode(encoding.name)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"line {line}: byte 0x{data[error.start]:02x} is not {encoding.name}. Convert the document to UTF-8 first."
        ) from error
    except UnicodeError as error:  # utf-16 without a mark, idna and their kin
        raise DataError(f"the document is not {encoding.name}: {error}. Convert it to UTF-8 first.") from error
    if "\0" in text:
        raise DataError("the document holds zero bytes: it is no text, or UTF-16 without a byte order mark.")
    return text, encoding

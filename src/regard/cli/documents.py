"""What `regard translate --input report.docx --output bericht.docx` does: the segments, the file, the report."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.base.errors import ConfigError
from regard.base.files import write_atomic

if TYPE_CHECKING:
    from regard.tasks.document import SegmentResult
    from regard.tasks.translation import Translator


def is_document(path: Path | None) -> bool:
    """Whether the name of a file is that of a document; plain text is translated line by line."""
    from regard.data.documents import format_of

    return path is not None and format_of(path) not in (None, "txt")


def translate_file(
    translator: "Translator",
    input: Path,
    output: Path | None,
    side_by_side: Path | None,
    source: str,
    target: str,
    **search: Any,
) -> None:
    """Translate a document and say on standard error what became of it.

    Args:
        translator: the model.
        input: the document; the end of its name says its format.
        output: file to write, with the same end; standard output by default.
        side_by_side: file for sources and translations: .csv, .html or .tmx.
        source: language of the document.
        target: language to translate into.
        search: search options.

    Raises:
        RegardError: the document cannot be read or written.
    """
    from regard.data.documents import format_of, open_document
    from regard.tasks.bilingual import bilingual, kind_of
    from regard.tasks.document import translate_document

    check_output(input, output)
    kind = kind_of(side_by_side) if side_by_side else ""
    document = open_document(input, format=format_of(input), source=source, target=target)
    shown = sys.stderr.isatty()

    def progress(done: int, total: int, new: "list[SegmentResult]") -> None:
        if shown:
            print(f"\r{done:,} of {total:,} segments ", end="" if done < total else "\n", file=sys.stderr, flush=True)

    result = translate_document(translator, document, source, target, progress=progress, **search)
    if output is None or str(output) == "-":
        sys.stdout.buffer.write(result.data)
    elif output.exists() and not output.is_file():  # a device or a pipe
        output.write_bytes(result.data)
    else:
        write_atomic(output.resolve(), result.data)
    if side_by_side:
        write_atomic(side_by_side, bilingual(result.segments, source, target, kind))
    print(result.report(), file=sys.stderr)


def check_output(input: Path, output: Path | None) -> None:
    """Refuse, before any work, what could not be written as it is asked for.

    Raises:
        ConfigError: the format would change, or a terminal would get the bytes of a zip archive.
    """
    from regard.data.documents import FORMATS, format_of

    wanted = format_of(input)
    if output is None or str(output) == "-":
        if wanted and FORMATS[wanted].parts and sys.stdout.isatty():
            raise ConfigError(f"a {wanted} document is no text for a terminal; name a file (--output FILE.{wanted}).")
        return
    given = format_of(output)
    if given is not None and given != wanted:
        raise ConfigError(
            f"{input.name} is {wanted}, and so is its translation; --output {output.name} asks for {given}."
        )

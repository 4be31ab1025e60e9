"""``regard translate --source en --target de < text.en > text.de``: a line out for each line in.

A document (``--input report.docx``) is translated as a whole and keeps its form.
"""

import json
import re
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from regard.base.errors import ConfigError, DataError
from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions, SearchOptions
from regard.cli.documents import is_document, translate_file
from regard.cli.output import open_output

if TYPE_CHECKING:
    from regard.tasks.translated import Sentence, Translation

# Whatever some program takes for the end of a line (str.splitlines).
_LINE_ENDS = re.compile("[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class Options:
    """Translate text line by line: exactly one line out for each line in, empty lines stay empty.

    A file whose name ends in .md, .html, .srt, .vtt, .po, .xliff, .tmx, .docx, .odt, .pptx, .csv, .tsv or .json is
    a document: its text is translated, everything else stays as it is, and a report says what became of it.
    """

    source: str
    """Language of the text, such as en."""
    target: str
    """Language to translate into."""
    input: Path | None = None
    """UTF-8 text to read, gzipped or not, or a document; standard input by default."""
    output: Path | None = None
    """File to write; it appears when everything is translated. Standard output by default."""
    format: Literal["text", "json"] = "text"
    """text, or json: one object a line with scores, pieces, word alignment and alternatives."""
    num_hypotheses: int = 1
    """With --format json: translations of each sentence."""
    bilingual: Path | None = None
    """With a document: also write its text and the translation side by side, as .csv, .html or .tmx."""
    chunk: int | None = None
    """Lines translated together, 256 by default; 1 answers each line at once, as it does at a terminal."""
    model: ModelOptions = field(default_factory=ModelOptions)
    search: SearchOptions = field(default_factory=SearchOptions)

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise ConfigError(f"chunk is {self.chunk}; it must be at least 1.")
        if self.num_hypotheses < 1:
            raise ConfigError(f"num_hypotheses is {self.num_hypotheses}; it must be at least 1.")
        if self.num_hypotheses > 1 and self.format == "text":
            raise ConfigError("--num-hypotheses is shown by --format json only.")
        document = is_document(self.input)
        if self.bilingual and not document:
            raise ConfigError("--bilingual is for documents, such as --input report.docx.")
        if document and (self.format == "json" or self.chunk is not None):
            raise ConfigError("--format json and --chunk are for text; a document keeps its own format.")


def main(argv: Sequence[str]) -> int:
    """Translate; 0 when everything is."""
    options = parse(Options, argv, prog="regard translate")
    from regard.data.corpus import read_lines

    source = "-" if options.input is None else options.input
    at_terminal = str(source) == "-" and sys.stdin.isatty()
    translator = options.model.load()
    search = options.search.options()
    if options.format == "json":
        search |= {"alignment": True, "num_hypotheses": options.num_hypotheses}
    # A direction or an option that does not exist is told before a person types a line.
    translator.translate([], options.source, options.target, **search)
    if options.input is not None and is_document(options.input):
        translate_file(
            translator, options.input, options.output, options.bilingual, options.source, options.target, **search
        )
        return 0
    if at_terminal:
        print("Type text, a line at a time; end with Ctrl-D.", file=sys.stderr)
    progress = Progress(shown=options.output is not None and not at_terminal and sys.stderr.isatty())
    number = flawed = 0
    with open_output(options.output) as stream:
        for lines in chunks(read_lines(source), options.chunk or (1 if at_terminal else 256)):
            for translation in translator.translate(lines, options.source, options.target, **search):
                number += 1
                flawed += bool(translation.problems)
                if not translation.finished:
                    warn(
                        f"line {number}: the translation reached the limit on its length and is cut off (--max-length)."
                    )
                print(as_json(translation) if options.format == "json" else one_line(translation.text), file=stream)
            stream.flush()
            progress.show(number)
    progress.end(number)
    if flawed and options.format == "text":
        warn(f"{flawed} lines did not keep every number and placeholder; --format json says which.")
    return 0


def chunks(lines: Iterable[str], size: int) -> Iterator[list[str]]:
    """Yield lists of ``size`` lines; of what precedes an unreadable line nothing is lost."""
    chunk: list[str] = []
    try:
        for line in lines:
            chunk.append(line)
            if len(chunk) == size:
                yield chunk
                chunk = []
    except DataError:
        if chunk:
            yield chunk
        raise
    if chunk:
        yield chunk


def one_line(text: str) -> str:
    """``text`` without anything that could be taken for a line end; white space alone becomes nothing."""
    return _LINE_ENDS.sub(" ", text) if text.strip() else ""


def as_json(translation: "Translation") -> str:
    """One translation as one line of JSON."""
    value = {
        "source": translation.source,
        "translation": one_line(translation.text),
        "score": rounded(translation.score),
        "finished": translation.finished,
        "sentences": [sentence_values(sentence) for sentence in translation.sentences],
    }
    written = json.dumps(value, ensure_ascii=False)
    # U+2028 and its kin, which JSON allows in a string, would break the line for some readers.
    return _LINE_ENDS.sub(lambda match: "".join(f"\\u{ord(c):04x}" for c in match.group()), written)


def sentence_values(sentence: "Sentence") -> dict[str, Any]:
    """What JSON says of a sentence."""
    values: dict[str, Any] = {
        "source": sentence.source,
        "translation": sentence.text,
        "score": rounded(sentence.score),
        "finished": sentence.finished,
        "problems": [problem.detail for problem in sentence.problems],
        "source_pieces": sentence.source_pieces,
        "pieces": sentence.pieces,
        "log_probs": [rounded(p) for p in sentence.log_probs],
        "alternatives": [{"translation": a.text, "score": rounded(a.score)} for a in sentence.alternatives],
    }
    if sentence.attention is not None:
        from regard.tasks.alignment import links, word_attention, words_of

        source, target = words_of(sentence.source_pieces), words_of(sentence.pieces)
        table = word_attention(sentence.attention, source, target)
        values["alignment"] = {
            "source_words": [word.text for word in source],
            "target_words": [word.text for word in target],
            "links": links(table),
            "weights": [[rounded(weight) for weight in row] for row in table],
        }
    return values


def rounded(value: float) -> float:
    """Four digits: more would be noise."""
    return round(float(value), 4)


def warn(message: str) -> None:
    """Say on standard error what does not stop the work."""
    print(f"regard: warning: {message}", file=sys.stderr)


class Progress:
    """A counter on standard error, for a person who waits for a file."""

    def __init__(self, shown: bool):
        self.shown = shown
        self.start = time.perf_counter()

    def show(self, lines: int) -> None:
        """Update the line."""
        if self.shown:
            print(f"\r{self._text(lines)}", end="", file=sys.stderr, flush=True)

    def end(self, lines: int) -> None:
        """Leave the last state standing."""
        if self.shown:
            print(f"\r{self._text(lines)}", file=sys.stderr)

    def _text(self, lines: int) -> str:
        seconds = time.perf_counter() - self.start
        return f"{lines:,} lines in {seconds:.1f} s, {lines / max(seconds, 1e-9):,.1f} lines/s "

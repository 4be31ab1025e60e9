"""``regard demo``: a bundled text in every direction that the model has."""

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from regard.cli.arguments import parse
from regard.cli.decoding import ModelOptions

if TYPE_CHECKING:
    from regard.tasks.translation import Translator


@dataclass(frozen=True)
class Options:
    """Translate a bundled text in every direction of the shipped model, or of your own."""

    model: ModelOptions = field(default_factory=ModelOptions)


@dataclass(frozen=True)
class Row:
    """One translated sentence."""

    source: str
    translation: str
    score: float
    seconds: float


def main(argv: Sequence[str]) -> int:
    """Translate and show."""
    options = parse(Options, argv, prog="regard demo")
    start = time.perf_counter()
    translator = options.model.load()
    loading = time.perf_counter() - start
    show = show_table if sys.stdout.isatty() else show_plain
    count, seconds = 0, 0.0
    example = translator.directions[0]
    for source, target in translator.directions:
        sentences = bundled_text(source)
        if not sentences:
            print(f"\n{source} → {target}: no text in '{source}' comes with Regard.")
            continue
        rows = [translate(translator, sentence, source, target) for sentence in sentences]
        count += len(rows)
        seconds += sum(row.seconds for row in rows)
        show(source, target, rows)
    rate = f", {count / seconds:.1f} sentences/s one at a time" if seconds else ""
    print(f"\n{count} sentences in {seconds:.1f} s{rate}; loading the model took {loading:.1f} s.")
    models = "".join(f" --model {path}" for path in options.model.model)
    print(f"Your turn: {command()} translate --source {example[0]} --target {example[1]}{models}")
    if len(options.model.model) <= 1:  # the server has no ensembles
        print(f"In the browser: open the address that this prints: {command()} serve{models}")
    return 0


def bundled_text(language: str) -> list[str]:
    """Sentences in ``language`` that come with Regard; none where there is no such text."""
    file = files("regard") / "assets" / "demo" / f"{language}.txt"
    return file.read_text(encoding="utf-8").splitlines() if file.is_file() else []


def translate(translator: "Translator", sentence: str, source: str, target: str) -> Row:
    """Translate one sentence against the clock."""
    start = time.perf_counter()
    translation = translator.translate(sentence, source, target)
    return Row(sentence, translation.text, translation.score, time.perf_counter() - start)


def show_table(source: str, target: str, rows: list[Row]) -> None:
    """For a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{source} → {target}", title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    table.add_column("sentence", ratio=1, overflow="fold")
    table.add_column("translation", ratio=1, overflow="fold")
    table.add_column("score", justify="right", no_wrap=True, style="dim")
    table.add_column("time", justify="right", no_wrap=True, style="dim")
    table.expand = True
    for row in rows:
        figures = (f"{row.score:.2f}", f"{1000 * row.seconds:,.0f} ms")
        table.add_row(Text(row.source), Text(row.translation), *figures)  # Text: [brackets] are no markup
    Console().print(table)


def show_plain(source: str, target: str, rows: list[Row]) -> None:
    """For a file or a pipe: each sentence with its translation below."""
    print(f"\n{source} → {target}")
    print("  score     time  sentence and translation")
    for row in rows:
        print(f"{row.score:7.2f} {1000 * row.seconds:5,.0f} ms  {row.source}")
        print(f"{'':18}{row.translation}", flush=True)


def command() -> str:
    """How this installation's command is called from here."""
    if shutil.which("regard"):
        return "regard"
    started = Path(sys.argv[0])
    return os.path.relpath(started) if started.stem == "regard" else f"{sys.executable} -m regard"

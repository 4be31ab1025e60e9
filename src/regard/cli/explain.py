"""``regard explain "A sentence." --source en --target de``: where each word of the translation looked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse
from regard.cli.decoding import ModelOptions
from regard.cli.output import open_output

if TYPE_CHECKING:
    from regard.explain import Panel
    from regard.tasks.translated import Translation


@dataclass(frozen=True)
class Options:
    """Draw where a translation looked: its cross-attention between words, and how sure the model was."""

    text: Positional[str]
    """What to translate, in quotes."""
    source: str
    """Language of the text, such as en."""
    target: str
    """Language to translate into."""
    output: Path | None = None
    """SVG file to write; without it the strongest links are printed as text."""
    pieces: bool = False
    """Show subword pieces, as the model sees them, instead of words."""
    beam: int | None = None
    """Hypotheses kept at each step; as the model's generation.json says by default."""
    model: ModelOptions = field(default_factory=ModelOptions)


def main(argv: Sequence[str]) -> int:
    """Translate, then draw or print."""
    options = parse(Options, argv, prog="regard explain")
    translator = options.model.load()
    search = {} if options.beam is None else {"beam": options.beam}
    translation = translator.translate(options.text, options.source, options.target, alignment=True, **search)
    from regard.explain import alignment_svg, panels

    if not translation.sentences:
        raise ConfigError(f"nothing in '{options.text}' has to be translated, so there is nothing to explain.")
    if options.output is None:
        print(as_text(translation, panels(translation, pieces=options.pieces)))
        return 0
    picture = alignment_svg(translation, options.source, options.target, pieces=options.pieces)
    with open_output(options.output) as stream:
        stream.write(picture)
    if str(options.output) != "-":
        print(translation.text)
        print(f"the picture is in {options.output}")
    return 0


def as_text(translation: "Translation", found: "list[Panel]") -> str:
    """The translation, and for each word of it what it looked at most."""
    from rich.cells import cell_len

    from regard.tasks.alignment import links

    lines = [translation.text]
    for sentence, panel in zip(translation.sentences, found, strict=True):
        lines += ["", f"{sentence.source}  (score {panel.score:.2f})"]
        strongest: dict[int, list[int]] = {}
        for i, j in links(panel.weights):
            strongest.setdefault(j, []).append(i)
        width = max((cell_len(word) for word in panel.target), default=0)
        for j, word in enumerate(panel.target):
            seen = sorted(strongest.get(j, []), key=lambda i: -panel.weights[j, i])
            shown = ", ".join(f"{panel.source[i]} {panel.weights[j, i]:.2f}" for i in seen)
            lines.append(f"  {word}{' ' * (width - cell_len(word))}  {panel.probabilities[j]:4.0%}  ← {shown}")
    return "\n".join(lines)

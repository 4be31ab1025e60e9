"""Where a translation looked: its cross-attention as a picture that needs nothing else.

::

    translation = translator.translate("The bread is still warm.", source="en", target="de", alignment=True)
    Path("alignment.svg").write_text(alignment_svg(translation, "en", "de"), encoding="utf-8")

Each row is a word of the translation, each column one of the source; the darker a cell, the
more of the row's attention went there. The bar beside a row is the probability that the model
gave to the word. Attention is a hint, not a proof, of what a word depends on (Jain and Wallace
2019; Wiegreffe and Pinter 2019).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from regard.base.errors import ConfigError
from regard.explain.svg import escape, shorten, tag, text_width
from regard.tasks.alignment import Word, word_attention, words_of
from regard.tasks.translated import Sentence, Translation

LANGUAGES = {
    **{"en": "English", "de": "German", "fr": "French", "zh": "Chinese", "es": "Spanish", "it": "Italian"},
    **{"pt": "Portuguese", "nl": "Dutch", "pl": "Polish", "ru": "Russian", "ja": "Japanese", "ko": "Korean"},
}

_FONTS = (
    'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Noto Sans", "DejaVu Sans", Arial, '
    '"PingFang SC", "Hiragino Sans GB", "Microsoft YaHei", "Noto Sans CJK SC", "Noto Sans SC", '
    '"Source Han Sans SC", "WenQuanYi Micro Hei", "Droid Sans Fallback", sans-serif'
)
# Plain rules, not custom properties: several viewers know only those.
_STYLE = f"""
.regard text {{ font-family: {_FONTS}; fill: #1e2530; }}
.regard .quiet {{ fill: #667085; }}
.regard .page {{ fill: #ffffff; stroke: #e4e7ec; }}
.regard .empty {{ fill: #f2f4f7; }}
.regard .seen, .regard .bar {{ fill: #0b6e75; }}
.regard .figure {{ fill: #0a4f54; }}
.regard .figure.on {{ fill: #ffffff; }}
@media (prefers-color-scheme: dark) {{
.regard text {{ fill: #e6eaf0; }}
.regard .quiet {{ fill: #98a2b3; }}
.regard .page {{ fill: #10151c; stroke: #2a323d; }}
.regard .empty {{ fill: #1b222c; }}
.regard .seen, .regard .bar {{ fill: #4fd1c5; }}
.regard .figure {{ fill: #b5ece6; }}
.regard .figure.on {{ fill: #0a2a2c; }}
}}
"""

_MARGIN = 24.0
_GAP = 10.0
_BAR = 56.0
_LONGEST_LABEL = 12.0  # em
_TILT = math.sin(math.pi / 4)
_LEGEND = (0.05, 0.25, 0.5, 0.75, 1.0)
_LEGEND_WIDTH = 440.0


@dataclass(frozen=True)
class Panel:
    """One sentence of a picture."""

    source: tuple[str, ...]
    """Labels of the columns: words, or pieces."""
    target: tuple[str, ...]
    """Labels of the rows."""
    weights: np.ndarray
    """Attention, rows × columns, each row summing to 1."""
    probabilities: tuple[float, ...]
    """What the model gave to each row's word, 0 to 1."""
    score: float
    """Mean natural-log probability of a piece of the sentence."""


def panels(translation: Translation, *, pieces: bool = False) -> list[Panel]:
    """The attention of each sentence, between words or, as the model has it, between pieces.

    Raises:
        ConfigError: the translation was made without ``alignment=True``.
    """
    return [_panel(sentence, pieces) for sentence in translation.sentences]


def alignment_svg(translation: Translation, source: str, target: str, *, pieces: bool = False) -> str:
    """Draw the attention of a translation, a panel for each sentence, as a self-contained SVG.

    Args:
        translation: made with ``alignment=True``.
        source: language it was made from, for the title.
        target: language it was made into.
        pieces: show subword pieces instead of words.

    Raises:
        ConfigError: nothing was translated (numbers and symbols are copied), or no attention was kept.
    """
    found = panels(translation, pieces=pieces)
    if not found:
        raise ConfigError("there is no sentence to draw: numbers and symbols alone are copied, not translated.")
    direction = f"{LANGUAGES.get(source.lower(), source)} → {LANGUAGES.get(target.lower(), target)}"
    title = f"{direction}: {translation.text}"
    left = max(_label_room(panel.target, _font(_cell_size(panel))) for panel in found)  # the grids stand in line
    drawn = [_Drawing(panel, direction, left, number, len(found)) for number, panel in enumerate(found)]
    width = max(*(drawing.width for drawing in drawn), _LEGEND_WIDTH) + 2 * _MARGIN
    body, y = [], _MARGIN
    for drawing in drawn:
        body.append(tag("g", drawing.svg(), transform=f"translate({_MARGIN:g} {y:.1f})"))
        y += drawing.height + 2 * _MARGIN
    y -= _MARGIN / 2
    body.append(tag("g", _legend("piece" if pieces else "word"), transform=f"translate({_MARGIN:g} {y:.1f})"))
    height = y + 12 + _MARGIN
    page = tag("rect", class_="page", x=0.5, y=0.5, width=width - 1, height=height - 1, rx=10)
    content = "\n".join(
        [
            tag("title", escape(title)),
            tag("desc", escape(f"Cross-attention of a translation of: {translation.source}")),
            tag("style", _STYLE),
            page,
            *body,
        ]
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="regard" role="img" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}">\n{content}\n</svg>\n'
    )


def _panel(sentence: Sentence, pieces: bool) -> Panel:
    if sentence.attention is None:
        raise ConfigError("this translation has no attention to show: translate with alignment=True.")
    if pieces:
        source, target = _each(sentence.source_pieces), _each(sentence.pieces)
    else:
        source, target = words_of(sentence.source_pieces), words_of(sentence.pieces)
    probabilities = [math.exp(sum(sentence.log_probs[i] for i in word.pieces)) for word in target]
    return Panel(
        tuple(word.text for word in source),
        tuple(word.text for word in target),
        word_attention(sentence.attention, source, target),
        tuple(min(1.0, p) for p in probabilities),
        sentence.score,
    )


def _each(pieces: Sequence[str]) -> list[Word]:
    return [Word(piece, range(i, i + 1)) for i, piece in enumerate(pieces)]


def _cell_size(panel: Panel) -> float:
    longest = max(len(panel.source), len(panel.target))
    return 34.0 if longest <= 12 else 28.0 if longest <= 24 else 22.0 if longest <= 40 else 18.0


def _font(cell: float) -> float:
    return min(14.0, 0.62 * cell)


def _label_room(labels: Sequence[str], font: float) -> float:
    """Width of the longest label as it is drawn: those of large tables are cut shorter."""
    return max((min(text_width(label, font), _LONGEST_LABEL * font) for label in labels), default=0.0)


class _Drawing:
    """The geometry of one panel: a title, labels above and at the left, the grid, and the bars."""

    def __init__(self, panel: Panel, direction: str, left: float, number: int, count: int):
        self.panel = panel
        self.title = direction if count == 1 else f"{direction}, sentence {number + 1} of {count}"
        self.subtitle = f"score {_signed(panel.score)}: on average {math.exp(panel.score):.0%} for each piece"
        self.pattern = f"regard-grid-{number}"
        self.cell = _cell_size(panel)
        self.font = _font(self.cell)
        self.left = left + _GAP
        room = _label_room(panel.source, self.font)
        self.upright = room <= self.cell - 2
        self.top = 48 + (self.font if self.upright else (room + self.font) * _TILT) + 1.6 * _GAP
        self.grid_width, self.grid_height = self.cell * len(panel.source), self.cell * len(panel.target)
        reach = [0.0]
        if not self.upright:
            for i, word in enumerate(panel.source):
                length = min(text_width(word, self.font), _LONGEST_LABEL * self.font)
                reach.append(self.left + (i + 0.5) * self.cell + (length + self.font) * _TILT)
        self.width = max(
            self.left + self.grid_width + _GAP + _BAR, text_width(self.title, 17), text_width(self.subtitle, 12), *reach
        )
        self.height = self.top + self.grid_height

    def svg(self) -> str:
        """The panel's elements, its corner at the origin."""
        parts = [
            tag("text", escape(self.title), x=0, y=14, font_size=16, font_weight=600),
            tag("text", escape(self.subtitle), x=0, y=34, font_size=12, class_="quiet"),
            self._ground(),
        ]
        parts += [self._column_label(i, word) for i, word in enumerate(self.panel.source)]
        for j, word in enumerate(self.panel.target):
            parts.append(self._row_label(j, word))
            parts += [self._cell(i, j) for i in range(len(self.panel.source))]
            parts.append(self._bar(j))
        return "\n".join(part for part in parts if part)

    def _ground(self) -> str:
        """Empty cells as one pattern: a large picture stays small on disk."""
        square = tag("rect", class_="empty", x=1, y=1, width=self.cell - 2, height=self.cell - 2, rx=3)
        box = {"width": self.cell, "height": self.cell, "x": self.left, "y": self.top}
        pattern = tag("pattern", square, id=self.pattern, patternUnits="userSpaceOnUse", **box)
        fill = f"url(#{self.pattern})"
        ground = {"x": self.left, "y": self.top, "width": self.grid_width, "height": self.grid_height}
        return tag("defs", pattern) + tag("rect", fill=fill, **ground)

    def _column_label(self, i: int, word: str) -> str:
        x, y = self.left + (i + 0.5) * self.cell, self.top - _GAP
        hint = tag("title", escape(word))
        label = hint + escape(shorten(word, self.font, _LONGEST_LABEL * self.font))
        if self.upright:
            return tag("text", label, x=x, y=y, font_size=self.font, text_anchor="middle")
        x += self.font / 4
        return tag("text", label, x=x, y=y, font_size=self.font, transform=f"rotate(-45 {x:.1f} {y:.1f})")

    def _row_label(self, j: int, word: str) -> str:
        y = self.top + (j + 0.5) * self.cell + 0.35 * self.font
        label = tag("title", escape(word)) + escape(shorten(word, self.font, _LONGEST_LABEL * self.font))
        return tag("text", label, x=self.left - _GAP, y=y, font_size=self.font, text_anchor="end")

    def _cell(self, i: int, j: int) -> str:
        weight = float(self.panel.weights[j, i])
        if weight < 0.01:
            return ""
        x, y = self.left + i * self.cell, self.top + j * self.cell
        hint = tag("title", escape(f"{self.panel.target[j]} ← {self.panel.source[i]}: {weight:.2f}"))
        side = self.cell - 2
        square = tag(
            "rect", hint, class_="seen", x=x + 1, y=y + 1, width=side, height=side, rx=3, fill_opacity=_opacity(weight)
        )
        if self.cell < 28 or weight < 0.1:
            return square
        middle = {"x": x + self.cell / 2, "y": y + self.cell / 2 + 3.5}
        shade = "figure on" if _opacity(weight) > 0.6 else "figure"
        figure = tag(
            "text",
            f"{100 * weight:.0f}",
            class_=shade,
            font_size=10,
            text_anchor="middle",
            pointer_events="none",
            **middle,
        )
        return square + figure

    def _bar(self, j: int) -> str:
        probability = self.panel.probabilities[j]
        x, y = self.left + self.grid_width + _GAP, self.top + (j + 0.5) * self.cell - 3
        hint = tag("title", escape(f"{self.panel.target[j]}: probability {probability:.2f}"))
        track = tag("rect", class_="empty", x=x, y=y, width=_BAR, height=6, rx=3)
        return track + tag("rect", hint, class_="bar", x=x, y=y, width=max(6.0, _BAR * probability), height=6, rx=3)


def _opacity(weight: float) -> float:
    """Small weights can be seen too."""
    return min(1.0, weight) ** 0.75


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _legend(unit: str) -> str:
    """What shades and bars mean; the symbols come first, so that nothing depends on a text's width."""
    parts = []
    for number, weight in enumerate(_LEGEND):
        box = {"x": 15 * number, "y": 0, "width": 12, "height": 12, "rx": 2}
        parts.append(
            tag("rect", class_="empty", **box) + tag("rect", class_="seen", fill_opacity=_opacity(weight), **box)
        )
    x = 15 * len(_LEGEND) + 5
    parts.append(tag("text", f"attention of a {unit}, in %", x=x, y=10, font_size=11, class_="quiet"))
    x += 180
    parts.append(tag("rect", class_="empty", x=x, y=3, width=32, height=6, rx=3))
    parts.append(tag("rect", class_="bar", x=x, y=3, width=22, height=6, rx=3))
    parts.append(tag("text", f"probability of a {unit}", x=x + 40, y=10, font_size=11, class_="quiet"))
    return "".join(parts)

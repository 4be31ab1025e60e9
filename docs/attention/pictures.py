"""Draws the pictures of these pages with the code that they explain; ``build.py`` calls it."""

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

from regard.attention import (
    AdaptiveSpan,
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    LearnedPositions,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    ScaledDot,
    Scoring,
    ShawPositions,
    T5Bias,
    TopK,
    TransformerXLPositions,
    entmax15,
    record,
    reference_attention,
    softmax,
    sparsemax,
)
from regard.attention.positions import sinusoidal_table

HERE = Path(__file__).resolve().parent
LENGTH, HEADS, WIDTH = 24, 4, 16
COLOURS = "GnBu"


def panels(name: str, count: int, columns: int, size: float = 2.3) -> list[Axes]:
    """The axes of a picture, which :func:`save` writes."""
    rows = -(-count // columns)
    figure, grid = plt.subplots(rows, columns, figsize=(size * columns, (size + 0.25) * rows), squeeze=False)
    figure.set_label(name)
    for axes in grid.flatten()[count:]:
        axes.set_visible(False)
    return list(grid.flatten()[:count])


def matrix(axes: Axes, title: str, table: Tensor, *, highest: float | None = None) -> None:
    """Queries downwards, keys to the right; the darker, the more."""
    axes.imshow(table.detach().numpy(), cmap=COLOURS, vmin=0, vmax=highest, interpolation="nearest")
    axes.set_title(title, fontsize=9)
    axes.set_xticks([])
    axes.set_yticks([])


def save(axes: list[Axes], *, each: bool = True) -> None:
    """Write the picture beside this file, and, if ``each``, each of its panels alone, named after its title."""
    figure = axes[0].figure
    assert isinstance(figure, Figure)
    figure.tight_layout()
    figure.savefig(HERE / f"{figure.get_label()}.png", dpi=110, metadata={"Software": None})
    figure.canvas.draw()
    for one in axes if each else ():
        box = one.get_tightbbox()
        assert box is not None
        inches = box.transformed(figure.dpi_scale_trans.inverted()).padded(0.04)
        name = f"{figure.get_label()}-{re.sub('[^a-z0-9]+', '-', one.get_title().lower()).strip('-')}.png"
        figure.savefig(HERE / name, dpi=110, bbox_inches=inches, metadata={"Software": None})
    plt.close(figure)


def masks() -> None:
    """Every kind of mask."""
    table = torch.zeros(LENGTH, LENGTH, dtype=torch.bool)
    table[::3] = table[:, ::5] = True
    kinds = {
        "causal": Mask.causal(),
        "padding(15)": Mask.padding(torch.tensor([15])),
        "window(4, 2)": Mask.window(4, 2),
        "causal & window(4, 0)": Mask.causal() & Mask.window(4, 0),
        "prefix(6) | causal": Mask.prefix(6) | Mask.causal(),
        "causal & documents": Mask.causal() & Mask.documents(torch.tensor([0] * 7 + [1] * 10 + [2] * 7)),
        "causal & since(6)": Mask.causal() & Mask.since(torch.tensor([6])),
        "boolean": Mask.boolean(table),
    }
    axes = panels("masks", len(kinds), 4)
    for one, (title, mask) in zip(axes, kinds.items(), strict=True):
        matrix(one, title, mask.view(LENGTH, LENGTH, torch.device("cpu")).boolean()[0, 0].float())
    save(axes)


def positions() -> None:
    """What each position makes of queries and keys that are all alike, and of a causal mask."""
    torch.manual_seed(3)
    content = torch.randn(1, HEADS, 1, WIDTH).expand(1, HEADS, LENGTH, WIDTH)
    query = key = content
    makers: dict[str, Callable[[], nn.Module]] = {
        "none": Scoring,
        "rotary": lambda: Scoring(position=RotaryPositions(WIDTH, base=100.0)),
        "Shaw": lambda: Scoring(position=ShawPositions(WIDTH, max_distance=5)),
        "Transformer-XL": lambda: Scoring(position=TransformerXLPositions(WIDTH, HEADS, WIDTH)),
        "T5": lambda: Scoring(position=T5Bias(HEADS, bidirectional=False, num_buckets=12, max_distance=24)),
        "ALiBi, head 1": lambda: Scoring(position=ALiBi(HEADS)),
        "ALiBi, head 4": lambda: Scoring(position=ALiBi(HEADS)),
        "adaptive span of 8": lambda: Scoring(span=AdaptiveSpan(HEADS, 8, ramp=4, start=1.0)),
    }
    axes, view = panels("positions", len(makers), 4), Mask.causal().view(LENGTH, LENGTH, torch.device("cpu"))
    for one, (title, make) in zip(axes, makers.items(), strict=True):
        scoring = make()
        assert isinstance(scoring, Scoring)
        for parameter in scoring.parameters():
            if title in ("T5", "Shaw"):  # as if it had learned something
                nn.init.normal_(parameter, std=1.0)
        given = (scoring.position(query), scoring.position(key)) if scoring.turns else (query, key)  # type: ignore[misc]
        weights = reference_attention(*given, key, view, scoring)[1][0]
        head = 0 if title.endswith("head 1") else HEADS - 1
        matrix(one, title, weights[head] / weights[head].amax(-1, keepdim=True))
    save(axes)


def normalisers() -> None:
    """The same scores under each normaliser."""
    scores = torch.tensor([1.9, 1.6, 1.1, 0.8, 0.2, -0.1, -0.6, -1.2])
    kinds = {"softmax": softmax, "1.5-entmax": entmax15, "sparsemax": sparsemax, "top 3": TopK(3)}
    axes = panels("normalisers", len(kinds), 4)
    for one, (title, normalise) in zip(axes, kinds.items(), strict=True):
        weights = normalise(scores)
        one.bar(range(len(scores)), weights.numpy(), color=["#0b6e75" if w > 0 else "#c4ccd6" for w in weights])
        for place, weight in enumerate(weights.tolist()):
            one.text(place, weight + 0.01, f"{weight:.2f}".lstrip("0") if weight else "0", ha="center", fontsize=6)
        one.set_title(title, fontsize=9)
        one.set_ylim(0, 0.75)
        one.set_xticks(range(len(scores)), [f"{score:.1f}" for score in scores.tolist()], fontsize=6)
        one.set_yticks([])
    save(axes)


def similarities() -> None:
    """Scores of one query with keys all around it, as the key turns and grows."""
    angle = torch.linspace(0, 2 * torch.pi, 181)
    kinds = {
        "dot": Dot(),
        "scaled dot": ScaledDot(),
        "cosine (τ = 2)": Cosine(1),
        "bilinear": Bilinear(1, 2),
        "additive": Additive(1, 2),
    }
    with torch.no_grad():
        kinds["cosine (τ = 2)"].log_scale.fill_(2.0).log_()  # type: ignore[operator, union-attr]
        kinds["bilinear"].weight.copy_(torch.tensor([[[1.0, 0.8], [-0.8, 1.0]]]))  # type: ignore[operator, union-attr]
        kinds["additive"].weight.copy_(torch.tensor([[1.2, 0.9]]))  # type: ignore[operator, union-attr]
    query, axes = torch.tensor([[[[1.0, 0.0]]]]), panels("similarities", len(kinds), 5)
    for one, (title, similarity) in zip(axes, kinds.items(), strict=True):
        for length, colour in ((0.5, "#9bd3d0"), (1.0, "#3f9fa3"), (2.0, "#0a4f54")):
            keys = length * torch.stack([angle.cos(), angle.sin()], dim=-1)[None, None]
            one.plot(
                angle.rad2deg(), similarity(query, keys)[0, 0, 0].detach(), color=colour, label=f"|k| = {length:g}"
            )
        one.set_title(title, fontsize=9)
        one.set_xticks([0, 180, 360], ["0°", "180°", "360°"], fontsize=6)
        one.tick_params(axis="y", labelsize=6)
    axes[0].legend(fontsize=6, frameon=False)
    save(axes)


def inputs() -> None:
    """The tables that are added to the embeddings, and how alike their rows are."""
    torch.manual_seed(1)
    learned = LearnedPositions(64, 96).table.detach()
    for name, title, table in (
        ("sinusoidal", "sines and cosines", sinusoidal_table(96, 64).float()),
        ("learned", "a learned table, before it has learned", learned),
    ):
        axes = panels(name, 2, 2, size=3.4)
        axes[0].imshow(table, cmap="RdBu", aspect="auto", interpolation="nearest")
        axes[0].set(xlabel="column", ylabel="position")
        axes[0].set_title(title, fontsize=9)
        axes[1].imshow(table @ table.T, cmap=COLOURS, interpolation="nearest")
        axes[1].set_title("products of its rows", fontsize=9)
        save(axes, each=False)


def heads() -> None:
    """The four heads of an untrained attention, recorded on its usual kernel."""
    torch.manual_seed(5)
    attention = MultiHeadAttention(64, HEADS, scoring=Scoring(normaliser=entmax15, position=ALiBi(HEADS)))
    with torch.no_grad(), record(attention) as seen:
        attention(3 * torch.randn(1, LENGTH, 64), mask=Mask.causal())
    weights, axes = seen[""].weights(rows=0)[0], panels("heads", HEADS, 4)
    for head, one in enumerate(axes):
        matrix(one, f"head {head + 1}", weights[head])
    save(axes, each=False)


def draw() -> None:
    """All of them."""
    for picture in (masks, positions, normalisers, similarities, inputs, heads):
        picture()

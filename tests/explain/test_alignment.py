import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest

from regard.base.errors import ConfigError
from regard.explain import alignment_svg, panels
from regard.tasks.translated import Sentence, Translation

SVG = "{http://www.w3.org/2000/svg}"


def sentence(source: str, target: str, *, attention: bool = True, seed: int = 0) -> Sentence:
    """Pieces separated by spaces, and attention drawn at random."""
    pieces = source.split(), target.split()
    generator = np.random.default_rng(seed)
    table = generator.dirichlet(np.full(len(pieces[0]), 0.3), size=len(pieces[1]))
    return Sentence(
        source="".join(pieces[0]).replace("▁", " ").strip(),
        text="".join(pieces[1]).replace("▁", " ").strip(),
        score=-0.25,
        source_pieces=tuple(pieces[0]),
        pieces=tuple(pieces[1]),
        log_probs=tuple(-generator.random(len(pieces[1]) + 1)),
        attention=table if attention else None,
    )


def translation(*sentences: Sentence) -> Translation:
    return Translation(" ".join(s.source for s in sentences), " ".join(s.text for s in sentences), -0.25, sentences)


KETTLE = sentence("▁The ▁kett le ▁sing s .", "▁Der ▁Kessel ▁sing t .")


def parsed(picture: str) -> ElementTree.Element:
    return ElementTree.fromstring(picture)


def texts(root: ElementTree.Element) -> list[str]:
    """Everything that can be read, tooltips left out."""
    found = []
    for element in root.iter(f"{SVG}text"):
        title = element.find(f"{SVG}title")
        found.append((element.text or "") + ((title.tail or "") if title is not None else ""))
    return found


def titles(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}title")]


def test_panels_are_between_words() -> None:
    (panel,) = panels(translation(KETTLE))
    assert panel.source == ("The", "kettle", "sings", ".")
    assert panel.target == ("Der", "Kessel", "singt", ".")
    assert panel.weights.shape == (4, 4)
    assert panel.weights.sum(axis=1) == pytest.approx(np.ones(4))
    # the probability of a word is that of all its pieces
    assert panel.probabilities[2] == pytest.approx(math.exp(KETTLE.log_probs[2] + KETTLE.log_probs[3]))


def test_panels_are_between_pieces_on_request() -> None:
    (panel,) = panels(translation(KETTLE), pieces=True)
    assert (panel.source, panel.target) == (KETTLE.source_pieces, KETTLE.pieces)
    assert panel.weights == pytest.approx(KETTLE.attention)


def test_the_picture_says_what_it_shows() -> None:
    root = parsed(alignment_svg(translation(KETTLE), "en", "de"))
    assert root.tag == f"{SVG}svg"
    readable = texts(root)
    assert readable[0] == "English → German"
    assert "score −0.25" in readable[1]
    for word in ("The", "kettle", "sings", "Der", "Kessel", "singt"):
        assert word in readable
    assert titles(root)[0] == "English → German: Der Kessel singt."
    (panel,) = panels(translation(KETTLE))
    assert f"Kessel ← kettle: {panel.weights[1, 1]:.2f}" in titles(root)
    assert f"Kessel: probability {panel.probabilities[1]:.2f}" in titles(root)


def test_shades_are_the_weights() -> None:
    root = parsed(alignment_svg(translation(KETTLE), "en", "de"))
    (panel,) = panels(translation(KETTLE))
    shades: list[tuple[float, float]] = []
    for rect in root.iter(f"{SVG}rect"):
        hint = rect.findtext(f"{SVG}title", "")
        if "←" in hint:
            shades.append((float(hint.rsplit(" ", 1)[1]), float(rect.get("fill-opacity", "nan"))))
    assert len(shades) == int((panel.weights >= 0.01).sum())
    shades.sort()
    assert [shade for _, shade in shades] == sorted(shade for _, shade in shades)
    assert shades[-1][0] == pytest.approx(panel.weights.max(), abs=0.005)


def test_it_needs_nothing_from_elsewhere() -> None:
    picture = alignment_svg(translation(KETTLE), "en", "de")
    assert not re.search(r"href|@import|url\((?!#)|<script|<image|<foreignObject", picture)
    assert re.findall(r"https?://[^\"\s]+", picture) == ["http://www.w3.org/2000/svg"]
    assert "prefers-color-scheme: dark" in picture
    assert picture.endswith("</svg>\n")


def test_every_sentence_has_its_panel() -> None:
    root = parsed(alignment_svg(translation(KETTLE, sentence("▁Why ?", "▁Warum ?")), "en", "de"))
    assert [text for text in texts(root) if "sentence" in text] == [
        "English → German, sentence 1 of 2",
        "English → German, sentence 2 of 2",
    ]
    patterns = [element.get("id") for element in root.iter(f"{SVG}pattern")]
    assert len(set(patterns)) == len(patterns) == 2


@pytest.mark.parametrize("count", [1, 2, 12, 13, 24, 40, 60])
@pytest.mark.parametrize("word", ["▁a", "▁Donaudampfschifffahrtsgesellschaftskapitän", "水", "▁<&>\"'"])
def test_everything_lies_within_the_page(count: int, word: str) -> None:
    picture = alignment_svg(translation(sentence(f"{word} " * count, f"▁wort {word} " * count)), "en", "xx")
    root = parsed(picture)
    width, height = float(root.get("width", "0")), float(root.get("height", "0"))
    assert root.get("viewBox") == f"0 0 {width:.0f} {height:.0f}"
    for group in root.iter(f"{SVG}g"):
        numbers = re.findall(r"[\d.]+", group.get("transform", ""))
        left, top = float(numbers[0]), float(numbers[1])
        for rect in group.iter(f"{SVG}rect"):
            x, y = left + float(rect.get("x", "0")), top + float(rect.get("y", "0"))
            assert 0 <= x <= x + float(rect.get("width", "0")) <= width
            assert 0 <= y <= y + float(rect.get("height", "0")) <= height
    assert "English → xx" in texts(root)  # a language without a name in the table


def test_chinese_stands_upright_and_long_words_are_tilted() -> None:
    assert "rotate" not in alignment_svg(translation(sentence("▁水 壶 在 响 。", "▁A ▁kettle .")), "zh", "en")
    assert alignment_svg(translation(KETTLE), "en", "de").count("rotate(-45") == 4


def test_without_attention_it_says_how_to_get_it() -> None:
    with pytest.raises(ConfigError, match="alignment=True"):
        alignment_svg(translation(sentence("▁a", "▁b", attention=False)), "en", "de")
    with pytest.raises(ConfigError, match="no sentence"):
        alignment_svg(Translation("42", "42", 0.0, ()), "en", "de")

"""Which pairs stay: the best, whatever the score is."""

import io
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, Pair
from regard.tasks import filtering
from regard.tasks.filtering import DualScore, ForcedScore, RoundTripScore, dual_score, filter_corpus
from regard.tasks.forced import ForcedDecoder
from regard.tasks.translation import Translator


@pytest.fixture(scope="module")
def translator(two_way_model: Path) -> Translator:
    return Translator.from_pretrained(two_way_model, engine="torch", device="cpu", precision="fp32")


@pytest.fixture
def numbered(tmp_path: Path) -> CorpusConfig:
    """Pairs whose targets are their scores."""
    path = tmp_path / "pairs.tsv"
    path.write_text("".join(f"text {i}\t{value}\n" for i, value in enumerate([-3, -1, "-inf", -2, -1, -5])))
    return CorpusConfig("en", "de", path=str(path))


def by_target(pairs: Sequence[Pair]) -> list[float]:
    return [float(pair.target) for pair in pairs]


def kept(corpus: CorpusConfig, **which: float) -> list[str]:
    stream = io.StringIO()
    filter_corpus(corpus, by_target, stream, **which)
    return [line.split("\t")[0] for line in stream.getvalue().splitlines()]


def test_by_threshold_and_by_share(numbered: CorpusConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the order of the corpus; of equal scores the first; what has no score never stays."""
    monkeypatch.setattr(filtering, "CHUNK", 2)
    assert kept(numbered, threshold=-2) == ["text 1", "text 3", "text 4"]
    assert kept(numbered, threshold=0) == []
    assert kept(numbered, keep=1 / 6) == ["text 1"]
    assert kept(numbered, keep=0.5) == ["text 1", "text 3", "text 4"]
    assert kept(numbered, keep=1) == ["text 0", "text 1", "text 3", "text 4", "text 5"]


def test_a_report_counts_and_shows_the_distribution(numbered: CorpusConfig) -> None:
    stream = io.StringIO()
    report = filter_corpus(numbered, by_target, stream, threshold=-2)
    assert stream.getvalue().splitlines()[0] == "text 1\t-1\t-1"
    lines = [line.split() for line in str(report).splitlines()]
    assert lines[0] == ["read", "6", "100.0%"]
    assert lines[1] == ["kept", "3", "50.0%"]
    assert lines[2][-2:] == ["2", "33.3%"]
    assert lines[3][-2:] == ["1", "16.7%"]
    assert ["median", "-2", "-1"] in lines
    assert ["least", "-5", "-2"] in lines


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.floats(-50, 0), min_size=1, max_size=30), st.floats(0.01, 1))
def test_no_pair_stays_while_a_better_one_goes(scores: list[float], share: float) -> None:
    table = np.array(scores)
    stays = filtering._best(table, share)
    assert stays.sum() == math.ceil(share * len(table))
    if not stays.all():
        assert table[stays].min() >= table[~stays].max()


@settings(deadline=None)  # other work on the machine is no failure
@given(st.floats(0, 20), st.floats(0, 20), st.floats(0.01, 5))
def test_dual_cross_entropy(forward: float, backward: float, more: float) -> None:
    """Junczys-Dowmunt 2018, equations 1 and 2; worse for a larger entropy, and for a larger difference."""
    expected = math.exp(-(abs(forward - backward) + 0.5 * (forward + backward)))
    assert dual_score(forward, backward) == pytest.approx(expected)
    assert dual_score(forward, backward) == dual_score(backward, forward)
    assert 0 < dual_score(forward, backward) <= 1
    assert dual_score(forward + more, backward + more) < dual_score(forward, backward)
    assert dual_score(forward + more, forward) < dual_score(forward, forward)
    assert dual_score(math.inf, backward) == -math.inf


def test_a_models_translations_score_above_others(translator: Translator) -> None:
    """By forced decoding a model's own translation, by the round trip a source that is what the way back gives."""
    texts = ["the red cat.", "a small dog sees the river.", "the old house likes a cat."]
    made = [t.text for t in translator.translate(texts, "en", "de", beam=1)]
    other = ["klein rot und.", "Fluss Fluss.", "ein Haus."]
    decoder = ForcedDecoder(translator)
    forward = ForcedScore(decoder, "en", "de")
    own, foreign = (forward([Pair(*p) for p in zip(texts, side, strict=True)]) for side in (made, other))
    assert all(a > b for a, b in zip(own, foreign, strict=True))
    both = DualScore(forward, ForcedScore(decoder, "de", "en"))
    backward = ForcedScore(decoder, "de", "en")([Pair(other[0], texts[0])])[0]
    assert both([Pair(texts[0], other[0])]) == [pytest.approx(dual_score(-foreign[0], -backward))]
    back = [t.text for t in translator.translate(other, "de", "en", beam=1)]
    trip = RoundTripScore(translator, "en", "de", {"beam": 1})
    assert trip([Pair(*p) for p in zip(back, other, strict=True)]) == pytest.approx([100.0] * 3)
    scores = trip([Pair("the red cat.", other[0]), Pair("", "ein Haus."), Pair("a cat.", " ")])
    assert 0 <= scores[0] < 100
    assert scores[1:] == [-math.inf, -math.inf]


def test_what_cannot_be_filtered(numbered: CorpusConfig, tmp_path: Path) -> None:
    for which, message in (({}, "not both"), ({"keep": 0.5, "threshold": 1.0}, "not both"), ({"keep": 2.0}, "a share")):
        with pytest.raises(ConfigError, match=message):
            kept(numbered, **which)
    path = tmp_path / "none.tsv"
    path.write_text("a\t-inf\n")
    with pytest.raises(DataError, match=r"no pair of .*none.tsv can be scored"):
        kept(CorpusConfig("en", "de", path=str(path)), keep=0.5)
    path.write_text("")
    with pytest.raises(DataError, match="holds no pair"):
        kept(CorpusConfig("en", "de", path=str(path)), keep=0.5)

"""The sentences to correct: constructed ones that are uncertain, new or unlike the others come first."""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError, DataError
from regard.tasks.forced import ForcedDecoder
from regard.tasks.selection import Candidate, KnownText, Weights, candidates, choose
from regard.tasks.translation import Translator

ONLY_DOUBT, ONLY_NOVELTY, ONLY_DIVERSITY = Weights(1, 0, 0), Weights(0, 1, 0), Weights(0, 0, 1)


def pool(doubts: list[float], novelties: list[float] | None = None) -> list[Candidate]:
    return [
        Candidate(f"sentence {i}", f"Satz {i}", doubt, novelty)
        for i, (doubt, novelty) in enumerate(zip(doubts, novelties or [0.0] * len(doubts), strict=True))
    ]


def numbers(*arguments: object) -> list[int]:
    return [int(chosen.candidate.text.split()[1]) for chosen in choose(*arguments)]  # type: ignore[arg-type]


def test_what_the_model_doubts_comes_first() -> None:
    assert numbers(pool([0.5, 2.5, 1.5, 2.5]), 3, ONLY_DOUBT) == [1, 3, 2]  # of equal ones the first


def test_what_is_new_comes_first() -> None:
    assert numbers(pool([9, 1, 5], [0.1, 0.9, 0.5]), 3, ONLY_NOVELTY) == [1, 2, 0]


def test_what_is_unlike_comes_first() -> None:
    """Three clusters: one of each before a second one of any."""
    angles = np.radians([0, 1, 2, 120, 121, 240])
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    first = numbers(pool([0.0] * 6), 3, ONLY_DIVERSITY, places)
    assert {{0: "a", 1: "a", 2: "a", 3: "b", 4: "b", 5: "c"}[i] for i in first} == {"a", "b", "c"}
    assert sorted(numbers(pool([0.0] * 6), 99, ONLY_DIVERSITY, places)) == list(range(6))


@settings(deadline=None)  # other work on the machine is no failure
@given(st.lists(st.tuples(*[st.floats(-3, 3)] * 3), min_size=2, max_size=9), st.integers(1, 9))
def test_diversity_alone_is_greedy_k_centre(points: list[tuple[float, ...]], count: int) -> None:
    """Each next sentence is the one farthest, by the cosine, from the nearest that is chosen."""
    places = np.array(points)
    units = places - places.mean(axis=0)
    lengths = np.linalg.norm(units, axis=1, keepdims=True)
    units = units / np.where(lengths > 1e-12, lengths, 1)
    found = numbers(pool([0.0] * len(points)), count, ONLY_DIVERSITY, places)
    assert found[0] == 0
    for place in range(1, len(found)):
        nearest = {
            i: min(1 - units[i] @ units[j] for j in found[:place]) for i in range(len(points)) if i not in found[:place]
        }
        assert nearest[found[place]] == pytest.approx(max(nearest.values()), abs=1e-9)


def test_reasons_are_weighed_against_each_other() -> None:
    """A near copy of what is chosen gives way to a sentence that is a little less uncertain."""
    places = np.array([[1.0, 0.0], [1.0, 0.01], [0.0, 1.0], [-1.0, -1.0]])
    doubts = [4.0, 3.0, 2.0, 1.0]
    assert numbers(pool(doubts), 2, Weights(1, 0, 0), places) == [0, 1]
    assert numbers(pool(doubts), 2, Weights(1, 0, 1), places) == [0, 2]
    assert numbers(pool(doubts, [0.0, 0.0, 0.0, 1.0]), 1, Weights(1, 5, 0)) == [3]


def test_gain_and_reason() -> None:
    candidate = Candidate("The zebra sleeps.", "Das Zebra schläft.", 1.25, 0.5, ("zebra", "a", "b", "c", "d", "e"))
    places = np.array([[1.0, 0.0], [-1.0, 0.0]])
    chosen = choose([Candidate("x", "y", 2.0, 0.9), candidate], 2, Weights(), places)
    assert chosen[0].gain == pytest.approx(3)
    assert chosen[0].parts == {"uncertainty": 1, "novelty": 1, "diversity": 0}
    assert chosen[1].gain == pytest.approx(1)
    assert chosen[1].reason == "unlike those before it (1.00)"
    alone = choose([candidate, Candidate("x", "y", 0.5, 0.2)], 1, Weights(1, 2, 0))[0]
    assert alone.reason == "new (50%: zebra, a, b, c, d, …); uncertain (1.25 nats a piece)"


def test_novelty_counts_words_and_pairs_that_are_not_known() -> None:
    known = KnownText(["The red cat sees the dog.", "门开着"])
    assert known.novelty("the RED cat!") == 0
    assert known.novelty("the blue cat") == pytest.approx((1 / 3 + 2 / 2) / 2)
    assert known.novelty("the cat") == pytest.approx((0 + 1) / 2)
    assert known.novelty("blue") == 1
    assert known.novelty("…") == 0
    assert known.novelty("门开了") == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert known.new_words("a blue cat and a green one") == ("a", "blue", "and", "green", "one")


@pytest.fixture(scope="module")
def translator(two_way_model: Path) -> Translator:
    return Translator.from_pretrained(two_way_model, engine="torch", device="cpu", precision="fp32")


TEXT = ["the red cat.", "", "a dog likes the river.", "the red cat.", "♥", "house " * 30, "the  old\thouse."]


def test_candidates_are_drafted_and_judged(translator: Translator) -> None:
    known = KnownText(["the red cat likes a dog."])
    found = list(candidates(translator, TEXT, "en", "de", known, max_words=20, chunk=2, beam=1))
    assert [c.text for c in found] == ["the red cat.", "a dog likes the river.", "the old house."]
    for c in found:
        alone = translator.translate(c.text, "en", "de", beam=1)
        assert c.draft == " ".join(alone.text.split())
        assert c.doubt == pytest.approx(-alone.score, abs=1e-4)
    assert found[0].novelty == 0
    assert found[2].new_words == ("old", "house")
    doubts = [
        c.doubt for c in candidates(translator, TEXT, "en", "de", known, forced=ForcedDecoder(translator), beam=1)
    ]
    assert all(0 < doubt < math.log(310) for doubt in doubts)
    assert doubts[:2] != [c.doubt for c in found][:2]


def test_the_same_choice_again(translator: Translator) -> None:
    places = ForcedDecoder(translator).represent(TEXT[:3], "en", "de")
    found = list(candidates(translator, TEXT[:3:2], "en", "de", KnownText(), beam=1))
    choices = [choose(found, 2, Weights(), places[::2]) for _ in range(2)]
    assert choices[0] == choices[1]


def test_what_cannot_be_chosen_from(translator: Translator) -> None:
    with pytest.raises(DataError, match="no sentence to choose from"):
        choose([], 3, ONLY_DOUBT)
    with pytest.raises(ConfigError, match="diversity needs"):
        choose(pool([1.0]), 1, Weights())
    for weights in ((0, 0, 0), (-1, 1, 1), (math.nan, 1, 1)):
        with pytest.raises(ConfigError, match="cannot be negative, nor all be 0"):
            Weights(*weights)
    with pytest.raises(ConfigError, match="does not translate en→fr"):
        list(candidates(translator, TEXT, "en", "fr", KnownText()))

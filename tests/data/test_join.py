"""Joined examples: how many, of what, and with which space between."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError, DataError
from regard.data.corpus import Pair
from regard.data.join import JoinConfig, join

PAIRS = [Pair(f"Barn {i} is red.", f"Scheune {i} ist rot.") for i in range(50)]


def numbers(text: str) -> list[str]:
    return re.findall(r"\d+", text)


def test_sides_stay_parallel_and_are_joined_by_spaces() -> None:
    joined = list(join(PAIRS, JoinConfig(share=2, max_sentences=3), "en", "de"))
    assert len(joined) == 100
    for pair in joined:
        assert pair.source == " ".join(f"Barn {i} is red." for i in numbers(pair.source))
        assert pair.target == " ".join(f"Scheune {i} ist rot." for i in numbers(pair.source))
    sizes = [len(numbers(pair.source)) for pair in joined]
    assert set(sizes) == {2, 3}
    assert 30 < sizes.count(2) < 70
    assert len({tuple(numbers(pair.source)) for pair in joined}) > 95, "shuffled, not neighbours"


def test_the_seed_decides() -> None:
    def run(seed: int) -> list[Pair]:
        return list(join(PAIRS, JoinConfig(share=0.5, seed=seed), "en", "de"))

    assert run(1) == run(1)
    assert run(1) != run(2)


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.001, 0), (0.1, 5), (1.5, 75)])
def test_the_share_gives_the_number(share: float, count: int) -> None:
    assert len(list(join(PAIRS, JoinConfig(share=share), "en", "de"))) == count


def test_chinese_and_japanese_are_joined_without_a_space() -> None:
    pairs = [Pair("船来了。", "舟が来た。"), Pair("下雨了。", "雨だ。")]
    for pair in join(pairs, JoinConfig(share=3), "zh-Hans", "ja_JP"):
        assert pair.source in ("船来了。下雨了。", "下雨了。船来了。")
        assert pair.target in ("舟が来た。雨だ。", "雨だ。舟が来た。")
    [pair] = join(pairs, JoinConfig(share=0.5), "fr", "cmn")
    assert pair.source in ("船来了。 下雨了。", "下雨了。 船来了。")
    latin = [Pair("Use Python.", "用 Python."), Pair("Use C.", "C 好.")]
    targets = {pair.target for pair in join(latin, JoinConfig(share=10), "en", "zh")}
    assert targets == {"用 Python. C 好.", "C 好.用 Python."}


def test_unfinished_sentences_are_left_out_where_there_are_others() -> None:
    unfinished = [Pair(f"red barn {i}", f"rote Scheune {i}") for i in range(50, 90)]
    half = [Pair("Is it red?", "ist sie rot")]
    closed = [Pair('"Barn 90 is red."', "„Scheune 90 ist rot.“"), Pair("(Barn 91?)", "（谷仓 91？）")]
    joined = list(join(PAIRS[:10] + unfinished + half + closed, JoinConfig(share=5), "en", "de"))
    used = {number for pair in joined for number in numbers(pair.source)}
    assert used == {str(i) for i in [*range(10), 90, 91]}
    assert not any("Is it red?" in pair.source for pair in joined)
    # Captions have no stops: then they are joined as they are.
    assert len(list(join(unfinished, JoinConfig(share=1), "en", "de"))) == 40


@pytest.mark.parametrize(("length", "count"), [(49, 2), (40, 2), (32, 3)])
def test_as_many_are_joined_as_fit(length: int, count: int) -> None:
    pairs = [Pair("a" * (length - 1) + ".", "b.") for _ in range(9)]
    joined = list(join(pairs, JoinConfig(share=3, max_sentences=6, max_characters=100), "en", "de"))
    assert max(pair.target.count(".") for pair in joined) == count
    assert max(len(pair.source) for pair in joined) == count * length + count - 1


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 80)), min_size=2, max_size=12),
    limit=st.integers(20, 120),
    size=st.integers(2, 6),
    seed=st.integers(0, 99),
)
def test_no_joined_side_is_too_long(lengths: list[tuple[int, int]], limit: int, size: int, seed: int) -> None:
    pairs = [Pair("a" * a, "b" * b) for a, b in lengths]
    config = JoinConfig(share=3, max_sentences=size, max_characters=limit, seed=seed)
    short = [pair for pair in pairs if min(map(len, pair)) > 0 and max(map(len, pair)) <= (limit - 1) // 2]
    if len(short) < 2:
        with pytest.raises(DataError, match="needs two pairs"):
            list(join(pairs, config, "en", "de"))
        return
    joined = list(join(pairs, config, "en", "de"))
    assert len(joined) == 3 * len(pairs)
    for pair in joined:
        assert max(map(len, pair)) <= limit
        assert 1 <= pair.source.count(" ") == pair.target.count(" ") <= size - 1


@pytest.mark.parametrize("settings", [{"share": -0.1}, {"share": 11}, {"max_sentences": 1}, {"max_characters": 5}])
def test_configuration_is_checked(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        JoinConfig(**settings)  # type: ignore[arg-type]

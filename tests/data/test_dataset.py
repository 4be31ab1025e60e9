import resource
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import DataError, RegardError
from regard.data.corpus import Pair
from regard.data.dataset import PairStore, Part


class Characters:
    """A tokenizer that makes a piece of each character."""

    vocab_size = 1000

    def encode_batch(self, texts: list[str]) -> list[list[int]]:
        return [[ord(c) % self.vocab_size for c in text] for text in texts]


class Huge(Characters):
    vocab_size = 1 << 17


def build(folder: Path, pairs: list[tuple[str, str]], tokenizer: Characters | None = None, **options: int) -> PairStore:
    numbered = enumerate((Pair(*pair) for pair in pairs), start=1)
    tokenizer = tokenizer or Characters()
    return PairStore.build(folder, numbered, tokenizer, tokenizer, **options)[0]  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1), st.booleans())
def test_what_goes_in_comes_out_in_order(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]], keep_text: bool
) -> None:
    store = build(tmp_path_factory.mktemp("store") / "x", pairs, keep_text=keep_text)
    assert len(store) == len(pairs)
    for i, (source, target) in enumerate(pairs):
        assert store.source[i].tolist() == [ord(c) % 1000 for c in source]
        assert store.target[i].tolist() == [ord(c) % 1000 for c in target]
        assert store.number(i) == i + 1
        if keep_text:
            assert (store.text(i, 0), store.text(i, 1)) == (source, target)
    assert store.source.lengths().tolist() == [len(source) for source, _ in pairs]


def test_empty_and_long_pairs_are_left_out_and_the_numbers_stay(tmp_path: Path) -> None:
    pairs = [("a", "b"), ("", "x"), ("y", ""), ("abcd", "b"), ("a", "bcde"), ("abc", "abc")]
    numbered = enumerate((Pair(*pair) for pair in pairs), start=1)
    store, dropped = PairStore.build(tmp_path / "x", numbered, Characters(), Characters(), max_tokens=3)  # type: ignore[arg-type]
    assert dropped == 4
    assert [store.number(i) for i in range(len(store))] == [1, 6]


def test_it_is_mapped_and_not_read(tmp_path: Path) -> None:
    store = build(tmp_path / "x", [("abc", "de")] * 3)
    assert isinstance(store.source.values, np.memmap)
    assert isinstance(store.source.offsets, np.memmap)
    assert store.source.values.dtype == np.uint16


def test_large_vocabularies_take_wider_numbers(tmp_path: Path) -> None:
    store = build(tmp_path / "x", [("\U00012345", "a")], Huge())
    assert store.source[0].tolist() == [0x12345]
    assert store.source.values.dtype == np.uint32


def test_memory_does_not_grow_with_the_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("regard.data.dataset._CHUNK", 500)

    def peak(count: int) -> int:
        pairs = ((i, Pair(f"{i:050}", f"{i:050}")) for i in range(count))
        tracemalloc.start()
        try:
            PairStore.build(tmp_path / f"{count}", pairs, Characters(), Characters())  # type: ignore[arg-type]
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    few, many = peak(1_000), peak(10_000)
    assert many < few + 30 * 9_000  # a pair itself takes 3,000 bytes; what is kept of it are numbers


def test_nothing_left_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no pair is left to train on \(2 were empty or longer than 1 pieces\)"):
        build(tmp_path / "x", [("ab", "c"), ("", "c")], max_tokens=1)
    with pytest.raises(DataError, match=r"\(1 were empty\)"):
        build(tmp_path / "x", [("", "c")])
    assert list(tmp_path.iterdir()) == []


def test_a_failure_while_reading_leaves_the_earlier_store(tmp_path: Path) -> None:
    build(tmp_path / "x", [("old", "old")])

    def broken() -> Iterator[tuple[int, Pair]]:
        yield 1, Pair("new", "new")
        raise DataError("line 2 is not UTF-8")

    with pytest.raises(DataError, match="line 2"):
        PairStore.build(tmp_path / "x", broken(), Characters(), Characters())  # type: ignore[arg-type]
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
    assert len(PairStore(tmp_path / "x").source[0]) == 3


def test_a_full_disk_is_an_error_and_no_bus_error(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, hard))
        with pytest.raises(RegardError, match=r"cannot write .*Free some space"):
            build(tmp_path / "x", [("a" * 100, "b" * 100)] * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["missing", "cut", "other"])
def test_damage_is_named(tmp_path: Path, damage: str) -> None:
    build(tmp_path / "data" / "x", [("abc", "de")] * 3)
    path = tmp_path / "data" / "x" / "source.values.npy"
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-2])
    else:
        np.save(path, np.zeros(2, dtype=np.uint16))
    with pytest.raises(DataError, match=r"tokenised corpus .*x is damaged .*Remove .*data"):
        PairStore(tmp_path / "data" / "x")


def test_stores_of_the_first_version_have_no_numbers(tmp_path: Path) -> None:
    build(tmp_path / "x", [("a", "b")])
    (tmp_path / "x" / "numbers.npy").unlink()
    assert PairStore(tmp_path / "x").number(0) is None


def test_text_that_was_not_kept(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="keep_text"):
        build(tmp_path / "x", [("a", "b")]).text(0, 0)


def test_parts_are_views(tmp_path: Path) -> None:
    store = build(tmp_path / "x", [("abc", "de"), ("f", "ghij")])
    forward, backward = Part(store), Part(store, reverse=True, prefix=(9, 8))
    assert [row.tolist() for row in forward.example(0)] == [[97, 98, 99], [100, 101]]
    assert [row.tolist() for row in backward.example(0)] == [[9, 8, 100, 101], [97, 98, 99]]
    # with the end of sentence
    assert [row.tolist() for row in forward.lengths()] == [[4, 2], [3, 5]]
    assert [row.tolist() for row in backward.lengths()] == [[5, 7], [4, 2]]

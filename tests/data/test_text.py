import gzip
from pathlib import Path

import numpy as np
import pytest

from regard.base.errors import ConfigError, DataError
from regard.data.sampler import BatchSampler
from regard.data.text import TextConfig, TextPart, TextStore, check_text
from regard.data.tokenizer import Tokenizer, TokenizerConfig

LINES = [
    "The river is wide. It has three bridges! Who built them?",
    "Nobody knows.",
    "",
    "A second text begins here, with a sentence that is longer than all of the others are.",
    "   ",
    "The end.",
]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return Tokenizer.train(LINES * 3, TokenizerConfig(vocab_size=310))


def build(folder: Path, tokenizer: Tokenizer, lines: list[str], max_tokens: int, join_lines: bool) -> TextStore:
    numbered = list(enumerate(lines, start=1))
    return TextStore.build(folder, numbered, tokenizer, "en", max_tokens=max_tokens, join_lines=join_lines)


def texts(store: TextStore, tokenizer: Tokenizer) -> list[list[str]]:
    return [[tokenizer.decode(sentence) for sentence in store[i]] for i in range(len(store))]


def test_documents_become_examples_of_sentences(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = build(tmp_path / "text", tokenizer, LINES, max_tokens=500, join_lines=True)
    assert texts(store, tokenizer) == [
        ["The river is wide.", "It has three bridges!", "Who built them?", "Nobody knows."],
        [LINES[3]],
        ["The end."],
    ]
    assert [store.line(i) for i in range(len(store))] == [1, 4, 6]


def test_lines_become_examples(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = build(tmp_path / "text", tokenizer, LINES, max_tokens=500, join_lines=False)
    assert [len(example) for example in texts(store, tokenizer)] == [3, 1, 1, 1]
    assert [store.line(i) for i in range(len(store))] == [1, 2, 4, 6]


@pytest.mark.parametrize("join_lines", [True, False])
def test_an_example_is_no_longer_than_allowed_and_nothing_is_lost(
    tmp_path: Path, tokenizer: Tokenizer, join_lines: bool
) -> None:
    store = build(tmp_path / "text", tokenizer, LINES, max_tokens=20, join_lines=join_lines)
    assert store.lengths().max() <= 20
    assert store.lengths().tolist() == [sum(map(len, store[i])) for i in range(len(store))]
    whole = build(tmp_path / "whole", tokenizer, LINES, max_tokens=500, join_lines=join_lines)
    assert np.array_equal(store.sentences.values, whole.sentences.values)
    # as few examples as sentences in their order allow
    if join_lines:
        ends = [store[i] for i in range(len(store))]
        for i in range(len(store) - 1):
            same_text = store.line(i + 1) not in (4, 6) or store.line(i) == store.line(i + 1)
            if same_text:
                assert sum(map(len, ends[i])) + len(ends[i + 1][0]) > 20


def test_chunks_do_not_show(tmp_path: Path, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = LINES * 7
    whole = build(tmp_path / "whole", tokenizer, lines, max_tokens=30, join_lines=True)
    monkeypatch.setattr("regard.data.text._CHUNK", 3)
    parts = build(tmp_path / "parts", tokenizer, lines, max_tokens=30, join_lines=True)
    for name in ("sentences.values", "sentences.offsets", "firsts", "lines"):
        assert np.array_equal(np.load(tmp_path / f"whole/{name}.npy"), np.load(tmp_path / f"parts/{name}.npy"))
    assert texts(parts, tokenizer) == texts(whole, tokenizer)


def test_text_stays_on_the_disk(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = build(tmp_path / "text", tokenizer, LINES * 50, max_tokens=64, join_lines=True)
    assert isinstance(store.sentences.values, np.memmap)
    assert store.sentences.values.dtype == np.uint16


def test_batches_are_drawn_from_texts(tmp_path: Path, tokenizer: Tokenizer) -> None:
    store = build(tmp_path / "text", tokenizer, LINES, max_tokens=30, join_lines=True)
    sampler = BatchSampler([TextPart(store, 2.0)], tokens=40, seed=1)
    plans = sampler.plan(0)
    drawn = np.concatenate([plan[:, 1] for plan in plans])
    assert np.bincount(drawn).tolist() == [2] * len(store)
    assert all(sum(store.lengths()[i] + 1 for i in plan[:, 1]) <= 40 for plan in plans)


# ---- what cannot be used


def test_text_without_text(tmp_path: Path, tokenizer: Tokenizer) -> None:
    (tmp_path / "blank.txt").write_text("\n  \n\n")
    with pytest.raises(DataError, match=r"blank\.txt holds no text"):
        check_text(TextConfig(str(tmp_path / "blank.txt"), "en"))
    with pytest.raises(DataError, match="no text is left"):
        build(tmp_path / "text", tokenizer, ["", " "], max_tokens=30, join_lines=True)
    assert not (tmp_path / "text").exists()


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "text.gz", "wb") as file:
        file.write("Genug.\nÜber.\n".encode("latin-1"))
    with pytest.raises(DataError, match=r"text\.gz, line 2: byte 0xdc"):
        check_text(TextConfig(str(tmp_path / "text.gz"), "de"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": ""}, "set path to a file"),
        ({"path": "-"}, "cannot come from standard input"),
        ({"language": "English text"}, "must be a language code"),
        ({"weight": 0.0}, "weight is 0.0; it must be positive"),
    ],
)
def test_settings_that_cannot_be_meant(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        TextConfig(**{"path": "text.txt", "language": "en", **settings})  # type: ignore[arg-type]


def test_a_damaged_store_says_what_to_remove(tmp_path: Path, tokenizer: Tokenizer) -> None:
    build(tmp_path / "text", tokenizer, LINES, max_tokens=30, join_lines=True)
    file = tmp_path / "text" / "sentences.values.npy"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"is damaged .* Remove"):
        TextStore(tmp_path / "text")

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, DataError
from regard.data.corpus import CorpusConfig, Pair, check_corpus, read_pairs
from regard.model.folder import save_model
from regard.tasks.preparation import Prepared, _place, prepare
from regard.tasks.preset import Preset
from regard.tasks.vocabulary import load_tokenizers, save_tokenizers


def quiet(text: str) -> None:
    pass


@pytest.fixture
def made(settings: dict[str, Any]) -> Callable[..., Prepared]:
    """Prepare the preset with changes, and open it."""

    def make(*changes: str) -> Prepared:
        preset = from_dict(Preset, override(settings, changes))
        prepare(preset, quiet)
        return Prepared.open(preset)

    return make


def test_it_is_made_once(made: Callable[..., Prepared], settings: dict[str, Any]) -> None:
    made()
    folder = Path(settings["output"]) / "data"
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    made("train.steps=99")
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_vocabulary_of_the_model_to_start_from(
    made: Callable[..., Prepared], settings: dict[str, Any], corpora: Path
) -> None:
    """It is taken as it is; what its tags cannot say is refused before anything is written."""
    both = made("data.train.0.both_directions=true", "model.dropout=0", f"output={corpora / 'base'}")
    base = corpora / "base"
    config = Preset.model_config(from_dict(Preset, settings), 300, 300)
    save_model(base, config, {}, task={"name": "translation"})
    save_tokenizers(base, both.tokenizers)
    start = ["tokenizer={}", f"start.model={base}"]
    one = made(*start)  # one direction, and yet tagged as its base is
    assert one.tokenizers[0].encode("the red house.") == both.tokenizers[0].encode("the red house.")
    assert [part.prefix for part in one.parts] == [(both.tokenizers[0].tag_id("<2de>"),)]
    with pytest.raises(ConfigError, match="knows no target language fr; it has <2de> <2en>"):
        made(*start, "data.train.0.target=fr", "data.dev=[]", "train.validate_every=0", f"output={corpora / 'other'}")
    save_tokenizers(base, made(f"output={corpora / 'single'}").tokenizers)
    with pytest.raises(ConfigError, match="translates in one direction; this preset has 2"):
        made(*start, "data.train.0.both_directions=true", f"output={corpora / 'third'}")


def test_what_is_said(settings: dict[str, Any]) -> None:
    said: list[str] = []
    prepare(from_dict(Preset, override(settings, ["data.max_tokens=20"])), said.append)
    train, dev = (settings["data"][name][0]["path"] for name in ("train", "dev"))
    assert said[:3] == [f"{train}: 300 pairs", f"{dev}: 20 pairs", "training the tokenizer"]
    assert "longer than 20 pieces" in said[3]
    assert said[4].startswith("cleaning:\nread")
    assert said[4] == "cleaning:\n" + (Path(settings["output"]) / "data" / "cleaning.txt").read_text().rstrip()


@pytest.mark.parametrize("temperature", [1, 2, 5])
def test_a_temperature_gives_small_corpora_more(made: Callable[..., Prepared], corpora: Path, temperature: int) -> None:
    """Shares of an epoch are proportional to size^(1/T), and the epoch keeps its size."""
    path, small = (corpora / name for name in ("train.tsv", "small.tsv"))
    small.write_text("".join(f"{line}\n" for line in path.read_text().splitlines()[:30]), encoding="utf-8")
    pairs = ", ".join(f'{{"path": "{p}", "source": "en", "target": "de"}}' for p in (path, small))
    parts = made(f"data.train=[{pairs}]", f"data.temperature={temperature}").parts
    shares = [len(part.store) * part.weight for part in parts]
    assert sum(shares) == pytest.approx(sum(len(part.store) for part in parts))
    sizes = [len(part.store) for part in parts]
    assert shares[0] / shares[1] == pytest.approx((sizes[0] / sizes[1]) ** (1 / temperature))


def test_parts_are_directions_with_tags(made: Callable[..., Prepared], corpora: Path) -> None:
    assert [(part.reverse, part.prefix) for part in made().parts] == [(False, ())]
    changes = ["data.train.0.both_directions=true", "data.train.0.weight=0.5", f"output={corpora / 'both'}"]
    both = made(*changes)
    de, en = (both.tokenizers[0].tag_id(tag) for tag in ("<2de>", "<2en>"))
    assert [(p.reverse, p.prefix, p.weight) for p in both.parts] == [(False, (de,), 0.5), (True, (en,), 0.5)]
    english, german = next(read_pairs(both.corpora[0]))
    for part, tag, pair in zip(both.parts, (de, en), [(english, german), (german, english)], strict=True):
        source, target = part.example(0)
        assert source[0] == tag
        assert (both.tokenizers[0].decode(source[1:]), both.tokenizers[1].decode(target)) == pair


def test_separate_vocabularies(made: Callable[..., Prepared], settings: dict[str, Any]) -> None:
    prepared = made("tokenizer.joint=false", "model.tie=none", "tokenizer.vocab_size=290")
    assert prepared.tokenizers[0] is not prepared.tokenizers[1]
    source, target = prepared.parts[0].example(3)
    pair = list(read_pairs(from_dict(Preset, settings).data.train[0]))[3]
    assert (prepared.tokenizers[0].decode(source), prepared.tokenizers[1].decode(target)) == pair


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "train.tsv").write_bytes(b"a\tb\nc\xff\td\n"), r"train\.tsv, line 2: .*not UTF-8"),
        (lambda folder: (folder / "dev.tsv").write_bytes(b"a\tb\nc\xff\td\n"), r"dev\.tsv, line 2: .*not UTF-8"),
        (lambda folder: (folder / "train.tsv").write_text(""), "holds no pair"),
        (lambda folder: (folder / "train.tsv").write_text("a\tb\nc\n"), r"line 2: it has 1 column"),
        (lambda folder: (folder / "dev.tsv").unlink(), "cannot read"),
        (lambda folder: (folder / "train.tsv").write_text("same\tsame\n" * 3), "no pair is left|vocab_size"),
    ],
)
def test_what_is_wrong_stops_before_anything_is_locked_in(
    made: Callable[..., Prepared], settings: dict[str, Any], corpora: Path, damage: Callable[[Path], Any], message: str
) -> None:
    good = {name: (corpora / f"{name}.tsv").read_bytes() for name in ("train", "dev")}
    damage(corpora)
    with pytest.raises((DataError, ConfigError), match=message):
        made()
    assert not (Path(settings["output"]) / "data" / "settings.json").exists()
    for name, content in good.items():
        (corpora / f"{name}.tsv").write_bytes(content)
    made("data.train.0.weight=2", "train.seed=5")


def test_unequal_line_counts(settings: dict[str, Any], corpora: Path) -> None:
    (corpora / "a").write_text("x\ny\n")
    (corpora / "b").write_text("x\n")
    settings["data"]["train"][0] = {
        "source_path": str(corpora / "a"),
        "target_path": str(corpora / "b"),
        "source": "en",
        "target": "de",
    }
    with pytest.raises(DataError, match=r"ends after line 1, but .* has 2 lines"):
        prepare(from_dict(Preset, settings), quiet)
    assert not Path(settings["output"]).exists()


def test_a_vocabulary_that_does_not_fit_can_be_corrected(made: Callable[..., Prepared]) -> None:
    with pytest.raises(ConfigError, match="Set vocab_size to"):
        made("tokenizer.vocab_size=30000")
    assert made("tokenizer.vocab_size=310").tokenizers[0].vocab_size == 310


def test_an_attempt_with_the_other_kind_of_vocabulary_leaves_no_trace(
    made: Callable[..., Prepared], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("regard.tasks.preparation.PairStore.build", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            made()
    folder = Path(settings["output"]) / "data"
    assert (folder / "tokenizer.model").exists()
    prepared = made("tokenizer.joint=false", "model.tie=none", "tokenizer.vocab_size=290")
    assert prepared.tokenizers[0] is not prepared.tokenizers[1]
    assert load_tokenizers(folder)[0].vocab_size == 290


def test_other_settings_are_refused_by_name(made: Callable[..., Prepared], settings: dict[str, Any]) -> None:
    made()
    with pytest.raises(ConfigError, match=r"other settings: data\.train\.0\.weight was 1\.0 and is 2\.0\. Set another"):
        made("data.train.0.weight=2")
    with pytest.raises(ConfigError, match=r"model\.d_ff was 32 and is 64; .*and 1 more"):
        made("data.max_tokens=99", "tokenizer.vocab_size=301", "model.d_ff=64", "train.seed=3")


def test_data_that_was_removed_is_made_again_if_the_settings_are_those_of_the_checkpoints(
    made: Callable[..., Prepared], settings: dict[str, Any]
) -> None:
    made()
    output = Path(settings["output"])
    checkpoint = output / "training" / "step-00000005"
    checkpoint.mkdir(parents=True)
    fingerprint = from_dict(Preset, settings).fingerprint()
    (checkpoint / "state.json").write_text(json.dumps({"format": 1, "settings": fingerprint}))
    before = (output / "data" / "corpus-0" / "source.values.npy").read_bytes()
    shutil.rmtree(output / "data")
    with pytest.raises(ConfigError, match="max_tokens"):
        made("data.max_tokens=99")
    made()
    assert (output / "data" / "corpus-0" / "source.values.npy").read_bytes() == before


def test_data_that_is_damaged_is_named(made: Callable[..., Prepared], settings: dict[str, Any]) -> None:
    made()
    (Path(settings["output"]) / "data" / "corpus-0" / "target.offsets.npy").write_bytes(b"")
    with pytest.raises(DataError, match="damaged"):
        made()


def test_development_sentences_are_kept_out(made: Callable[..., Prepared], corpora: Path) -> None:
    dev = (corpora / "dev.tsv").read_text(encoding="utf-8").splitlines()
    with open(corpora / "train.tsv", "a", encoding="utf-8") as file:
        file.write(dev[0].upper() + "\n")
    prepared = made()
    stored = {
        prepared.tokenizers[0].decode(prepared.parts[0].example(i)[0]) for i in range(len(prepared.parts[0].store))
    }
    assert dev[0].split("\t")[0].upper() not in stored


def test_joined_examples_come_after_each_block(made: Callable[..., Prepared], monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the corpus is, no more than a block of it is in memory."""
    monkeypatch.setattr("regard.tasks.preparation._JOIN_BLOCK", 100)
    store = made("data.join.share=0.1").parts[0].store
    numbers = [store.number(i) for i in range(len(store))]
    joined = [i for i, number in enumerate(numbers) if number == 0]
    assert 20 <= len(joined) <= 30
    assert joined[:10] == list(range(100, 110))
    kept = [number for number in numbers if number]
    assert kept == sorted(set(kept))
    shapes = [[len(store.source[i]) for i in joined[start : start + 10]] for start in (0, 10)]
    assert shapes[0] != shapes[1]  # each block is drawn from in its own way


# ---- where an example stands

PAIRS = [("one", "eins"), ("two", "zwei"), ("three", "drei")]


@pytest.mark.parametrize(
    ("name", "content", "options", "places"),
    [
        ("x.tsv", "one\teins\n\ntwo\tzwei\n\n\nthree\tdrei\n", {}, ["line 1", "line 3", "line 6"]),
        (
            "x.tsv",
            "en\tde\n\none\teins\ntwo\tzwei\nthree\tdrei",
            {"source_column": "en", "target_column": "de"},
            ["line 3", "line 4", "line 5"],
        ),
        (
            "x.jsonl",
            '{"en": "one", "de": "eins"}\n  \n{"en": "two", "de": "zwei"}\n{"en": "three", "de": "drei"}\n',
            {"source_column": "en", "target_column": "de"},
            ["line 1", "line 3", "line 4"],
        ),
        ("x.tsv.gz", "\none\teins\ntwo\tzwei\nthree\tdrei\n", {}, ["line 2", "line 3", "line 4"]),
    ],
)
def test_places_are_lines_of_the_file(
    tmp_path: Path, name: str, content: str, options: dict[str, Any], places: list[str]
) -> None:
    data = content.encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    corpus = CorpusConfig(source="en", target="de", path=str(tmp_path / name), **options)
    assert list(read_pairs(corpus)) == [Pair(*pair) for pair in PAIRS]
    assert [_place(corpus, number) for number in (1, 2, 3)] == places
    assert check_corpus(corpus) == 3
    assert _place(corpus, 4) == "pair 4"  # the file has become shorter since
    (tmp_path / name).unlink()
    assert _place(corpus, 1) == "pair 1"


def test_places_in_plain_files_and_tmx() -> None:
    plain = CorpusConfig(source="en", target="de", source_path="a", target_path="b")
    assert _place(plain, 7) == "line 7"
    assert _place(CorpusConfig(source="en", target="de", path="a.tmx"), 7) == "pair 7"


def test_examples_are_located_after_cleaning_moved_them(made: Callable[..., Prepared], corpora: Path) -> None:
    lines = (corpora / "train.tsv").read_text(encoding="utf-8").splitlines()
    lines[3:3] = ["", "same\tsame", lines[0], "\tempty"]
    (corpora / "train.tsv").write_text("\n".join(lines), encoding="utf-8")
    prepared = made("data.join.share=0.1")
    found = [prepared.locate(0, i) for i in range(len(prepared.parts[0].store))]
    kept = [i for i, place in enumerate(found) if "joined" not in place]
    for i in kept:
        line = int(found[i].rsplit(" ", 1)[1])
        assert prepared.tokenizers[0].decode(prepared.parts[0].example(i)[0]) == lines[line - 1].split("\t")[0]
    assert found[3] == f"{corpora / 'train.tsv'}, line 8"
    assert found[-1] == f"{corpora / 'train.tsv'}, an example joined of several pairs"


def test_stores_of_the_first_version_name_the_example(made: Callable[..., Prepared], settings: dict[str, Any]) -> None:
    made()
    (Path(settings["output"]) / "data" / "corpus-0" / "numbers.npy").unlink()
    assert made().locate(0, 4).endswith("train.tsv, example 5 after cleaning")

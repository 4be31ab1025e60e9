"""Round trip, safety of tags, determinism and the errors of the tokenizer."""

import hashlib
import json
import pickle
import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError, DataError, ModelError
from regard.data.tokenizer import BOS, EOS, PAD, UNK, Tokenizer, TokenizerConfig

WORDS = (
    "the boat barn walks walking walked green yellow seven carrots carry rain rained we are not here Über schön "
    "garçon 船 很 绿色 今天 下雨 我们 在 田里 ， 。 ？"
).split()
TAGS = ["<2de>", "<2zh-Hans>"]


def sentences(count: int, seed: int = 0) -> list[str]:
    generator = random.Random(seed)
    return [" ".join(generator.choices(WORDS, k=generator.randint(2, 9))) for _ in range(count)]


def train(kind: str = "unigram", size: int = 320, tags: list[str] = TAGS, **settings: object) -> Tokenizer:
    config = TokenizerConfig(kind=kind, vocab_size=size, **settings)  # type: ignore[arg-type]
    return Tokenizer.train(sentences(600), config, tags)


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    return train()


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return train("bpe", 370)


@pytest.fixture(scope="module")
def tokenizers(unigram: Tokenizer, bpe: Tokenizer) -> list[Tokenizer]:
    return [
        unigram,
        bpe,
        train("char", 400, segment="char", lowercase=True),
        train("word", 280, normalization="nfkc"),
        train(segment="char", normalization="identity", split_digits=False),
    ]


TRICKY_WORDS = (
    "<s> </s> <pad> <unk> <0x41> ▁ ▅ ⁇ 你 好 ， “ ａ é e\u0301 İ ß ¨ 1 2024 👩\u200d👩\u200d👧 🇩🇪 the walking"
)
TRICKY_CHARACTERS = " \u00a0\u3000\n\r\t\0\x1b\x85\u200b\u200d\u2028\ufeff\ufffd\ud800"
TRICKY = st.sampled_from(TAGS + TRICKY_WORDS.split(" ")) | st.sampled_from(TRICKY_CHARACTERS)


@settings(deadline=None, max_examples=300)
@given(text=st.lists(TRICKY | st.text(st.characters(), max_size=6), max_size=12).map("".join))
def test_decoding_gives_the_normalised_text_back(tokenizers: list[Tokenizer], text: str) -> None:
    for tokenizer in tokenizers:
        normal = tokenizer.normalize(text)
        assert tokenizer.normalize(normal) == normal
        assert "\n" not in normal
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == normal
        assert all(len(TAGS) + 4 <= i < tokenizer.vocab_size for i in ids), "a special or a tag was produced"
        assert tokenizer.encode_batch([text]) == [ids]


@settings(deadline=None, max_examples=150)
@given(text=st.text(st.characters(), max_size=20), seed=st.integers(0, 2**32 - 1))
def test_a_sampled_segmentation_is_of_the_same_text(unigram: Tokenizer, bpe: Tokenizer, text: str, seed: int) -> None:
    for tokenizer in (unigram, bpe):
        [ids] = tokenizer.sample([text], alpha=0.3, seed=seed)
        assert tokenizer.decode(ids) == tokenizer.normalize(text)


@settings(deadline=None, max_examples=150)
@given(data=st.data())
def test_any_ids_decode_to_one_line(tokenizers: list[Tokenizer], data: st.DataObject) -> None:
    tokenizer = data.draw(st.sampled_from(tokenizers))
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size - 1), max_size=12))
    text = tokenizer.decode(ids)
    assert text == " ".join(text.split())
    assert not re.search(r"[\0-\x1f\x7f▁]", text)


def test_ids_are_where_they_are_promised(tokenizers: list[Tokenizer]) -> None:
    for tokenizer in tokenizers:
        assert tokenizer.pieces([PAD, UNK, BOS, EOS]) == ["<pad>", "<unk>", "<s>", "</s>"]
        assert [tokenizer.tag_id(tag) for tag in TAGS] == [4, 5]
        assert tokenizer.decode([PAD, BOS, 4, *tokenizer.encode("the boat"), 5, EOS, PAD]) == "the boat"
        assert tokenizer.decode([UNK]) == "⁇"
        assert tokenizer.encode("") == tokenizer.encode(" \n ") == []
        assert tokenizer.decode([]) == ""


def test_an_id_out_of_range_is_an_error(unigram: Tokenizer) -> None:
    for function in (unigram.decode, unigram.pieces):
        with pytest.raises(IndexError):
            function([unigram.vocab_size])


def test_light_normalisation_keeps_chinese_punctuation(unigram: Tokenizer) -> None:
    assert unigram.normalize("你好，Ａ１！真的吗？“是；”…") == "你好，A1！真的吗？“是；”…"
    assert unigram.normalize("soft\u00adly e\u0301tait\u2028deux\ttrois") == "softly était deux trois"
    assert train(normalization="nfkc").normalize("你好，ﬁn") == "你好,fin"
    assert train(normalization="identity").normalize("Ａ e\u0301 \n") == "Ａ e\u0301"
    assert train(lowercase=True).normalize("Die STRASSE") == "die strasse"


def test_segmentation_splits_for_learning_and_is_undone() -> None:
    tokenizer = train("char", 400, segment="char")
    plain = train("char", 400)
    assert tokenizer.pieces(tokenizer.encode("下雨")) == ["▁", "下", "▁", "雨"]
    assert plain.pieces(plain.encode("下雨")) == ["▁", "下", "雨"]
    assert tokenizer.decode(tokenizer.encode("今天 下雨，the boat。")) == "今天下雨，the boat。"


def test_digits_are_single_pieces() -> None:
    texts = [f"year {n} again" for n in range(1900, 2020)] * 3

    def pieces(split_digits: bool) -> list[str]:
        tokenizer = Tokenizer.train(texts, TokenizerConfig(kind="bpe", vocab_size=290, split_digits=split_digits))
        return tokenizer.pieces(tokenizer.encode("year 1999"))

    assert [piece for piece in pieces(True) if piece.isdigit()] == list("1999")
    assert "▁1999" not in pieces(True)
    assert any(len(re.findall(r"\d", piece)) > 1 for piece in pieces(False))


def test_training_is_deterministic() -> None:
    def digest(**settings: object) -> str:
        return hashlib.sha256(train(**settings)._processor.serialized_model_proto()).hexdigest()  # type: ignore[arg-type]

    assert digest() == digest()
    assert digest(max_sentences=300, size=310) == digest(max_sentences=300, size=310)
    assert digest(max_sentences=300, size=310) != digest(max_sentences=300, size=310, seed=1)


def test_long_texts_are_learnt_from_and_not_dropped() -> None:
    config = TokenizerConfig(kind="bpe", vocab_size=274)
    tokenizer = Tokenizer.train(["zebra yak " * 3000], config)
    assert len(tokenizer.encode("zebra")) < len("zebra")


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_samples_differ_by_seed_and_only_by_seed(kind: str, unigram: Tokenizer, bpe: Tokenizer) -> None:
    tokenizer = {"unigram": unigram, "bpe": bpe}[kind]
    texts = sentences(60, seed=3)
    first = tokenizer.sample(texts, alpha=0.2, seed=5)
    assert first != tokenizer.encode_batch(texts)
    assert tokenizer.sample(texts, alpha=0.2, seed=6) != first
    tokenizer.encode_batch(texts)
    assert tokenizer.sample(texts, alpha=0.2, seed=5) == first
    assert tokenizer.sample(texts, alpha=0.2, seed=5) == first


def test_threads_do_not_disturb_each_others_samples(unigram: Tokenizer) -> None:
    texts = sentences(20, seed=3)
    seeds = [1, 2, 3, 4] * 50
    alone = [unigram.sample(texts, alpha=0.2, seed=seed) for seed in seeds[:4]]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)  # seconds: threads take turns within a call
    try:
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda seed: unigram.sample(texts, alpha=0.2, seed=seed), seeds))
    finally:
        sys.setswitchinterval(interval)
    assert together == alone * 50


def test_sampling_from_the_best_few(unigram: Tokenizer) -> None:
    texts = sentences(40, seed=4)
    assert unigram.sample(texts, alpha=0.1, nbest=8, seed=1) == unigram.sample(texts, alpha=0.1, nbest=8, seed=1)
    assert unigram.sample(texts, alpha=0.1, nbest=8, seed=1) != unigram.encode_batch(texts)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5"),
        ({"alpha": 0.1, "nbest": 1}, "nbest is 1"),
        ({"alpha": 0.1, "seed": -1}, "seed is -1"),
        ({"alpha": 0.1, "seed": 2**32}, "seed is"),
    ],
)
def test_sampling_arguments_are_checked(unigram: Tokenizer, arguments: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        unigram.sample(["the boat"], **arguments)  # type: ignore[arg-type]


def test_kinds_without_alternatives_refuse_to_sample() -> None:
    with pytest.raises(ConfigError, match="needs unigram or bpe"):
        train("char", 400).sample(["the boat"], alpha=0.1)


def test_a_batch_on_many_threads_keeps_its_order(unigram: Tokenizer) -> None:
    texts = sentences(1500, seed=2)
    assert unigram.encode_batch(texts) == [unigram.encode(text) for text in texts]


@pytest.mark.parametrize("kind", ["unigram", "bpe", "word"])
def test_too_large_a_vocabulary_proposes_one_that_fits(kind: str) -> None:
    with pytest.raises(ConfigError, match="more than these texts can fill") as caught:
        train(kind, 30000)
    found = re.search(r"Set vocab_size to (\d+) or less", str(caught.value))
    assert found
    assert train(kind, int(found[1])).vocab_size == int(found[1])


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_too_small_a_vocabulary_proposes_one_that_fits(kind: str) -> None:
    with pytest.raises(ConfigError, match="too small") as caught:
        train(kind, 200)
    found = re.search(r"Set vocab_size to (\d+) or more", str(caught.value))
    assert found
    assert train(kind, int(found[1])).vocab_size == int(found[1])


@pytest.mark.parametrize("kind", ["char", "word"])
def test_a_vocabulary_smaller_than_the_bytes_is_an_error(kind: str) -> None:
    with pytest.raises(ConfigError, match="vocab_size 100 is too small"):
        train(kind, 100)


@pytest.mark.parametrize("texts", [[], ["", " \n\t", "\0"]])
def test_no_text_is_an_error(texts: list[str]) -> None:
    with pytest.raises(DataError, match="no text"):
        Tokenizer.train(texts, TokenizerConfig())


@pytest.mark.parametrize(
    ("tags", "message"),
    [
        (["2de"], "not a tag"),
        (["<two de>"], "not a tag"),
        (["<s>"], "reserved"),
        (["<0x41>"], "reserved"),
        (["<2de>", "<2de>"], "listed twice"),
    ],
)
def test_tags_are_checked(tags: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        train(tags=tags)


def test_an_unknown_tag_names_the_known_ones(unigram: Tokenizer) -> None:
    with pytest.raises(ConfigError, match=r"no tag '<2fr>'\. Known: <2de>, <2zh-Hans>"):
        unigram.tag_id("<2fr>")
    with pytest.raises(ConfigError, match="It has none"):
        train(tags=[]).tag_id("<2fr>")


@pytest.mark.parametrize(
    "settings", [{"vocab_size": 3}, {"character_coverage": 0.5}, {"character_coverage": 1.1}, {"max_sentences": 0}]
)
def test_configuration_is_checked(settings: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))):
        TokenizerConfig(**settings)  # type: ignore[arg-type]


def test_saved_and_loaded_it_is_the_same(unigram: Tokenizer, tmp_path) -> None:
    unigram.save(tmp_path / "model", "source")
    assert sorted(p.name for p in (tmp_path / "model").iterdir()) == ["source.json", "source.model"]
    loaded = Tokenizer.load(tmp_path / "model", "source")
    assert (loaded.config, loaded.tags, loaded.vocab_size) == (unigram.config, unigram.tags, unigram.vocab_size)
    texts = sentences(50, seed=9)
    assert loaded.encode_batch(texts) == unigram.encode_batch(texts)
    assert pickle.loads(pickle.dumps(unigram)).encode_batch(texts) == unigram.encode_batch(texts)


def test_a_missing_or_damaged_file_is_named(unigram: Tokenizer, tmp_path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.model is missing"):
        Tokenizer.load(tmp_path)
    unigram.save(tmp_path)
    model, description = tmp_path / "tokenizer.model", tmp_path / "tokenizer.json"
    good_model, good_json = model.read_bytes(), description.read_text()

    model.write_bytes(good_model[:-100])
    with pytest.raises(ModelError, match="damaged"):
        Tokenizer.load(tmp_path)
    model.write_bytes(good_model)
    for damage in (
        good_json[:40],
        "[]",
        good_json.replace("regard-tokenizer", "other"),
        good_json.replace("joint", "x"),
    ):
        description.write_text(damage)
        with pytest.raises(ModelError, match=r"tokenizer\.json|cannot be read"):
            Tokenizer.load(tmp_path)
    description.write_text(json.dumps(json.loads(good_json) | {"tags": ["<2fr>"]}))
    with pytest.raises(ModelError, match="<2fr>"):
        Tokenizer.load(tmp_path)
    description.unlink()
    with pytest.raises(ModelError, match=r"tokenizer\.json is missing"):
        Tokenizer.load(tmp_path)


def test_what_is_not_a_model_is_refused(unigram: Tokenizer) -> None:
    with pytest.raises(ModelError, match="not a SentencePiece model"):
        Tokenizer(b"no model at all", unigram.config)

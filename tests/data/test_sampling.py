import hashlib
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regard.base.errors import ConfigError
from regard.data.sampling import SubwordSampler
from regard.data.tokenizer import Tokenizer, TokenizerConfig

STEMS = "boat paint harbour build spring old knit water lamp green".split()
PREFIXES, SUFFIXES = ["", "re", "un", "over"], ["", "s", "ed", "ing", "er", "ers"]
_random = random.Random(1)


def _word() -> str:
    return "".join(_random.choice(parts) for parts in (PREFIXES, STEMS, SUFFIXES))


TEXTS = [" ".join(_word() for _ in range(6)) + "." for _ in range(300)]
TEXTS += ["旧船每年春天都要重新上漆。", "没有人在旧港口给船上漆。"] * 20


def tokenizer(kind: str, **options: object) -> Tokenizer:
    size = 1000 if kind == "char" else 350 if options.get("byte_fallback", True) else 94
    config = TokenizerConfig(kind=kind, vocab_size=size, **options)  # type: ignore[arg-type]
    return Tokenizer.train(TEXTS, config, ["<2zh>"])


@pytest.fixture(scope="module")
def unigram() -> Tokenizer:
    return tokenizer("unigram")


@pytest.fixture(scope="module")
def bpe() -> Tokenizer:
    return tokenizer("bpe")


texts = st.lists(st.sampled_from([*"boatprings 旧船漆, 7🦑é\u2581", "the ", "painted "]), max_size=12).map("".join)


@settings(deadline=None)
@given(texts, st.integers(0, 2**32 - 1))
def test_a_sample_is_of_the_same_text(unigram: Tokenizer, bpe: Tokenizer, text: str, seed: int) -> None:
    for model in (unigram, bpe):
        [ids] = SubwordSampler(model, 0.3).sample([text], seed)
        assert model.decode(ids.tolist()) == model.normalize(text)


@settings(deadline=None)
@given(texts)
def test_without_chance_it_is_the_segmentation_of_sentencepiece(unigram: Tokenizer, bpe: Tokenizer, text: str) -> None:
    [ids] = SubwordSampler(bpe, 0.0).sample([text], 1)
    assert ids.tolist() == bpe.encode(text)
    sampler = SubwordSampler(unigram, 1.0)
    for word in unigram.normalize(text).split():
        segmentations, weights = sampler._choices(word)
        assert segmentations[0] == b"".join(i.to_bytes(4, sys.byteorder) for i in unigram.encode(word))
        assert weights[0] == 1.0  # the most likely one; the others are relative to it


@pytest.mark.parametrize("byte_fallback", [True, False])
def test_unknown_characters(byte_fallback: bool) -> None:
    for kind in ("unigram", "bpe"):
        model = tokenizer(kind, byte_fallback=byte_fallback)
        [ids] = SubwordSampler(model, 0.0).sample(["🦑🦑 boat"], 1)
        if kind == "bpe":
            assert ids.tolist() == model.encode("🦑🦑 boat")
        assert (1 in ids) != byte_fallback


@pytest.mark.parametrize(("kind", "alpha"), [("unigram", 0.2), ("unigram", 0.5), ("bpe", 0.1), ("bpe", 0.4)])
def test_each_segmentation_comes_as_often_as_from_sentencepiece(
    unigram: Tokenizer, bpe: Tokenizer, kind: str, alpha: float
) -> None:
    model, count = {"unigram": unigram, "bpe": bpe}[kind], 4000
    sampler = SubwordSampler(model, alpha)
    ours = Counter(tuple(ids.tolist()) for ids in sampler.sample(["repainted"] * count, 5))
    theirs = Counter(map(tuple, model.sample(["repainted"] * count, alpha=alpha, seed=5)))
    for ids, often in theirs.most_common(6):
        assert abs(ours[ids] - often) / count < 0.04
    lengths = [sum(len(ids) * often for ids, often in found.items()) / count for found in (ours, theirs)]
    assert lengths[0] == pytest.approx(lengths[1], rel=0.03)
    assert len(theirs) > 1


def test_the_seed_decides_and_nothing_else(unigram: Tokenizer, bpe: Tokenizer) -> None:
    for model in (unigram, bpe):
        first, second = SubwordSampler(model, 0.2), SubwordSampler(model, 0.2)
        found = [ids.tolist() for ids in first.sample(TEXTS, 5)]
        assert [ids.tolist() for ids in first.sample(TEXTS, 6)] != found
        second.sample(TEXTS, 99)
        assert [ids.tolist() for ids in second.sample(TEXTS, 5)] == found


def test_another_process_draws_the_same(tmp_path: Path, unigram: Tokenizer) -> None:
    unigram.save(tmp_path)
    program = f"""
import hashlib
from regard.data.sampling import SubwordSampler
from regard.data.tokenizer import Tokenizer
rows = SubwordSampler(Tokenizer.load({str(tmp_path)!r}), 0.2).sample({TEXTS[:9]!r}, 7)
print(hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest())
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    rows = SubwordSampler(unigram, 0.2).sample(TEXTS[:9], 7)
    assert result.stdout.strip() == hashlib.sha256(b"".join(row.tobytes() for row in rows)).hexdigest()


def test_what_cannot_be_sampled(unigram: Tokenizer) -> None:
    with pytest.raises(ConfigError, match="one segmentation only"):
        SubwordSampler(tokenizer("char"), 0.1)
    with pytest.raises(ConfigError, match="alpha is 2"):
        SubwordSampler(unigram, 2)

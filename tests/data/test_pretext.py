from typing import Any

import numpy as np
import pytest

from regard.base.errors import ConfigError
from regard.data.batch import Batch, TextBatch
from regard.data.pretext import PRETEXTS, Vocabulary, describe, pretext_of
from regard.data.tokenizer import BOS, EOS, PAD, Tokenizer, TokenizerConfig

TEXT = ["The boats lie in the harbour.", "Nobody fishes today, since the wind is too strong.", "We wait."]


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def make(kind: str, **settings: Any) -> tuple[Any, Vocabulary, list[list[np.ndarray]]]:
    """An objective, its vocabulary, and two examples: of two sentences and of one."""
    pretext = pretext_of({"kind": kind, **settings})
    marks = pretext.marks(40)
    tokenizer = Tokenizer.train(TEXT * 3, TokenizerConfig(kind="bpe", vocab_size=330), marks)
    sentences = [np.array(tokenizer.encode(text)) for text in TEXT]
    return pretext, Vocabulary(tokenizer, marks), [sentences[:2], sentences[2:]]


def test_what_noise_knows_of_a_vocabulary() -> None:
    tokenizer = Tokenizer.train(TEXT * 3, TokenizerConfig(kind="bpe", vocab_size=330), ["<2de>", "<mask>"])
    vocabulary = Vocabulary(tokenizer, ["<mask>"])
    assert vocabulary.marks.tolist() == [5]
    assert vocabulary.ordinary.tolist() == list(range(6, 330))
    pieces = tokenizer.encode("We wait.")
    assert len(pieces) > 2
    assert vocabulary.starts_word[pieces].tolist() == [p.startswith("▁") for p in tokenizer.pieces(pieces)]
    assert vocabulary.starts_word[pieces].sum() == 2
    with pytest.raises(ConfigError, match="no tag '<extra_id_0>'"):
        Vocabulary(tokenizer, ["<extra_id_0>"])


@pytest.mark.parametrize("whole_words", [False, True])
def test_a_masked_batch(whole_words: bool) -> None:
    pretext, vocabulary, examples = make("masked", whole_words=whole_words, rate=0.3)
    batch = pretext.batch(examples, generator(), vocabulary)
    assert isinstance(batch, TextBatch)
    texts = [np.concatenate(example) for example in examples]
    assert batch.lengths.tolist() == [len(text) + 1 for text in texts]
    originals = np.full(batch.inputs.shape, PAD)
    for row, text in enumerate(texts):
        originals[row, : len(text) + 1] = [*text, EOS]
    assert batch.index is not None
    assert batch.targets.tolist() == originals.flatten()[batch.index].tolist()
    hidden = np.zeros(originals.size, dtype=bool)
    hidden[batch.index] = True
    assert np.array_equal(batch.inputs.numpy().flatten()[~hidden], originals.flatten()[~hidden])
    assert batch.num_tokens == hidden.sum()
    counts = hidden.reshape(originals.shape).sum(1)
    assert counts.min() > 0
    assert whole_words or all(counts[:2] == [max(1, round(0.3 * len(text))) for text in texts])
    if whole_words:
        for row, text in enumerate(texts):
            inside = ~vocabulary.starts_word[text]
            mask = hidden.reshape(originals.shape)[row, : len(text)]
            assert all(mask[i] == mask[i - 1] for i in np.flatnonzero(inside) if i)


def test_a_causal_batch() -> None:
    pretext, vocabulary, examples = make("causal")
    batch = pretext.batch(examples, generator(), vocabulary)
    texts = [np.concatenate(example).tolist() for example in examples]
    assert isinstance(batch, TextBatch)
    assert batch.inputs[1, : len(texts[1]) + 1].tolist() == [BOS, *texts[1]]
    assert batch.inputs[1, len(texts[1]) + 1 :].unique().tolist() == [PAD]
    assert batch.targets.tolist() == [*texts[0], EOS, *texts[1], EOS]
    width = batch.inputs.shape[1]
    assert batch.index is not None
    assert batch.index.tolist() == [*range(len(texts[0]) + 1), *range(width, width + len(texts[1]) + 1)]
    assert pretext.batch(examples[:1], generator(), vocabulary).index is None  # nothing is padded


def test_a_denoising_batch() -> None:
    pretext, vocabulary, examples = make("denoising", infilling=0.0, permute=True)
    batch = pretext.batch(examples, generator(1), vocabulary)
    assert isinstance(batch, Batch)
    assert batch.targets.tolist() == [p for e in examples for p in (*np.concatenate(e), EOS)]
    orders = {tuple(pretext.batch(examples, generator(s), vocabulary).source[0].tolist()) for s in range(20)}
    first, second = examples[0]
    assert orders == {(*first, *second, EOS), (*second, *first, EOS)}

    infilled = make("denoising", permute=False)[0].batch(examples, generator(), vocabulary)
    mask = int(vocabulary.marks[0])
    rest = [piece for piece in infilled.source[0].tolist() if piece not in (mask, EOS, PAD)]
    whole = np.concatenate(examples[0]).tolist()
    assert len(rest) == len(whole) - round(0.3 * len(whole))
    assert mask in infilled.source[0]
    deleted = make("denoising", infilling=0.0, permute=False, deletion=0.25)[0].batch(examples, generator(), vocabulary)
    assert int(deleted.source_lengths[0]) == len(whole) - round(0.25 * len(whole)) + 1


def test_a_batch_of_corrupted_spans() -> None:
    pretext, vocabulary, examples = make("spans", rate=0.3)
    assert pretext.marks(40) == tuple(f"<extra_id_{i}>" for i in range(5))  # 12 hidden pieces: 4 spans, and one more
    batch = pretext.batch(examples, generator(), vocabulary)
    assert isinstance(batch, Batch)
    sentinels = vocabulary.marks.tolist()
    whole = np.concatenate(examples[1]).tolist()
    target = batch.targets.tolist()[-int((batch.target_inputs[1] != PAD).sum()) : -1]
    assert target[0] == sentinels[0]
    assert target[-1] in sentinels
    shown = [p for p in batch.source[1, : batch.source_lengths[1] - 1].tolist() if p not in sentinels]
    assert sorted([*shown, *(p for p in target if p not in sentinels)]) == sorted(whole)


@pytest.mark.parametrize("kind", sorted(PRETEXTS))
def test_the_same_generator_gives_the_same_batch_and_another_one_other_noise(kind: str) -> None:
    pretext, vocabulary, examples = make(kind, **({"rate": 0.5} if kind == "spans" else {}))

    def pieces(seed: int) -> list[Any]:
        batch = pretext.batch(examples, generator(seed), vocabulary)
        seen = batch.inputs if isinstance(batch, TextBatch) else batch.source
        return [seen.tolist(), batch.targets.tolist()]

    assert pieces(1) == pieces(1)
    assert (pieces(1) == pieces(2)) == (kind == "causal")


# ---- settings


@pytest.mark.parametrize("kind", sorted(PRETEXTS))
def test_a_description_is_read_back(kind: str) -> None:
    pretext = pretext_of(kind)
    assert pretext_of(describe(pretext)) == pretext


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("maskd", r"'maskd' is not an objective. Did you mean 'masked'\?"),
        ({"rate": 0.1}, "'None' is not an objective"),
        ({"kind": "masked", "rat": 0.1}, r"unknown setting 'objective.rat'. Did you mean 'rate'\?"),
        ({"kind": "masked", "rate": 0.0}, "rate is 0.0; it must lie between 0 and 1"),
        ({"kind": "masked", "random_share": 0.6, "kept_share": 0.6}, "nor together more than 1"),
        ({"kind": "spans", "mean_span": 0.5}, "mean_span is 0.5; it must lie in 1 to 1000"),
        ({"kind": "denoising", "infilling": 0, "permute": False}, "there is no noise"),
        ({"kind": "denoising", "infilling": 0, "mean_span": 4}, "mean_span has no effect without infilling"),
        ({"kind": "denoising", "deletion": 1.0}, r"deletion is 1.0; it must lie in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be_meant(values: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pretext_of(values)

"""Scores of given translations, against the engine's own and PyTorch's formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch

from regard.base.errors import ConfigError
from regard.data.corpus import Pair
from regard.decode.native_engine import NativeEngine
from regard.tasks import forced
from regard.tasks.forced import ForcedDecoder
from regard.tasks.translation import Translator

TEXTS = ["the red cat.", "a small dog sees the river and the old house.", "a", "likes blue blue."]


@pytest.fixture(scope="module")
def translator(two_way_model: Path) -> Translator:
    return Translator.from_pretrained(two_way_model, engine="torch", device="cpu", precision="fp32")


def test_a_models_own_translation_scores_as_when_it_was_made(translator: Translator) -> None:
    prepared = translator.prepare(TEXTS, "en", "de", beam=1, max_length=40)
    hypotheses = [found[0] for found in translator.engine.translate(prepared.requests)]
    assert all(h.finished for h in hypotheses)
    sources = [request.source[:-1] for request in prepared.requests]
    judged = ForcedDecoder(translator).judge_pieces(sources, [h.ids for h in hypotheses])  # sources with their tag
    for judgement, hypothesis in zip(judged, hypotheses, strict=True):
        assert judgement is not None
        assert judgement.log_prob == pytest.approx(float(np.mean(hypothesis.log_probs)), abs=1e-4)


@torch.no_grad()
def test_entropy_and_log_probability_are_those_of_the_formula(translator: Translator) -> None:
    """One pair at a time, from the model's logits; batches of any size give the same."""
    pairs = [Pair(text, other) for text, other in zip(TEXTS, reversed(TEXTS), strict=True)]
    model, tokenizer = translator.engine.models[0], translator.tokenizers[0]  # type: ignore[union-attr]
    found = ForcedDecoder(translator).judge(pairs, "en", "de")
    for pair, judgement in zip(pairs, found, strict=True):
        source = torch.tensor([[tokenizer.tag_id("<2de>"), *tokenizer.encode(pair.source), 3]])
        target = [*tokenizer.encode(pair.target), 3]
        memory, mask = model.encode(source, torch.tensor([source.shape[1]]))
        p = model.logits(model.decode_full(torch.tensor([[2, *target[:-1]]]), memory, mask))[0].softmax(-1)
        assert judgement is not None
        assert judgement.log_prob == pytest.approx(float(p[range(len(target)), target].log().mean()), abs=1e-5)
        assert judgement.entropy == pytest.approx(float(-(p * p.log()).sum(-1).mean()), abs=1e-4)


def test_the_size_of_batches_changes_nothing(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, pairs = ForcedDecoder(translator), [Pair(text, text) for text in TEXTS]
    together = decoder.judge(pairs, "en", "de"), decoder.represent(TEXTS, "en", "de")
    monkeypatch.setattr(forced, "_BATCH_PIECES", 1)
    alone = decoder.judge(pairs, "en", "de"), decoder.represent(TEXTS, "en", "de")
    for one, other in zip(together[0], alone[0], strict=True):
        assert one is not None
        assert other is not None
        assert one.log_prob == pytest.approx(other.log_prob, abs=1e-5)
    np.testing.assert_allclose(together[1], alone[1], atol=1e-5)
    assert together[1].shape == (len(TEXTS), 16)


def test_an_ensemble_is_the_mean_of_its_probabilities(two_way_model: Path, translator: Translator) -> None:
    both = Translator.from_pretrained([two_way_model, two_way_model], device="cpu", precision="fp32")
    pairs = [Pair(text, text) for text in TEXTS]
    one, two = (ForcedDecoder(t).judge(pairs, "en", "de") for t in (translator, both))
    assert [j and round(j.log_prob, 4) for j in one] == [j and round(j.log_prob, 4) for j in two]


def test_pairs_that_cannot_be_judged(translator: Translator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forced, "MAX_PIECES", 12)
    pairs = [Pair("", "a"), Pair("a", ""), Pair("a", "red " * 20), Pair("red " * 20, "a"), Pair("a", "a")]
    found = ForcedDecoder(translator).judge(pairs, "en", "de")
    assert [judgement is None for judgement in found] == [True, True, True, True, False]
    assert ForcedDecoder(translator).judge([], "en", "de") == []


def test_what_it_cannot_work_with(translator: Translator, two_way_model: Path) -> None:
    with pytest.raises(ConfigError, match="does not translate en→fr"):
        ForcedDecoder(translator).judge([Pair("a", "b")], "en", "fr")
    native = Translator.from_pretrained(two_way_model, device="cpu")
    if isinstance(native.engine, NativeEngine):
        with pytest.raises(ConfigError, match="PyTorch engine"):
            ForcedDecoder(native)

"""Both engines give the same hypotheses in float32, for every kind of model and every option."""

import dataclasses
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from regard.decode import Hypothesis, NativeEngine, Options, Request, TorchEngine
from regard.model import Transformer

EOS = 3
Make = Callable[..., Transformer]
Native = Callable[..., NativeEngine]
PyTorch = Callable[..., TorchEngine]


def sentences(count: int, vocab: int = 70, seed: int = 0) -> list[list[int]]:
    """Sources of different lengths."""
    draw = random.Random(seed)
    return [[*(draw.randrange(4, vocab) for _ in range(draw.randrange(1, 14))), EOS] for _ in range(count)]


def assert_same(found: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> None:
    assert len(found) == len(expected)
    for mine, theirs in zip(found, expected, strict=True):
        assert [h.ids for h in mine] == [h.ids for h in theirs]
        assert [h.finished for h in mine] == [h.finished for h in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert a.score == pytest.approx(b.score, abs=2e-4)
            assert a.log_probs == pytest.approx(b.log_probs, abs=2e-4)
            assert (a.alignment is None) == (b.alignment is None)
            if a.alignment is not None and b.alignment is not None:
                np.testing.assert_allclose(a.alignment, b.alignment, atol=1e-4)


MODELS: dict[str, dict[str, Any]] = {
    "as shipped": {},
    "post-norm, GELU, learned positions": {"norm_position": "post", "activation": "gelu", "position": "learned"},
    "RMSNorm, SwiGLU, rotary": {"norm": "rmsnorm", "activation": "swiglu", "position": "rotary"},
    "post-norm RMSNorm, SiLU": {"norm_position": "post", "norm": "rmsnorm", "activation": "silu"},
    "no biases, no positions": {"bias": False, "position": "none"},
    "wide and narrow heads": {"num_heads": 3, "head_dim": 20, "value_dim": 7},
    "rotary heads of 18": {"num_heads": 2, "head_dim": 18, "position": "rotary"},
    "odd widths": {"d_model": 50, "num_heads": 5, "d_ff": 37},
    "wider than a panel": {"d_model": 96, "num_heads": 3, "d_ff": 200},
    "deep encoder, shallow decoder": {"encoder_layers": 4, "decoder_layers": 1},
    "shallow encoder, deep decoder": {"encoder_layers": 1, "decoder_layers": 3},
    "two vocabularies, target tied": {"tie": "decoder", "source_vocab_size": 45},
    "nothing tied, output bias": {"tie": "none", "source_vocab_size": 90, "output_bias": True},
    "one head, unscaled embeddings": {"num_heads": 1, "scale_embeddings": False},
}


@pytest.mark.parametrize("name", MODELS)
def test_every_kind_of_model(make: Make, native: Native, pytorch: PyTorch, name: str) -> None:
    model = make(3, **MODELS[name])
    options = [Options(max_length=9), Options(beam=3, num_hypotheses=2, max_length=9, alignment=True)]
    sources = sentences(6, min(model.config.source_vocab_size, 45))
    requests = [Request(source, options[i % 2]) for i, source in enumerate(sources)]
    assert_same(native(model).translate(requests), pytorch(model).translate(requests))


OPTIONS: dict[str, Options] = {
    "greedy": Options(),
    "beam": Options(beam=4, num_hypotheses=4),
    "wide beam": Options(beam=9, num_hypotheses=9, max_length=6),
    "no length penalty": Options(beam=4, num_hypotheses=3, length_penalty=0.0),
    "strong length penalty": Options(beam=4, length_penalty=2.0),
    "negative length penalty": Options(beam=3, length_penalty=-0.5),
    "minimum": Options(beam=3, min_length=7),
    "exact length": Options(beam=2, min_length=5, max_length=5),
    "one piece": Options(max_length=1),
    "bigrams": Options(beam=3, no_repeat_ngram=2, min_length=12, max_length=14),
    "single pieces": Options(no_repeat_ngram=1, min_length=12, max_length=14),
    "banned": Options(beam=3, banned=((5,), (6, 7), (8, 9, 10), (40,), (41,)), max_length=12),
    "alignment": Options(beam=2, alignment=True),
    "coverage": Options(beam=4, num_hypotheses=4, coverage_penalty=0.4, max_length=8),
    "coverage and alignment": Options(beam=3, num_hypotheses=3, coverage_penalty=0.2, alignment=True),
}


@pytest.fixture(scope="module")
def model(make: Make) -> Transformer:
    return make(1)


@pytest.mark.parametrize("threads", [1, 3])
def test_every_option(model: Transformer, native: Native, pytorch: PyTorch, threads: int) -> None:
    """All in one batch: options belong to the request."""
    sources = sentences(len(OPTIONS), seed=5)
    requests = [Request(source, options) for source, options in zip(sources, OPTIONS.values(), strict=True)]
    assert_same(native(model, threads=threads).translate(requests), pytorch(model).translate(requests))


@pytest.mark.parametrize("beam", [1, 3])
@pytest.mark.parametrize("prefix", [(9,), (8, 4, 8, 60, 11)])
def test_a_prefix(model: Transformer, native: Native, pytorch: PyTorch, beam: int, prefix: tuple[int, ...]) -> None:
    options = Options(beam=beam, max_length=9, alignment=True)
    requests = [Request(source, options, prefix) for source in sentences(3)]
    found = native(model).translate(requests)
    assert all(tuple(h[0].ids[: len(prefix)]) == prefix for h in found)
    assert_same(found, pytorch(model).translate(requests))


def test_long_sentences(make: Make, native: Native, pytorch: PyTorch) -> None:
    """Longer than the first table of positions and several pages of the cache."""
    model = make(2, encoder_layers=1, decoder_layers=1)
    draw = random.Random(7)
    source = [*(draw.randrange(4, 70) for _ in range(400)), EOS]
    requests = [Request(source, Options(beam=2, min_length=300, max_length=300))]
    assert_same(native(model).translate(requests), pytorch(model).translate(requests))


def test_sentences_join_a_running_batch(model: Transformer, native: Native) -> None:
    """What a sentence becomes does not depend on its company."""
    engine = native(model, max_tokens=60)
    sources = sentences(12, seed=9)
    requests = [Request(source, Options(beam=1 + i % 3, max_length=10)) for i, source in enumerate(sources)]
    alone = [engine.translate([request])[0] for request in requests]
    found: dict[int, list[Hypothesis]] = {}
    numbers = []
    for request in requests:
        numbers.append(engine.add(request))
        found |= {r.number: r.hypotheses for r in engine.step(partial=True) if r.finished}
    while engine.busy:
        found |= {r.number: r.hypotheses for r in engine.step()}
    assert_same([found[number] for number in numbers], alone)


def test_int8_is_close_to_float32(make: Make, native: Native) -> None:
    model = make(4, d_model=64, num_heads=4, d_ff=128)
    requests = [Request(source, Options(max_length=12, min_length=12)) for source in sentences(20)]
    exact, rounded = native(model).translate(requests), native(model, "int8").translate(requests)
    forced = [dataclasses.replace(r, prefix=tuple(h[0].ids)) for r, h in zip(requests, exact, strict=True)]
    followed = native(model, "int8").translate(forced)
    difference = [
        abs(a - b)
        for x, y in zip(exact, followed, strict=True)
        for a, b in zip(x[0].log_probs, y[0].log_probs, strict=False)
    ]
    assert sum(difference) / len(difference) < 0.1
    same = sum(a[0].ids == b[0].ids for a, b in zip(exact, rounded, strict=True))
    assert same >= 10


def test_draws(make: Make, native: Native) -> None:
    """They depend on the request alone, and follow the distribution."""
    model = make(6, target_vocab_size=12, source_vocab_size=12, encoder_layers=1)
    source = [5, 7, 6, EOS]
    engine = native(model)
    options = Options(sample=True, num_hypotheses=4, seed=11, max_length=8, temperature=4.0)
    alone = [h.ids for h in engine.translate([Request(source, options)])[0]]
    crowd = [Request([4, 9, EOS], options), Request(source, options), Request([8, EOS], Options(beam=3))]
    assert [h.ids for h in engine.translate(crowd)[1]] == alone
    other = dataclasses.replace(options, seed=12)
    assert [h.ids for h in engine.translate([Request(source, other)])[0]] != alone
    many = Options(sample=True, num_hypotheses=3000, max_length=1, temperature=4.0)
    drawn = engine.translate([Request(source, many)])[0]
    weights = {h.ids[0] if h.ids else EOS: math.exp(h.log_probs[0] / 4) for h in drawn}
    total = sum(weights.values())
    for piece, weight in weights.items():
        share = weight / total
        count = sum((h.ids[0] if h.ids else EOS) == piece for h in drawn)
        assert count / 3000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 3000) + 2e-3)


def test_narrow_draws_are_greedy(model: Transformer, native: Native) -> None:
    engine, source = native(model), sentences(1)[0]
    greedy = engine.translate([Request(source, Options(max_length=9))])[0][0].ids
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}):
        options = Options(sample=True, max_length=9, **narrow)  # type: ignore[arg-type]
        assert engine.translate([Request(source, options)])[0][0].ids == greedy


def test_int8_is_what_rounded_training_computes(make: Make, native: Native, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine's log-probabilities are those of a model whose products are rounded (regularise.int8).

    On a processor without VNNI the model's inputs are rounded in that engine's way.
    """
    import torch
    from regard.decode._native import quantise

    from regard.data.batch import collate
    from regard.model.head import predicting
    from regard.model.rounded import round_products

    def on_128_levels(x: torch.Tensor) -> torch.Tensor:
        rows = [quantise(row.numpy()) for row in x.flatten(0, -2)]
        return torch.stack([(torch.from_numpy(i).float() - zero) * unit for i, unit, zero in rows]).view_as(x)

    if quantise(np.array([-1, 1], np.float32))[2]:
        monkeypatch.setattr("regard.model.rounded.round_inputs", on_128_levels)
    model = make()
    requests = [Request(source) for source in sentences(8)]
    found = [hypotheses[0] for hypotheses in native(model, "int8", never=[]).translate(requests)]
    special = {"pad_id": 0, "bos_id": 2, "eos_id": 3}
    batch = collate([r.source[:-1] for r in requests], [h.ids for h in found], **special)
    theirs = torch.tensor([p for h in found for p in [*h.log_probs, math.nan][: len(h.ids) + 1]])

    def distance() -> float:
        with torch.inference_mode():
            table = model.logits(predicting(model.states(batch), batch.target_index)).log_softmax(-1)
        return float((table.gather(1, batch.targets[:, None])[:, 0] - theirs).abs().nanmean())

    plain = distance()
    round_products(model)
    assert distance() < plain / 20

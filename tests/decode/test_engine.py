"""The engine against exhaustive search, and requests against themselves in other company."""

import itertools
import math

import pytest
import torch

from regard.base.errors import ConfigError, RegardError
from regard.decode import Options, Request, TorchEngine
from regard.decode.request import length_penalty
from regard.model import ModelConfig, Transformer

PAD, UNK, BOS, EOS = range(4)
SOURCE = [5, 7, 6, EOS]
LONGER = [4, 4, 6, 7, 5, 6, 6, EOS]
SHORT = [6, EOS]


def make_model(seed: int = 0, vocab: int = 9, **changes: object) -> Transformer:
    """A tiny random model with weights large enough that its choices differ clearly."""
    torch.manual_seed(seed)
    config = ModelConfig(
        source_vocab_size=vocab,
        target_vocab_size=vocab,
        **{"d_model": 16, "d_ff": 32, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 2, **changes},  # type: ignore[arg-type]
    )
    model = Transformer(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.35 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def model() -> Transformer:
    return make_model()


def make_engine(model: Transformer, **changes: object) -> TorchEngine:
    return TorchEngine(model, device="cpu", precision="fp32", never=[UNK], **changes)  # type: ignore[arg-type]


def log_probs(model: Transformer, source: list[int], output: list[int]) -> list[float]:
    """Log-probability of each piece of ``output`` by one full pass."""
    with torch.no_grad():
        memory, mask = model.encode(torch.tensor([source]), torch.tensor([len(source)]))
        inputs = torch.tensor([[BOS, *output[:-1]]])
        table = model.logits(model.decode_full(inputs, memory, mask)).log_softmax(-1)[0]
    return [float(table[i, piece]) for i, piece in enumerate(output)]


def test_wide_beam_finds_what_exhaustive_search_finds(model: Transformer) -> None:
    limit, pieces = 3, [p for p in range(9) if p not in (PAD, UNK, BOS)]
    every: list[tuple[float, list[int]]] = []
    for length in range(limit):
        for body in itertools.product([p for p in pieces if p != EOS], repeat=length):
            output = [*body, EOS]
            every.append((sum(log_probs(model, SOURCE, output)) / length_penalty(len(output), 0.6), list(body)))
    every.sort(reverse=True)
    options = Options(beam=60, num_hypotheses=5, length_penalty=0.6, max_length=limit)
    found = make_engine(model).translate([Request(SOURCE, options)])[0]
    assert [h.ids for h in found] == [ids for _, ids in every[:5]]
    assert [h.score for h in found] == pytest.approx([score for score, _ in every[:5]], abs=1e-4)


@pytest.mark.parametrize("options", [Options(), Options(beam=4), Options(beam=3, num_hypotheses=3, length_penalty=0.0)])
def test_scores_are_those_of_a_full_pass(model: Transformer, options: Options) -> None:
    for hypothesis in make_engine(model).translate([Request(LONGER, options)])[0]:
        output = [*hypothesis.ids, EOS] if hypothesis.finished else hypothesis.ids
        assert hypothesis.log_probs == pytest.approx(log_probs(model, LONGER, output), abs=1e-4)
        expected = sum(hypothesis.log_probs) / length_penalty(len(output), options.length_penalty)
        assert hypothesis.score == pytest.approx(expected)


@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rotary", "none"])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_sentence_is_translated_the_same_in_any_company(position: str, beam: int) -> None:
    model = make_model(3, position=position, vocab=20)
    options = Options(beam=beam, num_hypotheses=beam, max_length=12)
    requests = [Request(s, options) for s in (SOURCE, LONGER, SHORT, [*LONGER[:-1], *LONGER], SOURCE)]
    alone = [make_engine(model).translate([request])[0] for request in requests]
    together = make_engine(model).translate(requests)
    crowded = make_engine(model, max_tokens=1).translate(requests)  # one after the other
    for a, b, c in zip(alone, together, crowded, strict=True):
        assert [h.ids for h in a] == [h.ids for h in b] == [h.ids for h in c]
        assert [h.score for h in a] == pytest.approx([h.score for h in b], abs=1e-4)


@pytest.mark.parametrize("beam", [1, 3])
def test_requests_join_and_leave_a_running_batch(beam: int) -> None:
    model = make_model(5, vocab=20)
    options = Options(beam=beam, max_length=90, min_length=70)  # past the first capacity of the cache
    alone = make_engine(model).translate([Request(SOURCE, options), Request(LONGER, options), Request(SHORT, options)])
    engine = make_engine(model)
    numbers = [engine.add(Request(SOURCE, options))]
    found = {}
    for i in range(200):
        for result in engine.step():
            found[result.number] = result.hypotheses
        if i == 5:
            numbers.append(engine.add(Request(LONGER, options)))
        if i == 40:
            numbers.append(engine.add(Request(SHORT, options)))
        if not engine.busy:
            break
    assert [found[n][0].ids for n in numbers] == [h[0].ids for h in alone]


def test_cancelled_requests_are_gone(model: Transformer) -> None:
    engine = make_engine(model)
    options = Options(min_length=5, max_length=9)
    first, second, third = (engine.add(Request(SOURCE, options)) for _ in range(3))
    assert engine.cancel(second)
    engine.step()
    assert engine.cancel(first)
    assert not engine.cancel(first)
    numbers = []
    while engine.busy:
        numbers += [result.number for result in engine.step()]
    assert numbers == [third]


def test_partial_results_grow_into_the_final_one(model: Transformer) -> None:
    engine = make_engine(model)
    engine.add(Request(SOURCE, Options(min_length=4, max_length=8)))
    partial: list[list[int]] = []
    while engine.busy:
        for result in engine.step(partial=True):
            partial.append(result.hypotheses[0].ids)
    assert all(partial[-1][: len(p)] == p for p in partial)
    assert len(partial) >= 4


def test_rules_are_kept() -> None:
    model = make_model(1)
    engine = make_engine(model)
    free = engine.translate([Request(SOURCE, Options(beam=2, max_length=12, min_length=12))])[0][0].ids
    piece = free[0]
    banned = engine.translate([Request(SOURCE, Options(beam=2, max_length=12, min_length=12, banned=((piece,),)))])[0][
        0
    ]
    assert piece not in banned.ids
    pair = (free[0], free[1])
    no_pair = engine.translate([Request(SOURCE, Options(max_length=12, min_length=12, banned=(pair,)))])[0][0].ids
    assert pair not in itertools.pairwise(no_pair)
    distinct = engine.translate([Request(SOURCE, Options(beam=3, max_length=12, min_length=12, no_repeat_ngram=2))])[0][
        0
    ]
    pairs = list(itertools.pairwise(distinct.ids))
    assert len(pairs) == len(set(pairs)) >= 11
    short = engine.translate([Request(SOURCE, Options(beam=3, min_length=6, max_length=9))])[0][0]
    assert 6 <= len(short.ids) <= 9
    assert not set(short.ids) & {PAD, UNK, BOS}


@pytest.mark.parametrize("beam", [1, 3])
def test_a_prefix_is_forced_and_its_probability_counted(model: Transformer, beam: int) -> None:
    prefix = (8, 4, 8)
    request = Request(SOURCE, Options(beam=beam, max_length=10), prefix)
    found = make_engine(model).translate([request, Request(LONGER, Options(beam=beam, max_length=10))])[0][0]
    assert tuple(found.ids[:3]) == prefix
    output = [*found.ids, EOS] if found.finished else found.ids
    assert found.log_probs == pytest.approx(log_probs(model, SOURCE, output), abs=1e-4)


def test_what_the_limit_cuts_off_is_marked(model: Transformer) -> None:
    found = make_engine(model).translate([Request(SOURCE, Options(beam=2, min_length=5, max_length=5))])[0]
    assert all(not h.finished and len(h.ids) == 5 for h in found)


def test_draws_depend_on_the_seed_alone() -> None:
    model = make_model(2, vocab=30)
    options = Options(sample=True, num_hypotheses=4, seed=11, max_length=10)
    engine = make_engine(model)
    alone = [h.ids for h in engine.translate([Request(SOURCE, options)])[0]]
    crowd = [Request(LONGER, options), Request(SOURCE, options), Request(SHORT, options)]
    assert [h.ids for h in engine.translate(crowd)[1]] == alone
    assert len({tuple(ids) for ids in alone}) > 1
    other = Options(sample=True, num_hypotheses=4, seed=12, max_length=10)
    assert [h.ids for h in engine.translate([Request(SOURCE, other)])[0]] != alone


def test_draws_follow_the_distribution(model: Transformer) -> None:
    options = Options(sample=True, num_hypotheses=4000, max_length=1)
    drawn = make_engine(model, max_tokens=1 << 20).translate([Request(SOURCE, options)])[0]
    allowed = [p for p in range(9) if p not in (PAD, UNK, BOS)]
    expected = {p: math.exp(log_probs(model, SOURCE, [p])[0]) for p in allowed}
    total = sum(expected.values())
    counts = dict.fromkeys(allowed, 0)
    for hypothesis in drawn:
        counts[hypothesis.ids[0] if hypothesis.ids else EOS] += 1
    for piece in allowed:
        share = expected[piece] / total
        assert counts[piece] / 4000 == pytest.approx(share, abs=4 * math.sqrt(share * (1 - share) / 4000) + 1e-3)


def test_narrow_draws_are_greedy(model: Transformer) -> None:
    engine = make_engine(model)
    greedy = engine.translate([Request(LONGER, Options(max_length=9))])[0][0].ids
    for options in (
        Options(sample=True, top_k=1, max_length=9),
        Options(sample=True, top_p=1e-6, max_length=9),
        Options(sample=True, temperature=1e-4, max_length=9),
    ):
        assert engine.translate([Request(LONGER, options)])[0][0].ids == greedy


def test_an_ensemble_of_one_model_twice_is_that_model(model: Transformer) -> None:
    other = make_model(9)
    request = Request(LONGER, Options(beam=3, max_length=9))
    single = make_engine(model).translate([request])[0][0]
    double = TorchEngine([model, model], device="cpu", precision="fp32", never=[UNK]).translate([request])[0][0]
    assert double.ids == single.ids
    assert double.score == pytest.approx(single.score, abs=1e-4)
    mixed = TorchEngine([model, other], device="cpu", precision="fp32", never=[UNK]).translate([request])[0][0]
    output = [*mixed.ids, EOS] if mixed.finished else mixed.ids
    mean = [
        math.log((math.exp(a) + math.exp(b)) / 2)
        for a, b in zip(log_probs(model, LONGER, output), log_probs(other, LONGER, output), strict=True)
    ]
    assert mixed.log_probs == pytest.approx(mean, abs=1e-4)


def test_alignment_is_the_cross_attention_of_the_translation(model: Transformer) -> None:
    found = make_engine(model).translate([Request(LONGER, Options(alignment=True, max_length=6, min_length=3))])[0][0]
    assert found.alignment is not None
    assert found.alignment.shape == (len(found.ids), len(LONGER))
    assert found.alignment.sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    weights = model.cross_attention(
        torch.tensor([LONGER]), torch.tensor([len(LONGER)]), torch.tensor([[BOS, *found.ids]])
    )
    expected = weights[0].mean(0)[: len(found.ids)].detach().numpy()
    assert found.alignment == pytest.approx(expected, abs=1e-5)


def test_coverage_penalty_ranks_by_what_was_attended(model: Transformer) -> None:
    plain = Options(beam=4, num_hypotheses=4, max_length=7, alignment=True)
    covered = Options(beam=4, num_hypotheses=4, max_length=7, alignment=True, coverage_penalty=0.5)
    engine = make_engine(model)
    before = {tuple(h.ids): h for h in engine.translate([Request(LONGER, plain)])[0]}
    for hypothesis in engine.translate([Request(LONGER, covered)])[0]:
        assert hypothesis.alignment is not None
        if tuple(hypothesis.ids) in before and hypothesis.ids:
            import numpy as np

            penalty = 0.5 * np.log(np.minimum(hypothesis.alignment.sum(0), 1.0)).sum()
            assert hypothesis.score == pytest.approx(before[tuple(hypothesis.ids)].score + penalty, abs=1e-3)


def test_packing_changes_nothing_in_float32_and_little_in_bf16(model: Transformer) -> None:
    request = Request(LONGER, Options(max_length=9, min_length=9))
    with torch.no_grad():
        exact = make_engine(model).translate([request])[0][0]
        rounded = TorchEngine(model, device="cpu", precision="bf16", never=[UNK]).translate([request])[0][0]
    assert exact.log_probs == pytest.approx(log_probs(model, LONGER, exact.ids), abs=1e-4)
    assert rounded.score == pytest.approx(exact.score, abs=0.3)


def test_bad_requests_are_refused(model: Transformer) -> None:
    engine = make_engine(model)
    with pytest.raises(RegardError, match="empty"):
        engine.add(Request([]))
    with pytest.raises(RegardError, match="vocabulary of 9"):
        engine.add(Request([4, 9, EOS]))
    with pytest.raises(RegardError, match="same target vocabulary"):
        TorchEngine([model, make_model(vocab=10)], device="cpu")
    with pytest.raises(ConfigError, match="without sampling"):
        Options(temperature=0.5)
    with pytest.raises(ConfigError, match="beam"):
        Options(num_hypotheses=3)
    assert engine.translate([]) == []

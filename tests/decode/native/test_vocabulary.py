"""What a translation may be made of, and what it must have: both engines agree, and the rules are kept."""

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regard.base.errors import ConfigError, ModelError, RegardError
from regard.decode import Hypothesis, NativeEngine, Options, Request, TorchEngine
from regard.decode.shortlist import ANY, FILE, Shortlist
from regard.model import Transformer
from regard.model.folder import save_model

extension = pytest.importorskip("regard.decode._native", reason="the native engine is not built")
EOS, VOCAB = 3, 70
Native = Callable[..., NativeEngine]
PyTorch = Callable[..., TorchEngine]


@pytest.fixture(scope="module")
def model(make: Callable[..., Transformer]) -> Transformer:
    return make(1)


def sentences(count: int, seed: int) -> list[list[int]]:
    draw = random.Random(seed)
    return [[*(draw.randrange(4, VOCAB) for _ in range(draw.randrange(1, 12))), EOS] for _ in range(count)]


def assert_same(found: list[list[Hypothesis]], expected: list[list[Hypothesis]]) -> None:
    for mine, theirs in zip(found, expected, strict=True):
        assert [(h.ids, h.finished) for h in mine] == [(h.ids, h.finished) for h in theirs]
        for a, b in zip(mine, theirs, strict=True):
            assert a.score == pytest.approx(b.score, abs=2e-4)
            assert a.log_probs == pytest.approx(b.log_probs, abs=2e-4)


def occurs(sequence: tuple[int, ...], ids: list[int]) -> int:
    return sum(tuple(ids[i : i + len(sequence)]) == sequence for i in range(len(ids)))


def random_shortlist(seed: int, tables: tuple[int, ...] = (ANY,)) -> Shortlist:
    draw = np.random.default_rng(seed)
    rows = {tag: [draw.integers(0, VOCAB, draw.integers(0, 9)) for _ in range(VOCAB + 1)] for tag in tables}
    return Shortlist.of_rows(rows, VOCAB)


# ---- a vocabulary of its own


@pytest.mark.parametrize("threads", [1, 3])
def test_a_vocabulary_of_its_own(model: Transformer, native: Native, pytorch: PyTorch, threads: int) -> None:
    """Requests with one and without in one batch, greedy and with a beam, with every other rule."""
    draw = random.Random(2)
    options = [
        Options(max_length=8),
        Options(beam=3, num_hypotheses=3, max_length=8),
        Options(beam=4, max_length=7, banned=((9,), (12, 13)), no_repeat_ngram=2),
        Options(beam=2, max_length=6, min_length=4, alignment=True),
        Options(beam=3, max_length=9, required=((33, 34),)),
    ]
    requests = []
    for i, source in enumerate(sentences(20, 3)):
        own = tuple(draw.sample(range(VOCAB), draw.choice([1, 5, 30, 69]))) if i % 4 else None
        prefix = tuple(draw.randrange(4, VOCAB) for _ in range(draw.choice([0, 0, 2])))
        requests.append(Request(source, options[i % len(options)], prefix, vocabulary=own))
    found = native(model, threads=threads).translate(requests)
    for request, hypotheses in zip(requests, found, strict=True):
        if request.vocabulary is not None:
            required = itertools.chain(*request.options.required)
            assert all({*h.ids} <= {*request.vocabulary, *request.prefix, *required} for h in hypotheses)
    assert_same(found, pytorch(model).translate(requests))


def test_all_pieces_are_what_none_is(model: Transformer, native: Native) -> None:
    source = sentences(1, 4)[0]
    requests = [Request(source, Options(beam=3)), Request(source, Options(beam=3), vocabulary=tuple(range(VOCAB)))]
    assert_same(*([found] for found in native(model).translate(requests)))


def test_draws_are_made_among_the_vocabulary(model: Transformer, native: Native) -> None:
    options = Options(sample=True, num_hypotheses=40, max_length=3, temperature=5.0)
    request = Request([5, 9, EOS], options, vocabulary=(8, 20, 41))
    drawn = {piece for h in native(model).translate([request])[0] for piece in h.ids}
    assert drawn == {8, 20, 41}


def test_the_vocabulary_s_errors(model: Transformer, native: Native, pytorch: PyTorch) -> None:
    for engine in (native(model), pytorch(model)):
        for wrong in ((5, VOCAB), (-1, 5)):
            with pytest.raises(RegardError, match="lies outside"):
                engine.add(Request([5, EOS], vocabulary=wrong))
    with pytest.raises(ConfigError, match="None stands for all"):
        Request([5, EOS], vocabulary=())


# ---- a shortlist


def test_a_shortlist_gives_the_rows_of_the_source() -> None:
    shortlist = random_shortlist(1, (7, 9))
    native = extension.Shortlist([7, 9], shortlist.offsets, shortlist.pieces, VOCAB, VOCAB)
    for source in ([9, 30, 31, EOS], [7, EOS], [7, 7, 69, 0, EOS]):
        table = shortlist.rows()[source[0]]
        expected = sorted(set(np.concatenate([table[s] for s in (*source, VOCAB)]).tolist()))
        assert native.pieces(source) == shortlist.of(source) == expected
    assert native.pieces([8, 30, EOS]) == shortlist.of([8, 30, EOS]) == []


def test_engines_use_a_shortlist(model: Transformer, native: Native, pytorch: PyTorch) -> None:
    """Where it has a table for the source, and the request no vocabulary of its own."""
    shortlist = random_shortlist(2, (7, 9))
    sources = [[tag, *source] for tag in (7, 8, 9) for source in sentences(5, tag)]
    requests = [Request(source, Options(beam=1 + 2 * (i % 2), max_length=8)) for i, source in enumerate(sources)]
    requests.append(Request(sources[0], Options(max_length=8), vocabulary=(50, 51)))
    reference = pytorch(model)
    reference.shortlist = shortlist
    found = native(model, shortlist=shortlist, threads=2).translate(requests)
    for request, hypotheses in zip(requests[:-1], found[:-1], strict=True):
        if request.source[0] != 8:
            assert set(hypotheses[0].ids) <= set(shortlist.of(request.source))
    assert set(found[-1][0].ids) <= {50, 51}
    assert_same(found, reference.translate(requests))
    without = native(model).translate(requests[5:10])
    assert_same(found[5:10], without)
    twin = native(model, shortlist=shortlist).twin()
    assert_same(twin.translate(requests), found)


def test_a_shortlist_on_disk(model: Transformer, native: Native, tmp_path: Path) -> None:
    save_model(tmp_path, model.config, dict(model.named_parameters()), task={})
    shortlist = random_shortlist(3)
    assert shortlist.save(tmp_path) == tmp_path / FILE
    again = Shortlist.load(tmp_path / FILE, VOCAB, VOCAB)
    for mine, theirs in zip(again.rows()[ANY], shortlist.rows()[ANY], strict=True):
        np.testing.assert_array_equal(mine, theirs)
    requests = [Request(source, Options(max_length=8)) for source in sentences(6, 5)]
    engine = NativeEngine.from_folder(tmp_path, precision="fp32", threads=1, never=[1])
    assert_same(engine.translate(requests), native(model, shortlist=shortlist).translate(requests))
    plain = NativeEngine.from_folder(tmp_path, precision="fp32", threads=1, never=[1], use_shortlist=False)
    assert_same(plain.translate(requests), native(model).translate(requests))
    whole = (tmp_path / FILE).read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole + b"x", whole.replace(b"counts", b"counds")):
        (tmp_path / FILE).write_bytes(damaged)
        with pytest.raises(ModelError, match=r"shortlist\.safetensors"):
            NativeEngine.from_folder(tmp_path, threads=1)
    (tmp_path / FILE).write_bytes(whole)
    with pytest.raises(ModelError, match="does not fit this model's vocabulary"):
        Shortlist.load(tmp_path / FILE, VOCAB, 8)
    with pytest.raises(RegardError, match="another vocabulary"):
        native(model, shortlist=Shortlist.of_rows({ANY: [np.arange(3)] * 5}, VOCAB))


def test_merged_shortlists_have_the_rows_of_both() -> None:
    first, second = random_shortlist(4, (7,)), random_shortlist(5, (7, 9))
    merged = first.merged(second)
    assert merged.of([7, 12, EOS]) == sorted({*first.of([7, 12, EOS]), *second.of([7, 12, EOS])})
    assert merged.of([9, 12, EOS]) == second.of([9, 12, EOS])
    with pytest.raises(RegardError, match="different vocabularies"):
        first.merged(Shortlist.of_rows({7: [np.arange(3)] * 5}, VOCAB))


# ---- required sequences


REQUIRED: list[Options] = [
    Options(required=((9,),), max_length=8),
    Options(required=((9, 10, 11),), max_length=8),
    Options(required=((9, 10), (30,), (44, 45)), max_length=11),
    Options(beam=4, num_hypotheses=4, required=((9, 10),), max_length=8),
    Options(beam=9, num_hypotheses=5, required=((9, 10), (10, 11)), max_length=9),
    Options(beam=5, required=((9,), (9,)), max_length=7, no_repeat_ngram=3),
    Options(beam=3, required=((20, 20, 21),), max_length=8, banned=((22,),), length_penalty=0.0),
    Options(beam=2, required=((50, 51, 52, 53),), max_length=1),
    Options(beam=6, required=((9, 10), (9, 12)), min_length=8, max_length=9, alignment=True),
]


@pytest.mark.parametrize("threads", [1, 2])
def test_required_sequences_are_there(model: Transformer, native: Native, pytorch: PyTorch, threads: int) -> None:
    sources = sentences(len(REQUIRED), 6)
    requests = [Request(s, o) for s, o in zip(sources, REQUIRED, strict=True)]
    requests += [Request(s, o, prefix=(9, 60)) for s, o in zip(sources[:5], REQUIRED[:5], strict=True)]
    requests += [Request(s, Options(beam=4, max_length=8)) for s in sources[:2]]  # beside lanes as wide without
    found = native(model, threads=threads).translate(requests)
    for request, hypotheses in zip(requests, found, strict=True):
        for h in hypotheses:
            for sequence in request.options.required:
                assert occurs(sequence, h.ids) >= request.options.required.count(sequence)
    assert_same(found, pytorch(model).translate(requests))


def test_requiring_what_comes_anyway_changes_little(model: Transformer, native: Native) -> None:
    """A wide beam finds the same best translation, with a sequence of it required."""
    engine = native(model)
    for source in sentences(5, 8):
        free = engine.translate([Request(source, Options(beam=12, max_length=7))])[0][0]
        if len(free.ids) > 3 and free.finished:
            options = Options(beam=12, max_length=7, required=(tuple(free.ids[1:3]),))
            assert engine.translate([Request(source, options)])[0][0].score >= free.score - 1e-4


def test_what_cannot_be_required() -> None:
    with pytest.raises(ConfigError, match="empty"):
        Options(required=((),))
    with pytest.raises(ConfigError, match="drawn at random"):
        Options(sample=True, required=((5,),))
    with pytest.raises(ConfigError, match=r"\(5, 6, 7\) is required, but \(6, 7\) is banned"):
        Options(required=((5, 6, 7),), banned=((6, 7),))


def test_rules_that_leave_nothing(model: Transformer, native: Native, pytorch: PyTorch) -> None:
    """Every piece may occur once, but one is required twice: what there is comes back, unfinished."""
    request = Request([5, 6, EOS], Options(beam=2, required=((9,), (9,)), no_repeat_ngram=1, max_length=6))
    found = native(model).translate([request])
    assert not any(h.finished for h in found[0])
    assert_same(found, pytorch(model).translate([request]))


def test_any_requirement_gets_an_answer(model: Transformer, native: Native, pytorch: PyTorch) -> None:
    draw = random.Random(12)
    requests = []
    for source in sentences(60, 13):
        required = [[draw.randrange(4, 12) for _ in range(draw.randint(1, 3))] for _ in range(draw.randint(1, 3))]
        beam = draw.choice([1, 2, 5])
        options = Options(
            beam=beam,
            num_hypotheses=draw.randint(1, beam),
            required=tuple(map(tuple, required)),
            max_length=draw.choice([1, 6, 12]),
            no_repeat_ngram=draw.choice([0, 0, 3]),
            length_penalty=draw.choice([0.0, 1.0]),
        )
        own = tuple(draw.sample(range(VOCAB), 20)) if draw.random() < 0.4 else None
        requests.append(
            Request(source, options, tuple(draw.sample(range(4, 12), draw.choice([0, 0, 2]))), vocabulary=own)
        )
    assert_same(native(model).translate(requests), pytorch(model).translate(requests))

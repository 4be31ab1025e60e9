"""The native engine as a component: many callers, bad input, damaged files, cold start."""

import dataclasses
import os
import random
import struct
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from regard.base.errors import ConfigError, ModelError, RegardError
from regard.decode import NativeEngine, Options, Request
from regard.decode.choice import choose_engine
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_weights, save_model
from regard.model.reading import read_weights

EOS = 3


@pytest.fixture(scope="module")
def model(make: Callable[..., Transformer]) -> Transformer:
    return make(1)


@pytest.fixture
def engine(model: Transformer, native: Callable[..., NativeEngine]) -> NativeEngine:
    return native(model)


@pytest.fixture
def folder(model: Transformer, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", model.config, dict(model.named_parameters()), storage="int8", task={})
    return tmp_path / "model"


def random_request(draw: random.Random) -> Request:
    """Any request that is allowed, of any length."""
    beam = draw.choice([1, 1, 2, 4])
    sample = beam == 1 and draw.random() < 0.3
    shortest = draw.choice([0, 0, 3])
    options = Options(
        beam=beam,
        num_hypotheses=draw.randint(1, 3) if sample else draw.randint(1, beam),
        length_penalty=draw.choice([0.0, 0.6, 1.0]),
        sample=sample,
        top_k=draw.choice([0, 1, 5]) if sample else 0,
        top_p=draw.choice([1.0, 0.5]) if sample else 1.0,
        min_length=shortest,
        max_length=draw.choice([0, shortest + 1, 20]),
        no_repeat_ngram=draw.choice([0, 0, 1, 3]),
        banned=tuple(tuple(draw.randrange(70) for _ in range(draw.randint(1, 3))) for _ in range(draw.randint(0, 5))),
        alignment=draw.random() < 0.3,
        coverage_penalty=draw.choice([0.0, 0.0, 0.3]),
    )
    source = [draw.randrange(70) for _ in range(draw.choice([1, 2, 5, 17, 60]))]
    return Request(source, options, tuple(draw.randrange(4, 70) for _ in range(draw.choice([0, 0, 0, 2, 8]))))


def test_any_request_gets_an_answer(engine: NativeEngine) -> None:
    draw = random.Random(3)
    requests = [random_request(draw) for _ in range(150)]
    for request, hypotheses in zip(requests, engine.translate(requests), strict=True):
        assert 1 <= len(hypotheses) <= request.options.num_hypotheses
        for h in hypotheses:
            assert len(h.log_probs) == len(h.ids) + h.finished
            assert all(0 <= piece < 70 for piece in h.ids)
            assert (h.alignment is not None) == request.options.alignment
            if h.alignment is not None:
                assert h.alignment.shape == (len(h.ids), len(request.source))
                np.testing.assert_allclose(h.alignment.sum(axis=1), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request([]), "the source of a request is empty"),
        (Request([5, 70, EOS]), "a source piece lies outside the vocabulary of 70"),
        (Request([5, -1, EOS]), "a source piece lies outside"),
        (Request([5, EOS], prefix=(700,)), "a piece of the prefix lies outside"),
        (Request([5, EOS], Options(banned=((5, 99),))), "a banned sequence .* outside"),
        (Request([5, EOS], adapters={"mine": 1.0}), "no adapters"),
    ],
)
def test_a_bad_request_is_refused(engine: NativeEngine, request_: Request, message: str) -> None:
    with pytest.raises(RegardError, match=message):
        engine.translate([Request([5, EOS]), request_])
    with pytest.raises(RegardError, match=message):
        engine.add(request_)
    assert not engine.busy
    assert engine.translate([Request([5, EOS])])[0]


def test_learned_positions_have_an_end(make: Callable[..., Transformer], native: Callable[..., NativeEngine]) -> None:
    engine = native(make(0, position="learned", max_positions=12))
    with pytest.raises(RegardError, match="13 pieces, but this model has 12 learned positions"):
        engine.translate([Request([5] * 12 + [EOS])])
    found = engine.translate([Request([5] * 11 + [EOS], Options(min_length=30, max_length=40))])[0][0]
    assert len(found.ids) == 12
    assert not found.finished


def test_cancelled_requests_are_gone(engine: NativeEngine) -> None:
    options = Options(min_length=5, max_length=9)
    first, second, third = (engine.add(Request([7, 8, EOS], options)) for _ in range(3))
    assert engine.cancel(second)
    engine.step()
    assert engine.cancel(first)
    assert not engine.cancel(first)
    numbers = []
    while engine.busy:
        numbers += [result.number for result in engine.step()]
    assert numbers == [third]


def test_partial_results_grow_into_the_final_one(engine: NativeEngine) -> None:
    engine.add(Request([7, 8, 9, EOS], Options(min_length=4, max_length=8)))
    partial: list[list[int]] = []
    while engine.busy:
        partial += [result.hypotheses[0].ids for result in engine.step(partial=True)]
    assert all(partial[-1][: len(ids)] == ids for ids in partial)
    assert len(partial) >= 4


def test_twins_share_weights_and_nothing_else(engine: NativeEngine) -> None:
    twin = engine.twin()
    number = engine.add(Request([7, 8, EOS], Options(max_length=4)))
    assert not twin.busy
    assert twin.translate([Request([7, 8, EOS], Options(max_length=4))])[0]
    results = []
    while engine.busy:
        results += engine.step()
    assert [r.number for r in results] == [number]


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_share_an_engine(
    model: Transformer, native: Callable[..., NativeEngine], threads: int, engine: NativeEngine
) -> None:
    """Everybody gets the answer to their own question, and steppers get theirs."""
    shared = native(model, threads=threads, max_tokens=200)
    draw = random.Random(8)
    questions = [[random_request(draw) for _ in range(5)] for _ in range(6)]
    expected = [engine.translate(requests) for requests in questions]
    wrong: list[object] = []

    def ask(index: int) -> None:
        try:
            for _ in range(3):
                found = shared.translate(questions[index])
                wrong.extend(
                    f for f, e in zip(found, expected[index], strict=True) if [h.ids for h in f] != [h.ids for h in e]
                )
        except BaseException as error:
            wrong.append(error)

    workers = [threading.Thread(target=ask, args=(i,)) for i in range(len(questions))]
    for worker in workers:
        worker.start()
    number, found = shared.add(questions[0][0]), []
    while shared.busy and not found:
        found += [r for r in shared.step() if r.finished]
    for worker in workers:
        worker.join()
    assert wrong == []
    assert [(r.number, [h.ids for h in r.hypotheses]) for r in found] == [(number, [h.ids for h in expected[0][0]])]


def test_a_fork_translates(engine: NativeEngine) -> None:
    """A process that was forked has none of its parent's threads; the engine starts its own."""
    if not hasattr(os, "fork"):
        return
    expected = engine.translate([Request([7, 8, EOS], Options(max_length=5))])[0][0].ids
    code = f"""
import os, warnings, sys
warnings.simplefilter("ignore")
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import make_model, native_engine
from regard.decode import Options, Request
engine, request = native_engine(make_model(1), threads=2), Request([7, 8, 3], Options(max_length=5))
for _ in range(20):  # a fork may come at any moment in the life of the other thread
    engine.translate([request])
    child = os.fork()
    if child == 0:
        os._exit(0 if engine.translate([request])[0][0].ids == {expected!r} else 1)
    if os.waitpid(child, 0)[1]:
        sys.exit(1)
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


# ---- files


def test_a_folder_is_read_as_pytorch_reads_it(
    folder: Path, model: Transformer, native: Callable[..., NativeEngine]
) -> None:
    weights, expected = read_weights(folder / "model.safetensors"), load_weights(folder / "model.safetensors")
    assert set(weights) == set(expected)
    for name, value in weights.items():
        full = value[0] * value[1][:, None] if isinstance(value, tuple) else value
        np.testing.assert_allclose(full, expected[name].numpy(), rtol=1e-6)
    requests = [Request([7, 8, 9, EOS], Options(beam=2, max_length=6))]
    from_file = NativeEngine.from_folder(folder, threads=1, never=[1]).translate(requests)[0][0]
    assert from_file.score == pytest.approx(native(model, "int8").translate(requests)[0][0].score, abs=1e-4)


@pytest.mark.parametrize("storage", ["float32", "float16", "bfloat16"])
def test_every_storage_is_read(model: Transformer, tmp_path: Path, storage: str) -> None:
    save_model(tmp_path, model.config, dict(model.named_parameters()), storage=storage, task={})  # type: ignore[arg-type]
    weights, expected = read_weights(tmp_path / "model.safetensors"), load_weights(tmp_path / "model.safetensors")
    for name, value in weights.items():
        np.testing.assert_array_equal(value, expected[name].numpy())  # type: ignore[arg-type]


def test_damaged_files_are_refused(folder: Path) -> None:
    """Cut short anywhere, overwritten anywhere, or of another kind: an error that names the file, never a crash."""
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    damaged = [whole[: len(whole) * i // 9] for i in range(9)]
    damaged += [b"", b"\x80\x04not a model", struct.pack("<Q", 1 << 60) + whole[8:], whole + b"x"]
    damaged.append(whole.replace(b"encoder_norm", b"encoder_worm"))
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ModelError, match=r"model\.safetensors|encoder_[nw]orm"):
            NativeEngine.from_folder(folder, threads=1)
    path.unlink()
    with pytest.raises(ModelError, match="is missing"):
        NativeEngine.from_folder(folder, threads=1)


def test_weights_must_be_those_of_the_configuration(model: Transformer) -> None:
    weights = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}

    def load(config: ModelConfig = model.config, **changes: object) -> None:
        kept = {name: value for name, value in {**weights, **changes}.items() if value is not None}
        NativeEngine.from_weights(config, kept, threads=1)

    with pytest.raises(ModelError, match=r"'encoder_norm\.weight' is missing"):
        load(**{"encoder_norm.weight": None})
    with pytest.raises(ModelError, match="'surplus' has no place"):
        load(surplus=np.zeros(3, np.float32))
    with pytest.raises(ModelError, match=r"is \(48,\), expected \(40,\)"):
        load(dataclasses.replace(model.config, d_ff=40))
    broken = weights["encoder_norm.weight"].copy()
    broken[:] = np.nan
    engine = NativeEngine.from_weights(model.config, {**weights, "encoder_norm.weight": broken}, threads=1)
    assert len(engine.translate([Request([5, EOS], Options(max_length=3))])) == 1  # nonsense in, but no crash


# ---- which engine


def test_the_native_engine_is_chosen_where_it_fits(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    config = model.config
    assert choose_engine(config, device="cpu").native
    assert choose_engine(config, device="cpu", precision="fp32").native
    for settings, why in (
        ({"models": 2}, "averages"),
        ({"adapters": True}, "adapters"),
        ({"precision": "bf16"}, "bf16"),
        ({"device": "cuda:0"}, "cuda:0"),
        ({"wanted": "torch"}, "asked for"),
    ):
        choice = choose_engine(config, **{"device": "cpu", **settings})  # type: ignore[arg-type]
        assert not choice.native
        assert why in choice.why
    with pytest.raises(ConfigError, match="native engine was asked for, but only the PyTorch engine averages"):
        choose_engine(config, wanted="native", models=2)
    with pytest.raises(ConfigError, match=r"int8.*the PyTorch engine was asked for"):
        choose_engine(config, wanted="torch", precision="int8")
    monkeypatch.setattr("regard.decode.native_engine._native", None)
    assert "not built" in choose_engine(config, device="cpu").why
    with pytest.raises(RegardError, match="cannot be used"):
        NativeEngine.from_weights(config, {})


_COST = """
import resource
used = resource.getrusage(resource.RUSAGE_SELF)
print("torch" in sys.modules, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def test_a_cold_start_needs_no_pytorch(shipped_model: Path) -> None:
    """One sentence, process start included: half a second of processor time at most, and no torch.

    On a machine so busy that the libraries' own imports take long, twice their time.
    """
    translate = f"""
import sys
from regard.cli.main import run
sys.argv = "regard translate --source en --target de --threads 1 --model".split() + [{str(shipped_model)!r}]
try:
    run()
finally:
{textwrap.indent(_COST, "    ")}
"""
    libraries = f"import sys, numpy, sentencepiece, tyro\n{_COST}"
    times: dict[str, list[float]] = {translate: [], libraries: []}
    # As for a user: what was compiled once is kept.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for code, seconds in [*times.items()] * 3:
        done = subprocess.run(
            [sys.executable, "-c", code], input="Good morning.\n", capture_output=True, text=True, env=environment
        )
        imported, used = done.stderr.split()[-2:]
        assert imported == "False", done.stderr
        assert bool(done.stdout.strip()) == (code == translate)
        seconds.append(float(used))
    assert min(times[translate]) < max(0.5, 2 * min(times[libraries]))

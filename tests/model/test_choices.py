"""Every attention that the settings can choose: decoded step by step as all at once, saved and read back, trained."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regard.attention import AdaptiveSpan, Mask, RotaryPositions, T5Bias, record
from regard.base.config import from_dict, to_dict
from regard.base.errors import ConfigError
from regard.data.batch import Batch, collate
from regard.decode import Options, Request, TorchEngine
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_model, save_model

EXACT = {"atol": 1e-10, "rtol": 0.0}
W, PAD, BOS, EOS = 23, 0, 2, 3
SIZES = {"d_model": 12, "d_ff": 20, "num_heads": 2, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}
POSITIONS: list[Any] = ["none", "sinusoidal", "learned", "rotary", "shaw", "transformer_xl", "t5", "alibi"]
DETAILED: list[Any] = [
    {"kind": "rotary", "base": 300.0, "fraction": 0.5},
    {"kind": "shaw", "max_distance": 2},
    {"kind": "t5", "max_distance": 9, "num_buckets": 8},
]
ATTENTIONS: list[dict[str, Any]] = [
    {"similarity": "dot"},
    {"similarity": "cosine", "normaliser": "entmax15"},
    {"similarity": "additive", "normaliser": "sparsemax"},
    {"similarity": "bilinear", "normaliser": "top_k", "top_k": 3},
    {"num_kv_heads": 1},
    {"window": 3},
    {"window": 0},
    {"max_span": 5, "span_ramp": 2, "span_penalty": 0.01},
    {"window": 4, "num_kv_heads": 1, "normaliser": "sparsemax"},
]
CASES: list[dict[str, Any]] = [
    *({"position": position} for position in [*POSITIONS, *DETAILED]),
    *({"attention": attention} for attention in ATTENTIONS),
    *({"attention": {"window": 4, "num_kv_heads": 1}, "position": position} for position in POSITIONS),
]


def make(case: dict[str, Any], **changes: Any) -> Transformer:
    config = from_dict(ModelConfig, {"source_vocab_size": W, "target_vocab_size": W, **SIZES, **case, **changes})
    model = Transformer(config).double()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "part" not in name:  # spans
                parameter.add_(torch.randn_like(parameter) * (0.3 if parameter.dim() > 1 else 0.5))
    return model


def ids(rows: int, length: int) -> Tensor:
    return torch.randint(4, W, (rows, length))


@pytest.mark.parametrize("case", CASES, ids=str)
@torch.no_grad()
def test_step_by_step_is_the_whole_pass(case: dict[str, Any]) -> None:
    model = make(case)
    source, lengths = ids(3, 7), torch.tensor([7, 4, 1])
    inputs = ids(3, 30)
    memory, mask = model.encode(source, lengths)
    whole = model.decode_full(inputs, memory, mask)
    state, found, column = model.start(memory, mask, rows=3, capacity=30), [], 0
    for width in (1, 1, 4, *[1] * 24):
        found.append(model.decode_step(inputs[:, column : column + width], state))
        column += width
    torch.testing.assert_close(torch.cat(found, dim=1), whole, **EXACT)
    window = model.config.attention.window
    if window is not None:
        assert state.caches[0].capacity <= 2 * window + 16


@pytest.mark.parametrize("case", CASES, ids=str)
def test_company_does_not_matter(case: dict[str, Any]) -> None:
    """Sentences that join a running batch, and beams that branch, find what they find alone."""
    model = make(case, max_positions=64)
    options = Options(beam=2, max_length=20)
    requests = [Request(tuple(ids(1, n)[0].tolist()), options) for n in (5, 9, 3)]
    engine = TorchEngine(model.float(), precision="fp32", device="cpu")
    alone = [engine.translate([request])[0][0] for request in requests]
    numbers, found = {}, {}
    for request in requests:
        numbers[engine.add(request)] = len(numbers)
        for result in engine.step() + engine.step() + engine.step():
            found[numbers[result.number]] = result.hypotheses[0]
    while engine.busy:
        for result in engine.step():
            found[numbers[result.number]] = result.hypotheses[0]
    for i, expected in enumerate(alone):
        assert found[i].ids == expected.ids
        assert found[i].score == pytest.approx(expected.score, abs=1e-3)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_saved_and_read_back(case: dict[str, Any], tmp_path: Path) -> None:
    model = make(case).float().eval()
    save_model(tmp_path, model.config, dict(model.named_parameters()), task={"name": "translation"})
    other, _ = load_model(tmp_path)
    assert other.config == model.config
    source, lengths, inputs = ids(2, 5), torch.tensor([5, 2]), ids(2, 6)
    with torch.no_grad():
        expected, found = (m.decode_full(inputs, *m.encode(source, lengths)) for m in (model, other))
    assert torch.equal(found, expected)


def a_batch() -> Batch:
    sources, targets = ([ids(1, n)[0].numpy() for n in lengths] for lengths in ((3, 6), (5, 1)))
    return collate(sources, targets, pad_id=PAD, bos_id=BOS, eos_id=EOS)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_weight_learns(case: dict[str, Any]) -> None:
    model = make(case)
    model(a_batch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("case", [{"position": p} for p in POSITIONS] + [{"attention": a} for a in ATTENTIONS], ids=str)
def test_bf16_has_finite_gradients(case: dict[str, Any]) -> None:
    model = Transformer(from_dict(ModelConfig, {"source_vocab_size": W, "target_vocab_size": W, **SIZES, **case}))
    model.bfloat16()
    model(a_batch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.bfloat16, name
        assert parameter.grad.isfinite().all(), name


@torch.no_grad()
def test_a_window_hides_what_is_far() -> None:
    model = make({"attention": {"window": 2}}, decoder_layers=1, encoder_layers=1)
    memory, mask = model.encode(ids(1, 6), torch.tensor([6]))
    inputs = ids(1, 9)
    changed = inputs.clone()
    changed[0, 3] = changed[0, 3] % 15 + 5
    before, after = (model.decode_full(given, memory, mask)[0] for given in (inputs, changed))
    same = [torch.equal(before[t], after[t]) for t in range(9)]
    assert same == [t not in (3, 4, 5) for t in range(9)]


def test_spans_are_part_of_the_loss_in_training() -> None:
    model, batch = make({"attention": {"max_span": 40, "span_penalty": 0.5}}), a_batch()
    spans = [module.loss() for module in model.modules() if isinstance(module, AdaptiveSpan)]
    assert len(spans) == 4  # self-attention only
    expected = 0.5 * batch.num_tokens * torch.stack(spans).mean()
    training = model(batch)
    torch.testing.assert_close(training - model.eval()(batch), expected, **EXACT)


def test_a_stack_shares_what_the_paper_shares() -> None:
    t5 = make({"position": "t5"})
    tables = {name for name, _ in t5.named_parameters() if "table" in name}
    assert tables == {f"{stack}.0.self_attention.scoring.position.table" for stack in ("encoder", "decoder")}
    kinds = [layer.self_attention.scoring.position for layer in (t5.encoder[1], t5.decoder[1])]  # type: ignore[union-attr]
    assert [kind.bidirectional for kind in kinds if isinstance(kind, T5Bias)] == [True, False]
    shaw = make({"position": "shaw"})
    assert sum("table" in name for name, _ in shaw.named_parameters()) == 4
    assert all(layer.cross_attention.scoring.position is None for layer in shaw.decoder)  # type: ignore[union-attr]


@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_recording_a_model(case: dict[str, Any]) -> None:
    """A whole training step, and the cross-attention as the model has it."""
    model, batch = make(case).eval(), a_batch()
    expected = model(batch)
    with record(model, "decoder.*.cross_attention") as seen:
        found = model(batch)
    assert torch.equal(found, expected)
    assert seen.names == ["decoder.0.cross_attention", "decoder.1.cross_attention"]
    weights = model.cross_attention(batch.source, batch.source_lengths, batch.target_inputs, layer=0)
    torch.testing.assert_close(seen["decoder.0.cross_attention"].weights(), weights, **EXACT)


# ---- settings


def test_a_section_without_details_is_its_name() -> None:
    plain = ModelConfig(W, W)
    values = {**to_dict(plain), "position": {"kind": "sinusoidal"}}
    assert from_dict(ModelConfig, values) == plain
    assert to_dict(from_dict(ModelConfig, values))["position"] == "sinusoidal"
    detailed = from_dict(ModelConfig, {**values, "position": {"kind": "rotary", "base": 500}})
    assert detailed.positions.detail("base") == 500.0
    assert from_dict(ModelConfig, to_dict(detailed)) == detailed
    model = Transformer(detailed)
    rotary = model.encoder[0].self_attention.scoring.position  # type: ignore[union-attr]
    assert isinstance(rotary, RotaryPositions)
    assert rotary.base == 500.0


def test_settings_of_older_models_are_read() -> None:
    values = {name: value for name, value in to_dict(ModelConfig(W, W)).items() if name != "attention"}
    assert from_dict(ModelConfig, values) == ModelConfig(W, W)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"position": "rotery"}, r"position: 'rotery' is not a choice. Did you mean 'rotary'\?"),
        ({"position": {"kind": "rotery"}}, r"position.kind: 'rotery' is not a choice. Did you mean 'rotary'\?"),
        ({"position": {"kind": "t5", "bukets": 4}}, r"unknown setting 'position.bukets'"),
        ({"position": {"kind": "alibi", "base": 4.0}}, "position: base has no effect on alibi positions"),
        ({"position": {"kind": "t5", "num_buckets": 5}}, "num_buckets must be even"),
        ({"position": {"kind": "shaw", "max_distance": 0}}, "max_distance must be at least 1, got 0"),
        ({"position": {"kind": "rotary", "fraction": 1.5}}, r"fraction lie in \(0, 1\]"),
        ({"position": {"kind": "rotary", "fraction": 0.1}}, "fraction 0.1 of 6 features is not even one pair"),
        (
            {"attention": {"similarity": "cosin"}},
            r"attention.similarity: 'cosin' is not a choice. Did you mean 'cosine'",
        ),
        ({"attention": {"top_k": 3}}, "top_k needs normaliser: top_k"),
        ({"attention": {"normaliser": "top_k"}}, "normaliser: top_k needs top_k"),
        ({"attention": {"window": -1}}, "window cannot be negative, got -1"),
        ({"attention": {"num_kv_heads": 3}}, "attention.num_kv_heads 3 does not divide num_heads 2"),
        ({"attention": {"span_penalty": 0.1}}, "span_penalty and span_ramp have no effect without max_span"),
        ({"attention": {"max_span": 9, "normaliser": "sparsemax"}}, "max_span goes with softmax and top_k"),
        ({"attention": {"similarity": "cosine"}, "position": "shaw"}, "position shaw adds a product"),
        ({"attention": {"similarity": "additive"}, "position": "rotary"}, "position rotary goes with dot and cosine"),
    ],
)
def test_errors_say_what_is_wanted(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        from_dict(ModelConfig, {"source_vocab_size": W, "target_vocab_size": W, **SIZES, **settings})


def test_masks_of_a_window_are_not_quadratic() -> None:
    """Training on a long row, nothing of T×T is made: see the tensors that autograd keeps."""
    model = make({"attention": {"window": 8}, "position": "alibi"}, decoder_layers=1, encoder_layers=1).float()
    length, largest = 600, 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal largest
        largest = max(largest, tensor.numel())
        return tensor

    source = ids(1, 3)
    memory, mask = model.encode(source, torch.tensor([3]))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.decode_full(ids(1, length), memory, mask).sum().backward()
    assert largest < length * length / 3
    assert isinstance(mask, Mask)

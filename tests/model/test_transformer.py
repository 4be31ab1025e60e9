"""The Transformer against Marian's and PyTorch's, and step by step against all at once."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import KeyValueCache, Mask, SinusoidalPositions
from regard.base.errors import ModelError
from regard.data.batch import collate
from regard.model import DecoderState, ModelConfig, Transformer
from regard.model.layers import FeedForward, make_norm

EXACT = {"atol": 1e-10, "rtol": 0.0}
W, PAD = 23, 0
SIZES = {"d_model": 12, "d_ff": 20, "num_heads": 3, "encoder_layers": 2, "decoder_layers": 2, "dropout": 0.0}


def scale_up(model: nn.Module, factor: float = 2.0) -> None:
    """Norms and biases that are not 1 and 0, and matrices large enough that errors show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue  # tables of positions
            if parameter.dim() > 1:
                parameter.mul_(factor)
            elif name.endswith("weight"):
                parameter.copy_(1.0 + 0.5 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter))


def make_model(vocab: int = W, **changes: Any) -> Transformer:
    model = Transformer(ModelConfig(vocab, vocab, **{**SIZES, **changes})).double()
    scale_up(model)
    return model


def ids(rows: int, length: int) -> Tensor:
    return torch.randint(4, W, (rows, length))


def logits(model: Transformer, source: Tensor, lengths: Tensor, inputs: Tensor) -> Tensor:
    memory, mask = model.encode(source, lengths)
    return model.logits(model.decode_full(inputs, memory, mask))


def padded_source() -> tuple[Tensor, Tensor]:
    source, lengths = ids(3, 7), torch.tensor([7, 4, 1])
    source[torch.arange(7)[None] >= lengths[:, None]] = PAD
    return source, lengths


# ---- oracles


@pytest.mark.parametrize("activation", ["relu", "gelu"])
@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_equals_marian(activation: str, implementation: str) -> None:
    """Post-norm, three-way tied, as in Hugging Face's port of Marian, with random weights copied over."""
    marian = pytest.importorskip("transformers.models.marian.modeling_marian")
    config = marian.MarianConfig(
        vocab_size=W,
        d_model=12,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=3,
        decoder_attention_heads=3,
        encoder_ffn_dim=20,
        decoder_ffn_dim=20,
        activation_function=activation,
        scale_embedding=True,
        pad_token_id=PAD,
        decoder_start_token_id=PAD,
        attn_implementation=implementation,
    )
    theirs = marian.MarianMTModel(config).double().eval()
    scale_up(theirs, 20.0)  # their matrices start at a standard deviation of 0.02
    ours = Transformer(
        ModelConfig(W, W, **{**SIZES, "norm_position": "post", "activation": activation, "bos_id": PAD})
    ).double()
    copy_marian(theirs, ours)
    source, lengths = padded_source()
    inputs = ids(3, 5)
    attended = torch.arange(7)[None] < lengths[:, None]
    with torch.no_grad():
        expected = theirs(input_ids=source, attention_mask=attended.long(), decoder_input_ids=inputs).logits
        found = logits(ours, source, lengths, inputs)
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, **EXACT)


def copy_marian(theirs: Any, ours: Transformer) -> None:
    """Copy weights; Marian's positions hold the sines in the first half and the cosines in the second."""
    attention = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
    names = {f"self_attn.{a}": f"self_attention.{b}" for a, b in attention.items()}
    names |= {f"encoder_attn.{a}": f"cross_attention.{b}" for a, b in attention.items()}
    names |= {"fc1": "feed_forward.up", "fc2": "feed_forward.down"}
    norms = {"self_attn": "self_attention", "encoder_attn": "cross_attention", "final": "feed_forward"}
    names |= {f"{a}_layer_norm": f"{b}_sublayer.norm" for a, b in norms.items()}
    state = {"source_embedder.tokens.weight": theirs.get_input_embeddings().weight}
    for stack in ("encoder", "decoder"):
        layers = theirs.get_submodule(f"model.{stack}.layers")
        for number, layer in enumerate(layers):
            for name, parameter in layer.named_parameters():
                module, _, kind = name.rpartition(".")
                state[f"{stack}.{number}.{names[module]}.{kind}"] = parameter
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            parameter.copy_(state.pop(name))
    assert not state
    table = theirs.get_submodule("model.encoder.embed_positions").weight
    for embedder in (ours.source_embedder, ours.target_embedder):
        positions = embedder.positions
        assert isinstance(positions, SinusoidalPositions)
        sines_then_cosines = torch.cat([positions.slice(16)[:, i::2] for i in range(2)], dim=-1)
        torch.testing.assert_close(table[:16], sines_then_cosines, atol=1e-7, rtol=0)  # theirs are float32
        positions.table = table.detach().clone()


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_equals_pytorch(norm_position: str, activation: str) -> None:
    """``nn.Transformer`` between our embeddings and our head: outputs, and gradients of all weights."""
    ours = make_model(norm_position=norm_position, activation=activation, tie="none")
    pre = norm_position == "pre"
    layer = {"activation": activation, "dropout": 0.0, "batch_first": True, "norm_first": pre, "dtype": torch.float64}
    norms = [nn.LayerNorm(12, dtype=torch.float64) if pre else None for _ in range(2)]
    # in training mode, which never takes PyTorch's fast path
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(12, 3, 20, **layer), 2, norms[0], enable_nested_tensor=False
    )
    decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(12, 3, 20, **layer), 2, norms[1])
    pairs = [*torch_pairs(encoder, ours.encoder), *torch_pairs(decoder, ours.decoder)]
    if pre:
        for norm, mine in ((norms[0], ours.encoder_norm), (norms[1], ours.decoder_norm)):
            pairs += [(norm.get_parameter(name), [p]) for name, p in mine.named_parameters()]  # type: ignore[union-attr]
    with torch.no_grad():
        for theirs, mine in pairs:
            theirs.copy_(torch.cat(mine))
    source, lengths = padded_source()
    inputs = ids(3, 5)
    hidden = torch.arange(7)[None] >= lengths[:, None]
    memory = encoder(ours.source_embedder(source), src_key_padding_mask=hidden)
    future = torch.ones(5, 5).triu(1).bool()
    expected = decoder(ours.target_embedder(inputs), memory, tgt_mask=future, memory_key_padding_mask=hidden)
    memory, mask = ours.encode(source, lengths)
    found = ours.decode_full(inputs, memory, mask)
    torch.testing.assert_close(found, expected, **EXACT)

    probe = torch.randn_like(found)
    gradients = torch.autograd.grad(found, [p for _, mine in pairs for p in mine], probe)
    remaining = iter(gradients)
    for theirs, mine in zip(torch.autograd.grad(expected, [p for p, _ in pairs], probe), pairs, strict=True):
        torch.testing.assert_close(torch.cat([next(remaining) for _ in mine[1]]), theirs, **EXACT)


def torch_pairs(theirs: nn.Module, ours: nn.ModuleList) -> list[tuple[Tensor, list[Tensor]]]:
    """Each of PyTorch's parameters with those of ours that make it up."""
    pairs = []
    for number, layer in enumerate(ours):
        other = theirs.get_submodule(f"layers.{number}")
        kinds = {"self_attn": "self_attention", "multihead_attn": "cross_attention"}
        present = {a: b for a, b in kinds.items() if hasattr(other, a)}
        norms = [f"{b}_sublayer.norm" for b in present.values()] + ["feed_forward_sublayer.norm"]
        names = {f"norm{i}": [name] for i, name in enumerate(norms, 1)}
        names |= {"linear1": ["feed_forward.up"], "linear2": ["feed_forward.down"]}
        names |= {f"{a}.out_proj": [f"{b}.out"] for a, b in present.items()}
        names = {f"{a}.": modules for a, modules in names.items()}
        names |= {f"{a}.in_proj_": [f"{b}.{m}" for m in ("query", "key", "value")] for a, b in present.items()}
        for kind in ("weight", "bias"):
            for a, modules in names.items():
                pairs.append((other.get_parameter(a + kind), [layer.get_parameter(f"{m}.{kind}") for m in modules]))
    return pairs


def test_feed_forward_is_its_formula() -> None:
    x = torch.randn(2, 3, 12, dtype=torch.float64)
    inner = {"relu": lambda u: u.clamp(min=0), "gelu": lambda u: u * 0.5 * (1 + torch.erf(u / 2**0.5))}
    for activation in ("relu", "gelu", "swiglu"):
        layer = FeedForward(ModelConfig(W, W, **SIZES, activation=activation)).double()  # type: ignore[arg-type]
        scale_up(layer)
        up = x @ layer.up.weight.t() + layer.up.bias
        if layer.gate is not None:
            gate = x @ layer.gate.weight.t() + layer.gate.bias
            hidden = gate / (1 + torch.exp(-gate)) * up
        else:
            hidden = inner[activation](up)
        torch.testing.assert_close(layer(x), hidden @ layer.down.weight.t() + layer.down.bias, **EXACT)


def test_norms_are_their_formulas() -> None:
    x = 3 * torch.randn(4, 12, dtype=torch.float64) + 1
    layernorm, rmsnorm = (make_norm(ModelConfig(W, W, **SIZES, norm=n)).double() for n in ("layernorm", "rmsnorm"))  # type: ignore[arg-type]
    for norm in (layernorm, rmsnorm):
        scale_up(norm)
    centred = x - x.mean(-1, keepdim=True)
    expected = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * layernorm.weight + layernorm.bias
    torch.testing.assert_close(layernorm(x), expected, **EXACT)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * rmsnorm.weight
    torch.testing.assert_close(rmsnorm(x), expected, **EXACT)


# ---- decoding step by step

#: Pairwise: each choice of one column meets each of the others.
CHOICES = [
    {"position": "sinusoidal", "norm_position": "pre", "norm": "layernorm", "activation": "relu"},
    {"position": "sinusoidal", "norm_position": "post", "norm": "rmsnorm", "activation": "gelu"},
    {"position": "sinusoidal", "norm_position": "pre", "norm": "rmsnorm", "activation": "swiglu"},
    {"position": "learned", "norm_position": "post", "norm": "layernorm", "activation": "swiglu"},
    {"position": "learned", "norm_position": "pre", "norm": "rmsnorm", "activation": "relu"},
    {"position": "learned", "norm_position": "post", "norm": "layernorm", "activation": "gelu"},
    {"position": "rotary", "norm_position": "pre", "norm": "layernorm", "activation": "gelu"},
    {"position": "rotary", "norm_position": "post", "norm": "rmsnorm", "activation": "relu"},
    {"position": "rotary", "norm_position": "post", "norm": "layernorm", "activation": "swiglu"},
    {"position": "none", "norm_position": "pre", "norm": "rmsnorm", "activation": "gelu"},
    {"position": "none", "norm_position": "post", "norm": "layernorm", "activation": "relu"},
    {"position": "none", "norm_position": "pre", "norm": "rmsnorm", "activation": "swiglu"},
]
POSITIONS = ["sinusoidal", "learned", "rotary", "none"]


@pytest.mark.parametrize("choice", CHOICES, ids=lambda choice: "-".join(choice.values()))
@torch.no_grad()
def test_step_by_step_equals_all_at_once(choice: dict[str, Any]) -> None:
    model = make_model(**choice, head_dim=6, value_dim=5, tie="decoder")
    source, lengths = padded_source()
    inputs = ids(6, 8)
    memory, mask = model.encode(source, lengths)
    repeated = Mask.padding(lengths.repeat_interleave(2))
    expected = model.decode_full(inputs, memory.repeat_interleave(2, dim=0), repeated)
    state = model.start(memory, mask, rows=6, capacity=8)  # two rows share each source
    for start, width in ((0, 1), (1, 1), (2, 3), (5, 1), (6, 2)):
        found = model.decode_step(inputs[:, start : start + width], state)
        torch.testing.assert_close(found, expected[:, start : start + width], **EXACT)
    assert state.length == 8


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_rows_that_join_late(position: Any) -> None:
    """Rows that start in different columns, are moved about and find new room get what they get alone."""
    model = make_model(position=position)
    source, lengths = padded_source()
    memory, mask = model.encode(source, lengths)
    inputs = ids(3, 12)
    expected = model.decode_full(inputs, memory, mask)
    starts = torch.tensor([0, 2, 5])
    state = model.start(memory[:1], Mask.padding(lengths[:1]), rows=1, capacity=6)
    projected = model.project_memory(memory)
    rows = torch.tensor([0])  # which sentence each row of the batch is
    first = 0
    for column in range(9):
        if column in (2, 5):
            rows = torch.cat([rows, torch.tensor([1 if column == 2 else 2])])
            for cache in state.caches:
                cache.add_rows(1)
        if column == 4:  # the rows trade places
            for cache in state.caches:
                cache.select(torch.tensor([1, 0]))
            rows = rows[[1, 0]]
        if column == 6:  # the first sentence is finished: its columns are dropped
            keep = torch.tensor([i for i, row in enumerate(rows.tolist()) if row != 0])
            rows, first = rows[keep], 2
            for cache in state.caches:
                cache.select(keep, first)
                cache.make_room(first, 20)
            starts, first = starts - first, 0
        state.memories = [(key[rows], value[rows]) for key, value in projected]
        state.memory_mask = Mask.padding(lengths[rows])
        at = (state.length - starts[rows])[:, None]
        pieces = inputs[rows].gather(1, at)
        found = model.decode_step(pieces, state, positions=at, mask=Mask.since(starts[rows] - first), first=first)
        for i, row in enumerate(rows.tolist()):
            torch.testing.assert_close(found[i, 0], expected[row, int(at[i])], **EXACT)


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_columns_of_nobody_are_not_read(position: Any) -> None:
    model = make_model(position=position)
    source, lengths = ids(2, 3), torch.tensor([3, 3])
    memory, mask = model.encode(source, lengths)
    inputs = ids(2, 4)
    expected = model.decode_full(inputs, memory, mask)
    state = model.start(memory, mask, rows=2, capacity=9)
    model.decode_step(ids(2, 3), state)  # of sentences that are gone
    for column in range(4):
        found = model.decode_step(inputs[:, column : column + 1], state, positions=column, first=3)
        torch.testing.assert_close(found[:, 0], expected[:, column], **EXACT)
    again = model.start(memory, mask, rows=2, capacity=9)
    model.decode_step(ids(2, 3), again)
    positions = torch.arange(4).expand(2, 4)
    found = model.decode_step(inputs, again, positions=positions, mask=Mask.causal(), first=3)
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.parametrize("rows", [1, 4])
def test_rows_share_the_memory_evenly(rows: int) -> None:
    model = make_model()
    memory, mask = model.encode(*padded_source())
    with pytest.raises(ValueError, match=f"{rows} rows cannot share a memory of 3 rows evenly"):
        model.start(memory, mask, rows=rows, capacity=5)


def test_learned_positions_end() -> None:
    model = make_model(position="learned", max_positions=6)
    with pytest.raises(ModelError, match=r"position 6 asked for, but this model has 6 learned positions"):
        model.encode(ids(1, 7), torch.tensor([7]))
    memory, mask = model.encode(ids(1, 6), torch.tensor([6]))
    with torch.no_grad():
        state = model.start(memory, mask, rows=1, capacity=9)
        model.decode_step(ids(1, 6), state)
        with pytest.raises(ModelError, match=r"position 6 asked for"):
            model.decode_step(ids(1, 1), state)
    assert state.length == 6


@pytest.mark.parametrize("position", ["sinusoidal", "rotary"])
@torch.no_grad()
def test_no_length_is_too_long(position: Any) -> None:
    model = make_model(position=position, encoder_layers=1, decoder_layers=1)
    memory, _ = model.encode(ids(1, 600), torch.tensor([600]))
    assert memory.isfinite().all()


# ---- what does not matter, and what is looked at


@pytest.mark.parametrize("position", POSITIONS)
@torch.no_grad()
def test_company_and_padding_do_not_matter(position: Any) -> None:
    model = make_model(position=position)
    source, lengths = padded_source()
    inputs = ids(3, 5)
    together = logits(model, source, lengths, inputs)
    noisy = torch.where(source == PAD, ids(3, 7), source)
    wider = torch.cat([noisy, ids(3, 2)], dim=1)
    torch.testing.assert_close(logits(model, wider, lengths, inputs), together, **EXACT)
    for row, length in enumerate(lengths.tolist()):
        alone = logits(model, source[row : row + 1, :length], lengths[row : row + 1], inputs[row : row + 1])
        torch.testing.assert_close(alone[0], together[row], **EXACT)
    prefix = logits(model, source, lengths, inputs[:, :3])
    torch.testing.assert_close(prefix, together[:, :3], **EXACT)


@pytest.mark.parametrize("layer", [0, 1, -1])
@torch.no_grad()
def test_cross_attention_is_that_of_the_pass(layer: int) -> None:
    model = make_model()
    source, lengths = padded_source()
    inputs = ids(3, 5)
    attention = model.decoder[layer].cross_attention
    seen: list[Tensor] = []
    # the output of the attention that the pass computes, and the output that the weights give
    handle = attention.register_forward_hook(lambda module, given, output: seen.append(output))  # type: ignore[union-attr]
    memory, mask = model.encode(source, lengths)
    model.decode_full(inputs, memory, mask)
    handle.remove()
    weights = model.cross_attention(source, lengths, inputs, layer)
    assert weights.shape == (3, 3, 5, 7)
    value = model.project_memory(memory)[layer][1]
    torch.testing.assert_close(attention.out((weights @ value).transpose(1, 2).flatten(2)), seen[0], **EXACT)  # type: ignore[operator, union-attr]
    torch.testing.assert_close(weights.sum(-1), torch.ones(3, 3, 5).double(), **EXACT)
    assert all((weights[row, ..., length:] == 0).all() for row, length in enumerate(lengths.tolist()))


# ---- weights

ENDS = ["source_embedder.tokens.weight", "target_embedder.tokens.weight", "head.weight"]


@pytest.mark.parametrize(("tie", "shared"), [("all", {0, 1, 2}), ("decoder", {1, 2}), ("none", set())])
def test_tying_shares_what_it_says(tie: Any, shared: set[int]) -> None:
    source_vocab = W if tie == "all" else W + 5
    model = Transformer(ModelConfig(source_vocab, W, **SIZES, tie=tie))  # type: ignore[arg-type]
    names = [name for name, _ in model.named_parameters()]

    def check(model: Transformer) -> None:
        ends = [model.get_parameter(name) for name in ENDS]
        for i in range(3):
            for j in range(i):
                assert (ends[i] is ends[j]) == ({i, j} <= shared)
        assert [name for name, _ in model.named_parameters()] == names
        assert set(ENDS) <= model.state_dict().keys()

    check(model)
    check(model.to(torch.bfloat16))
    other = Transformer(model.config)
    other.load_state_dict(model.state_dict())
    check(other)
    with torch.device("meta"):
        promised = Transformer(model.config)
    promised.to_empty(device="cpu")
    promised.tie_weights()
    check(promised)
    expected = sum(p.numel() for p in model.decoder.parameters()) + sum(p.numel() for p in model.encoder.parameters())
    expected += (source_vocab if tie != "all" else 0) * 12 + W * 12 * (2 if tie == "none" else 1)
    expected += 2 * 2 * 12  # the final norms
    assert sum(p.numel() for p in model.parameters()) == expected


def test_names_are_plain() -> None:
    """Those that tuning methods, stored models and converters look for."""
    model = make_model(tie="none", encoder_layers=1, decoder_layers=1, activation="swiglu")
    attention = [f"{m}.{kind}" for m in ("query", "key", "value", "out") for kind in ("weight", "bias")]
    feed_forward = [f"feed_forward.{m}.{kind}" for m in ("up", "gate", "down") for kind in ("weight", "bias")]
    expected = set(ENDS)
    for stack, kinds in (("encoder", ["self_attention"]), ("decoder", ["self_attention", "cross_attention"])):
        layer = [f"{kind}.{name}" for kind in kinds for name in attention] + feed_forward
        layer += [f"{kind}_sublayer.norm.{p}" for kind in [*kinds, "feed_forward"] for p in ("weight", "bias")]
        expected |= {f"{stack}.0.{name}" for name in layer} | {f"{stack}_norm.{p}" for p in ("weight", "bias")}
    assert set(model.state_dict()) == expected


def test_initialisation() -> None:
    config = ModelConfig(500, 500, d_model=64, d_ff=256, num_heads=4, encoder_layers=1, decoder_layers=1)
    model = Transformer(config)
    assert float(model.head.weight.detach()[1:].std()) == pytest.approx(1 / 8, rel=0.05)
    assert (model.head.weight[PAD] == 0).all()
    for name, parameter in model.encoder.named_parameters():
        if name.endswith("bias"):
            assert (parameter == 0).all()
        elif "norm" in name:
            assert (parameter == 1).all()
        else:  # Glorot: variance 2 / (in + out), of the D×3D matrix for query, key and value
            fan = 4 * 64 if name.split(".")[-2] in ("query", "key", "value") else sum(parameter.shape)
            assert float(parameter.detach().std()) == pytest.approx((2 / fan) ** 0.5, rel=0.05), name


# ---- dropout and precision


@pytest.mark.parametrize("where", ["dropout", "attention_dropout", "activation_dropout", "embedding_noise"])
def test_dropout_acts_in_training_only(where: str) -> None:
    model = make_model(**{"dropout": 0.0, where: 0.5})
    twin = make_model(dropout=0.0)
    twin.load_state_dict(model.state_dict())
    case = (*padded_source(), ids(3, 5))
    assert not torch.equal(logits(model, *case), logits(model, *case))
    model.eval()
    torch.testing.assert_close(logits(model, *case), logits(twin, *case), **EXACT)


def test_bf16_is_close_and_has_finite_gradients() -> None:
    model = Transformer(ModelConfig(W, W, **SIZES))  # type: ignore[arg-type]
    batch = collate(
        [ids(1, n)[0].numpy() for n in (3, 6)], [ids(1, n)[0].numpy() for n in (5, 1)], pad_id=PAD, bos_id=2, eos_id=3
    )
    expected = float(model(batch).detach())
    model.to(torch.bfloat16)
    found = model(batch)
    assert found.dtype == torch.float32
    assert float(found.detach()) == pytest.approx(expected, rel=0.02)
    found.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == torch.bfloat16
        assert parameter.grad.isfinite().all(), name


def test_a_state_knows_its_length() -> None:
    cache = KeyValueCache.empty(1, 1, 4, 2, 2, dtype=torch.float32, device=torch.device("cpu"))
    state = DecoderState([], None, [cache])
    assert state.length == 0
    cache.append(torch.ones(1, 1, 3, 2), torch.ones(1, 1, 3, 2))
    assert state.length == 3


def test_logits_are_those_of_the_head() -> None:
    """Whatever stands in the place of the head: an adapted or a packed layer, too."""
    model = make_model(tie="none")
    hidden = torch.randn(2, 3, 12, dtype=torch.float64)
    torch.testing.assert_close(model.logits(hidden), F.linear(hidden, model.head.weight), **EXACT)
    model.head = nn.Sequential(model.head, nn.Tanh())  # type: ignore[assignment]
    assert (model.logits(hidden).abs() <= 1).all()

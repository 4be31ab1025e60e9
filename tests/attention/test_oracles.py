"""Similarities and positions against the implementations of others, in float64 with large random weights."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from regard.attention import (
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    Dot,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    Scoring,
    ShawPositions,
    T5Bias,
    TopK,
    TransformerXLPositions,
    reference_attention,
)
from regard.attention.relative import alibi_slopes

EXACT = {"atol": 1e-10, "rtol": 0.0}
B, H, T, D, K = 2, 4, 6, 24, 6


def randn(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(*shape, dtype=torch.float64)


def randomise(module: nn.Module) -> None:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter))


def attention(scoring: Scoring, **changes: Any) -> MultiHeadAttention:
    made = MultiHeadAttention(**{"d_model": D, "num_heads": H, "bias": False, "scoring": scoring, **changes}).double()
    randomise(made)
    return made


def scores(scoring: Scoring, query: Tensor, key: Tensor) -> Tensor:
    """What stands under the softmax."""
    seen: list[Tensor] = []

    def keep(given: Tensor) -> Tensor:
        seen.append(given)
        return given.softmax(-1)

    scoring.normaliser = keep
    reference_attention(query, key, key, None, scoring)
    return seen[0]


# ---- the equations


def test_similarities_are_their_formulas() -> None:
    query, key = randn(B, H, T, K), randn(B, H, 5, K)
    additive, bilinear, cosine = Additive(H, K).double(), Bilinear(H, K).double(), Cosine(H).double()
    for module in (additive, bilinear, cosine):
        randomise(module)
    with torch.no_grad():
        cosine.log_scale[0] = 9.0  # beyond the highest
    for b, h, t, s in ((0, 0, 0, 0), (1, 3, 5, 4), (0, 2, 3, 1)):
        q, k = query[b, h, t], key[b, h, s]
        found = [module(query, key)[b, h, t, s] for module in (Dot(), additive, bilinear, cosine)]
        tau = cosine.log_scale[h].exp().clamp(max=100.0)
        expected = [
            q @ k,
            additive.weight[h] @ (q + k).tanh(),
            q @ bilinear.weight[h] @ k / K**0.5,
            tau * (q @ k) / (q.norm() * k.norm()),
        ]
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other, **EXACT)


def test_shaw_is_its_equation() -> None:
    position = ShawPositions(K, max_distance=2).double()
    query, key = randn(B, H, T, K), randn(B, H, T, K)
    found = scores(Scoring(position=position), query, key)
    for t in range(T):
        for s in range(T):
            relative = position.table[max(-2, min(2, s - t)) + 2]
            expected = (query[:, :, t] * (key[:, :, s] + relative)).sum(-1) / K**0.5  # equation 4
            torch.testing.assert_close(found[:, :, t, s], expected, **EXACT)


# ---- Hugging Face


@pytest.mark.parametrize("bidirectional", [True, False])
@pytest.mark.parametrize("lengths", [(7, 7), (300, 300), (3, 400), (1, 50)])
def test_t5_bias_is_that_of_t5(bidirectional: bool, lengths: tuple[int, int]) -> None:
    t5 = pytest.importorskip("transformers.models.t5.modeling_t5")
    config = t5.T5Config(d_model=D, d_kv=K, num_heads=H, is_decoder=not bidirectional)
    theirs = t5.T5Attention(config, has_relative_attention_bias=True, layer_idx=0).double()
    randomise(theirs)
    ours = T5Bias(H, bidirectional=bidirectional).double()
    with torch.no_grad():
        ours.table.copy_(theirs.relative_attention_bias.weight)
    found = Scoring(position=ours).added(randn(1, H, lengths[0], K), lengths[1])
    expected = theirs.compute_bias(*lengths, past_seen_tokens=lengths[1] - lengths[0])
    torch.testing.assert_close(found, expected, **EXACT)


def test_alibi_gives_the_weights_of_bloom() -> None:
    """Theirs counts from the first key, which the softmax does not see."""
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    for num_heads in (1, 4, 6, 12):
        bias = bloom.build_alibi_tensor(torch.ones(B, T), num_heads, torch.float64).view(B, num_heads, 1, T)
        query, key = randn(B, num_heads, T, K), randn(B, num_heads, T, K)
        future = torch.ones(T, T).triu(1).bool()
        expected = (query @ key.mT / K**0.5 + bias).masked_fill(future, float("-inf")).softmax(-1)
        view = Mask.causal().view(T, T, query.device)
        found = reference_attention(query, key, key, view, Scoring(position=ALiBi(num_heads)))[1]
        exact = num_heads in (1, 4)  # slopes that are no powers of two they round to float32
        torch.testing.assert_close(found, expected, atol=1e-10 if exact else 1e-6, rtol=0.0)
    assert alibi_slopes(8) == [2.0**-i for i in range(1, 9)]


def test_cosine_is_that_of_swin_v2() -> None:
    swin = pytest.importorskip("transformers.models.swinv2.modeling_swinv2")
    theirs = swin.Swinv2SelfAttention(swin.Swinv2Config(attention_probs_dropout_prob=0.0), D, H, 3).double()
    randomise(theirs)
    ours = MultiHeadAttention(D, H, scoring=Scoring(Cosine(H))).double()
    with torch.no_grad():
        theirs.continuous_position_bias_mlp[2].weight.zero_()  # a bias of 8 everywhere
        ours.scoring.similarity.log_scale.copy_(theirs.logit_scale.flatten())  # type: ignore[operator, union-attr]
        for name in ("query", "key", "value"):
            getattr(ours, name).weight.copy_(getattr(theirs, name).weight)
            getattr(ours, name).bias.copy_(0.0 if name == "key" else getattr(theirs, name).bias)
        ours.out.weight.copy_(torch.eye(D))
        ours.out.bias.zero_()
    x = randn(B, 9, D)
    torch.testing.assert_close(ours(x), theirs(x)[0], **EXACT)


@pytest.mark.parametrize("memory", [0, 4])
def test_transformer_xl_is_that_of_xlnet(memory: int) -> None:
    """Same scores, with a segment before; they order the sines and cosines otherwise."""
    xlnet = pytest.importorskip("transformers.models.xlnet.modeling_xlnet")
    theirs = xlnet.XLNetRelativeAttention(xlnet.XLNetConfig(d_model=D, n_head=H)).double().eval()
    randomise(theirs)
    position = TransformerXLPositions(D, H, K).double()
    ours = attention(Scoring(position=position))
    order = torch.cat([torch.arange(0, D, 2), torch.arange(1, D, 2)])
    with torch.no_grad():
        for name, their in (("query", theirs.q), ("key", theirs.k), ("value", theirs.v)):
            getattr(ours, name).weight.copy_(their.flatten(1).t())
        position.project.weight[:, order] = theirs.r.flatten(1).t()
        position.content_bias.copy_(theirs.r_w_bias)
        position.position_bias.copy_(theirs.r_r_bias)
    x, past = randn(B, T, D), randn(B, memory, D)
    whole = torch.cat([past, x], dim=1)
    distance = torch.arange(memory + T, -T, -1, dtype=torch.float64)
    angle = distance[:, None] / 10_000 ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    sines = torch.cat([angle.sin(), angle.cos()], dim=-1)[:, None].expand(-1, B, -1)
    heads = [
        torch.einsum("bih,hnd->ibnd", given, w) for given, w in ((x, theirs.q), (whole, theirs.k), (whole, theirs.v))
    ]
    expected = theirs.rel_attn_core(*heads, torch.einsum("ibh,hnd->ibnd", sines, theirs.r))
    with torch.no_grad():
        ours.out.weight.copy_(torch.eye(D))
    found = ours(x, past=past if memory else None)
    torch.testing.assert_close(found, expected.flatten(2).transpose(0, 1), **EXACT)


def test_partial_rotation_is_that_of_gpt_neox() -> None:
    neox = pytest.importorskip("transformers.models.gpt_neox.modeling_gpt_neox")
    query, key = randn(B, H, T, 12), randn(B, H, T, 12)
    rotary = RotaryPositions(12, base=300.0, fraction=0.5).double()
    assert rotary.rotated == 6
    angle = torch.arange(T, dtype=torch.float64)[:, None] * 300.0 ** (-torch.arange(0, 6, 2, dtype=torch.float64) / 6)
    angle = torch.cat([angle, angle], dim=-1).expand(B, -1, -1)
    expected = neox.apply_rotary_pos_emb(query, key, angle.cos(), angle.sin())
    for found, theirs in zip((rotary(query), rotary(key)), expected, strict=True):
        torch.testing.assert_close(found, theirs, **EXACT)


# ---- x-transformers


def theirs_and_ours(scoring: Scoring, **settings: Any) -> tuple[Any, MultiHeadAttention]:
    """Two attentions with the same weights."""
    library = pytest.importorskip("x_transformers.x_transformers")
    theirs = library.Attention(D, dim_head=K, heads=H, **settings).double().eval()
    randomise(theirs)
    if "sparse_topk" not in settings:
        theirs.attend.attn_fn = lambda given, dim=-1: given.softmax(dim)  # its own rounds to float32
    names = {"num_kv_heads": "kv_heads", "value_dim": "value_dim_head", "out_dim": "dim_out"}
    ours = attention(scoring, head_dim=K, **{a: settings[b] for a, b in names.items() if b in settings})
    with torch.no_grad():
        for mine, their in (
            ("query", theirs.to_q),
            ("key", theirs.to_k),
            ("value", theirs.to_v),
            ("out", theirs.to_out),
        ):
            getattr(ours, mine).weight.copy_(their.weight)
        # the heads that share keys stand side by side in ours, and each a G-th of all heads apart in theirs
        heads = torch.arange(H).view(-1, ours.num_kv_heads).t().flatten()
        ours.query.weight.copy_(theirs.to_q.weight.unflatten(0, (H, -1))[heads].flatten(0, 1))
        ours.out.weight.copy_(theirs.to_out.weight.unflatten(1, (H, -1))[:, heads].flatten(1))
    return theirs, ours


@pytest.mark.parametrize("flash", [False, True])
@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("kind", ["bidirectional", "causal", "padded", "cross"])
def test_equals_x_transformers(kind: str, kv_heads: int, flash: bool) -> None:
    theirs, ours = theirs_and_ours(Scoring(), kv_heads=kv_heads, flash=flash, causal=kind == "causal", dim_out=10)
    x, memory = randn(B, T, D), randn(B, 8, D)
    lengths = torch.tensor([4, 6])
    if kind == "cross":
        torch.testing.assert_close(ours(x, ours.project_memory(memory)), theirs(x, context=memory), **EXACT)
    elif kind == "padded":
        expected = theirs(x, mask=torch.arange(T) < lengths[:, None])
        inside = (torch.arange(T) < lengths[:, None])[..., None]  # theirs clears the outputs of the padding, too
        torch.testing.assert_close(ours(x, mask=Mask.padding(lengths)) * inside, expected * inside, **EXACT)
    else:
        mask = Mask.causal() if kind == "causal" else None
        torch.testing.assert_close(ours(x, mask=mask), theirs(x), **EXACT)


def test_widths_of_values_as_in_x_transformers() -> None:
    theirs, ours = theirs_and_ours(Scoring(), value_dim_head=9)
    x = randn(B, T, D)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


def test_top_k_is_that_of_x_transformers() -> None:
    theirs, ours = theirs_and_ours(Scoring(normaliser=TopK(3)), sparse_topk=3)
    x = randn(B, T, D, scale=0.3)
    torch.testing.assert_close(ours(x), theirs(x), **EXACT)


@pytest.mark.parametrize("kind", ["T5", "ALiBi", "rotary"])
def test_positions_of_x_transformers(kind: str) -> None:
    library = pytest.importorskip("x_transformers.x_transformers")
    x, given = randn(B, T, D, scale=0.3), {}
    if kind == "T5":
        bias = library.RelativePositionBias(1.0, causal=True, heads=H).double()
        randomise(bias)
        position: Any = T5Bias(H, bidirectional=False)
        given["attn_bias"] = bias(T, T)
        theirs, ours = theirs_and_ours(Scoring(position=position), causal=True)
        with torch.no_grad():
            position.table.copy_(bias.relative_attention_bias.weight)
    elif kind == "ALiBi":
        given["attn_bias"] = library.AlibiPositionalBias(H, slopes=alibi_slopes(H)).double()(T, T)
        theirs, ours = theirs_and_ours(Scoring(position=ALiBi(H)), causal=True)
    else:
        theirs, ours = theirs_and_ours(Scoring(position=RotaryPositions(K)), causal=True)
        angle = torch.arange(T, dtype=torch.float64)[:, None] * 10_000 ** (-torch.arange(0, K, 2).double() / K)
        given["rotary_pos_emb"] = (angle.repeat_interleave(2, dim=-1)[None], 1.0)
        halves = torch.cat([torch.arange(0, K, 2), torch.arange(1, K, 2)])  # theirs turns neighbours
        order = (torch.arange(H)[:, None] * K + halves).flatten()
        with torch.no_grad():
            ours.query.weight.copy_(theirs.to_q.weight[order])
            ours.key.weight.copy_(theirs.to_k.weight[order])
    torch.testing.assert_close(ours(x, mask=Mask.causal()), theirs(x, **given), **EXACT)

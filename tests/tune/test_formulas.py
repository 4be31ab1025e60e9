"""Methods that have no oracle in another library, beside their equations written out."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from regard.attention import Mask
from regard.data.batch import Batch
from regard.model import Transformer
from regard.model.adapted import Adapted
from regard.tune.adapters import attach, parameters_of, short
from regard.tune.bias import Bias
from regard.tune.bottleneck import Houlsby, Pfeiffer
from regard.tune.lora import Lora
from regard.tune.prefix import PrefixTuning
from regard.tune.prompt import PromptTuning


@pytest.mark.parametrize("activation", ["relu", "gelu", "silu"])
def test_a_bottleneck_is_a_network_behind_a_sublayer(model: Transformer, kit: Any, activation: Any) -> None:
    kit.tune(model, Houlsby(5, activation=activation))
    out = model.get_submodule("decoder.1.cross_attention.out")
    assert isinstance(out, Adapted)
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    y = x @ out.base.weight.T + out.base.bias
    down, up = out.adapters["law"].down, out.adapters["law"].up
    inner = getattr(torch.nn.functional, activation)(y @ down.weight.T + down.bias)
    torch.testing.assert_close(out(x), y + inner @ up.weight.T + up.bias)


def test_where_bottlenecks_stand(model: Transformer) -> None:
    attach(model, Houlsby(5), "houlsby")
    attach(model, Pfeiffer(5), "pfeiffer")
    places = {
        name: {n for n, m in model.named_modules() if isinstance(m, Adapted) and name in m.adapters}
        for name in ("houlsby", "pfeiffer")
    }
    ffn = {f"{side}.{i}.feed_forward.down" for side in ("encoder", "decoder") for i in (0, 1)}
    attention = {f"{side}.{i}.self_attention.out" for side in ("encoder", "decoder") for i in (0, 1)}
    assert places["pfeiffer"] == ffn
    assert places["houlsby"] == ffn | attention | {f"decoder.{i}.cross_attention.out" for i in (0, 1)}


def test_bias_only_is_moving_the_biases(model: Transformer, batch: Batch, kit: Any) -> None:
    other = kit.model()
    kit.tune(model, Bias())
    shifts = {short(name): parameter for name, parameter in parameters_of(model, "law").items()}
    with torch.no_grad():
        for name, parameter in other.named_parameters():
            if name.endswith("bias"):
                parameter.add_(shifts.pop(name.removesuffix("bias") + "shift"))
    assert not shifts  # every bias has one, and nothing else
    torch.testing.assert_close(kit.logits(model, batch), kit.logits(other, batch), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("causal", [True, False])
def test_a_prefix_is_keys_and_values_in_front(kit: Any, causal: bool) -> None:
    """softmax(Q [P_K; K]ᵀ / √K) [P_V; V], where every query sees the whole prefix."""
    model = kit.tune(kit.model(head_dim=4, value_dim=5), PrefixTuning(2, hidden=0))
    attention = model.get_submodule("decoder.0.self_attention")
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    query, key = (getattr(attention, n)(x).unflatten(-1, (3, 4)).transpose(1, 2) for n in ("query", "key"))
    value = attention.value(x).unflatten(-1, (3, 5)).transpose(1, 2)
    vectors = attention.prefix.adapters["law"].vectors
    front_key = vectors[:, :12].unflatten(-1, (3, 4)).transpose(0, 1).expand(2, -1, -1, -1)
    front_value = vectors[:, 12:].unflatten(-1, (3, 5)).transpose(0, 1).expand(2, -1, -1, -1)
    scores = query @ torch.cat([front_key, key], 2).transpose(-1, -2) / math.sqrt(4)
    mask = None
    if causal:
        mask = Mask.causal()
        later = torch.ones(4, 4, dtype=torch.bool).triu(1)
        scores = scores.masked_fill(torch.cat([torch.zeros(4, 2, dtype=torch.bool), later], 1), -math.inf)
    mixed = scores.softmax(-1) @ torch.cat([front_value, value], 2)
    wanted = attention.out(mixed.transpose(1, 2).flatten(2))
    torch.testing.assert_close(attention(x, mask=mask), wanted, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(attention.weights(x, mask=mask), scores.softmax(-1)[..., 2:], rtol=1e-10, atol=1e-10)


def test_prefixes_stand_where_they_are_asked_for(model: Transformer) -> None:
    attach(model, PrefixTuning(2, places=("encoder", "cross")))
    having = {name for name, module in model.named_modules() if getattr(module, "prefix", None) is not None}
    assert having == {f"encoder.{i}.self_attention" for i in (0, 1)} | {f"decoder.{i}.cross_attention" for i in (0, 1)}


def test_the_network_of_a_prefix_is_folded_away(model: Transformer, kit: Any) -> None:
    method = PrefixTuning(2, hidden=6, places=("cross",))
    kit.tune(model, method)
    prefix = model.get_submodule("decoder.1.cross_attention.prefix.adapters.law")
    weights = {short(name): parameter.detach() for name, parameter in parameters_of(model, "law").items()}
    finished = method.finished(weights)
    assert list(finished) == [f"decoder.{i}.cross_attention.prefix.vectors" for i in (0, 1)]
    inner = torch.tanh(prefix.embedding @ prefix.inner.weight.T + prefix.inner.bias)
    wanted = inner @ prefix.outer.weight.T + prefix.outer.bias
    torch.testing.assert_close(finished["decoder.1.cross_attention.prefix.vectors"], wanted)
    key, value = prefix()
    torch.testing.assert_close(torch.cat([t[0].transpose(0, 1).flatten(1) for t in (key, value)], 1), wanted)


@pytest.mark.parametrize("position", ["sinusoidal", "rotary", "learned"])
def test_a_prompt_is_vectors_in_front_of_the_source(kit: Any, batch: Batch, position: str) -> None:
    model = kit.tune(kit.model(position=position), PromptTuning(4))
    vectors = model.prompt.adapters["law"].vectors
    x = torch.cat([vectors.expand(3, -1, -1), model.source_embedder(batch.source)], dim=1)
    seen = torch.arange(x.shape[1])[None, None] < (batch.source_lengths + 4)[:, None, None]
    for layer in model.encoder:
        x = layer(x, Mask.boolean(seen))
    memory, mask = model.encode(batch.source, batch.source_lengths)
    torch.testing.assert_close(memory, model.encoder_norm(x[:, 4:]), rtol=1e-10, atol=1e-10)
    assert memory.shape[1] == batch.source.shape[1]  # the decoder and the alignment see the sentence only
    assert mask.view(1, memory.shape[1], memory.device).boolean().sum() == batch.source_lengths.sum()


def test_a_prompt_begins_as_pieces(model: Transformer) -> None:
    attach(model, PromptTuning(4))
    table = model.source_embedder.tokens.weight * math.sqrt(12)
    for vector in parameters_of(model, "adapter")["prompt.adapters.adapter.vectors"]:
        assert (table == vector).all(1).any()


def test_dropout_is_on_the_input_of_the_added_matrices(model: Transformer, kit: Any) -> None:
    """In training only; the mean over many draws is the answer without."""
    kit.tune(model, Lora(2, dropout=0.4))
    layer = model.get_submodule("encoder.0.feed_forward.up")
    x = torch.randn(1, 1, 12, dtype=torch.float64)
    still = layer(x)
    assert torch.equal(layer(x), still)
    layer.train()
    drawn = torch.stack([layer(x) for _ in range(1000)])
    assert drawn.std(0).max() > 0.1
    torch.testing.assert_close(drawn.mean(0), still, rtol=0, atol=0.5)


def test_no_attention_packs_what_is_adapted(model: Transformer, batch: Batch, kit: Any) -> None:
    """With some of query, key and value adapted, each is called as it is, in training as well."""
    before = model(batch)
    kit.tune(model, Lora(2, targets=("value",)))
    attention = model.get_submodule("encoder.0.self_attention")
    assert isinstance(attention.query, nn.Linear)
    assert isinstance(attention.value, Adapted)
    tuned = model(batch)
    assert tuned.requires_grad
    assert (tuned - before).abs() > 1e-3
    with torch.no_grad():
        torch.testing.assert_close(model(batch), tuned.detach())

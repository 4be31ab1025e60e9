"""What every method promises."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch

from regard.base.errors import ConfigError, ModelError
from regard.data.batch import Batch
from regard.decode import Options, Request, TorchEngine
from regard.model import Transformer
from regard.model.adapted import sentences
from regard.tune.adalora import AdaLora
from regard.tune.adapters import adapters_of, attach, can_merge, detach, merge, parameters_of, weigh
from regard.tune.bias import Bias
from regard.tune.bottleneck import Houlsby, Pfeiffer
from regard.tune.folder import load_adapter, read_adapter, save_adapter
from regard.tune.lora import Lora
from regard.tune.method import Method
from regard.tune.prefix import PrefixTuning
from regard.tune.prompt import PromptTuning

MERGEABLE: dict[str, Method] = {
    "lora": Lora(3),
    "rslora": Lora(3, rank_stabilised=True),
    "dora": Lora(3, magnitude=True),
    "lora on some": Lora(2, targets=("value", "encoder.*.down", "cross_attention.query")),
    "adalora": AdaLora(3, 2),
    "bias": Bias(),
}
BESIDE: dict[str, Method] = {
    "houlsby": Houlsby(5),
    "pfeiffer": Pfeiffer(5, activation="gelu"),
    "prefix": PrefixTuning(3, hidden=0),
    "prefix with a network": PrefixTuning(3, hidden=6),
    "prompt": PromptTuning(4),
}
METHODS = MERGEABLE | BESIDE
every = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())
mergeable = pytest.mark.parametrize("method", MERGEABLE.values(), ids=MERGEABLE.keys())
#: Their additions may have any share; the others are on or off.
weighable = pytest.mark.parametrize("method", [*MERGEABLE.values(), Houlsby(5), Pfeiffer(5)], ids=repr)


# ---- one adapter


@pytest.mark.parametrize("method", [*MERGEABLE.values(), Houlsby(5), Pfeiffer(5)], ids=repr)
def test_a_new_adapter_changes_nothing(model: Transformer, batch: Batch, kit: Any, method: Method) -> None:
    before = kit.logits(model, batch)
    attach(model, method)
    torch.testing.assert_close(kit.logits(model, batch), before, rtol=0, atol=1e-12)


@every
def test_it_changes_the_answer_once_trained_and_can_be_switched_off(
    model: Transformer, batch: Batch, kit: Any, method: Method
) -> None:
    before = kit.logits(model, batch)
    kit.tune(model, method)
    assert (kit.logits(model.eval(), batch) - before).abs().max() > 0.01
    weigh(model, {"law": 0})
    assert torch.equal(kit.logits(model, batch), before)
    weigh(model, {"law": 1})
    detach(model, "law")
    assert torch.equal(kit.logits(model, batch), before)
    assert adapters_of(model) == []
    assert model.state_dict().keys() == kit.model().state_dict().keys()


@every
def test_only_its_weights_can_be_trained(model: Transformer, batch: Batch, kit: Any, method: Method) -> None:
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    kit.tune(model, method)
    own = parameters_of(model, "law")
    assert {n for n, p in model.named_parameters() if p.requires_grad} == own.keys()
    model(batch).backward()
    assert all(parameter.grad is not None and parameter.grad.abs().max() > 0 for parameter in own.values())
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    optimiser.step()
    detach(model, "law")
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


@pytest.mark.parametrize("method", [m for m in METHODS.values() if not getattr(m, "magnitude", False)], ids=repr)
def test_gradients_are_those_of_the_function(kit: Any, batch: Batch, method: Method) -> None:
    """But for DoRA, which counts a norm as constant."""
    model = kit.tune(kit.model(d_model=6, d_ff=5, encoder_layers=1, decoder_layers=1, num_heads=1), method)
    for parameter in parameters_of(model, "law").values():
        gradient = torch.autograd.grad(model(batch), parameter)[0].flatten()
        index, step = int(gradient.abs().argmax()), 1e-6
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.view(-1)[index] += sign * step
                values.append(model(batch))
                parameter.view(-1)[index] -= sign * step
        numeric = (values[0] - values[1]) / (2 * step)
        torch.testing.assert_close(gradient[index], numeric, rtol=1e-5, atol=1e-7)


@mergeable
@pytest.mark.parametrize("share", [1.0, 0.3])
def test_merged_equals_unmerged(model: Transformer, batch: Batch, kit: Any, method: Method, share: float) -> None:
    names = model.state_dict().keys()
    kit.tune(model, method)
    weigh(model, {"law": share})
    table = model.head.weight.clone()
    before = kit.logits(model, batch)
    merge(model)
    torch.testing.assert_close(kit.logits(model, batch), before, rtol=1e-10, atol=1e-10)
    assert model.state_dict().keys() == names
    assert model.head.weight is model.source_embedder.tokens.weight
    assert torch.equal(model.head.weight, table)  # tied, and untouched


def test_what_cannot_be_merged_stays_beside(model: Transformer, batch: Batch, kit: Any) -> None:
    for method in BESIDE.values():
        tuned = kit.tune(copy.deepcopy(model), method)
        before = kit.logits(tuned, batch)
        assert not can_merge(tuned)
        with pytest.raises(ModelError, match="cannot be merged"):
            merge(tuned)
        assert torch.equal(kit.logits(tuned, batch), before)


# ---- several adapters


@weighable
def test_shares_are_a_weighted_sum(model: Transformer, kit: Any, method: Method) -> None:
    """On one layer, where the sum can be seen."""
    kit.tune(model, method, "law", seed=1)
    kit.tune(model, method, "sea", seed=2)
    layer = model.decoder[0].feed_forward.down
    x = torch.randn(2, 3, 20, dtype=torch.float64)
    parts = {}
    for name, shares in {"none": {}, "law": {"law": 1}, "sea": {"sea": 1}, "both": {"law": 0.7, "sea": -0.4}}.items():
        weigh(model, shares)
        parts[name] = layer(x)
    wanted = parts["none"] + 0.7 * (parts["law"] - parts["none"]) - 0.4 * (parts["sea"] - parts["none"])
    torch.testing.assert_close(parts["both"], wanted, rtol=1e-10, atol=1e-10)


@mergeable
def test_merging_several(model: Transformer, batch: Batch, kit: Any, method: Method) -> None:
    kit.tune(model, method, "law", seed=1)
    kit.tune(model, Lora(2), "sea", seed=2)
    weigh(model, {"law": 0.5, "sea": 0.8})
    before = kit.logits(model, batch)
    merge(model)
    torch.testing.assert_close(kit.logits(model, batch), before, rtol=1e-10, atol=1e-10)


@every
def test_sentences_of_one_batch_choose(model: Transformer, batch: Batch, kit: Any, method: Method) -> None:
    """Each row is as if it were alone with its adapter, whatever the neighbours have."""
    kit.tune(model, method, "law", seed=1)
    kit.tune(model, method, "sea", seed=2)
    chosen = [{"sea": 1.0}, {}, {"law": 1.0}]
    with sentences(chosen):
        mixed = kit.logits(model, batch)
    for row, shares in enumerate(chosen):
        weigh(model, shares)
        torch.testing.assert_close(mixed[row], kit.logits(model, batch)[row], rtol=1e-10, atol=1e-10)


@every
@pytest.mark.parametrize("beam", [1, 3])
def test_an_engine_mixes_adapters(model: Transformer, kit: Any, method: Method, beam: int) -> None:
    """Requests with different adapters share a batch, also those that join later; packed layers give the same."""
    kit.tune(model, method, "law", seed=1)
    kit.tune(model, method, "sea", seed=2)
    weigh(model, {"law": 1})
    model = model.float()
    options = Options(beam=beam, max_length=9, alignment=True)
    choices = [None, {"sea": 1.0}, {}, {"law": 1.0}]
    requests = [Request([5 + i, 6, 9 + i, *[7] * i, 3], options, adapters=c) for i, c in enumerate(choices)]
    together = TorchEngine(model, precision="fp32")
    numbers = [together.add(request) for request in requests[:2]]
    together.step()
    numbers += [together.add(request) for request in requests[2:]]
    found = {}
    while together.busy:
        for result in together.step():
            found[result.number] = result.hypotheses
    for number, request, choice in zip(numbers, requests, choices, strict=True):
        weigh(model, {"law": 1} if choice is None else choice)
        alone = Request(request.source, options)
        wanted = TorchEngine(model, precision="fp32").translate([alone])[0]
        got = found[number]
        assert [h.ids for h in got] == [h.ids for h in wanted]
        assert [h.score for h in got] == pytest.approx([h.score for h in wanted], abs=1e-4)
        assert got[0].alignment == pytest.approx(wanted[0].alignment, abs=1e-4)


def test_rows_must_be_divisible(model: Transformer, batch: Batch, kit: Any) -> None:
    kit.tune(model, Lora(2))
    with sentences([{"law": 1.0}, {}]), pytest.raises(ValueError, match="3 rows cannot be divided among 2 sentences"):
        kit.logits(model, batch)


@pytest.mark.parametrize("method", [PrefixTuning(3), PromptTuning(4)], ids=repr)
def test_vectors_in_front_are_on_or_off(model: Transformer, batch: Batch, kit: Any, method: Method) -> None:
    kit.tune(model, method)
    weigh(model, {"law": 0.5})
    with pytest.raises(ConfigError, match="'law' puts vectors in front; its share is 1 or 0"):
        kit.logits(model, batch)


# ---- on disk


@every
def test_saved_and_loaded(model: Transformer, batch: Batch, kit: Any, method: Method, tmp_path: Path) -> None:
    plain = copy.deepcopy(model).float()
    kit.tune(model, method)
    model = model.float()
    if isinstance(method, AdaLora):  # a direction that the allocator dropped
        model.get_parameter("encoder.0.self_attention.query.adapters.law.lora_E").data[1] = 0
        model.get_parameter("decoder.1.feed_forward.up.adapters.law.lora_E").data[:] = 0
    weights = {name.replace(".adapters.law.", "."): p for name, p in parameters_of(model, "law").items()}
    save_adapter(tmp_path, method, weights, base="abc", about={"directions": [["en", "de"]]})
    saved = read_adapter(tmp_path)
    assert (saved.method, saved.base, saved.about) == (method, "abc", {"directions": [["en", "de"]]})
    load_adapter(plain, tmp_path, "mine", base="abc")
    torch.testing.assert_close(kit.logits(plain, batch), kit.logits(model, batch), rtol=1e-5, atol=1e-5)
    folded = (isinstance(method, PrefixTuning) and method.hidden) or isinstance(method, AdaLora)
    if not folded:
        assert torch.equal(kit.logits(plain, batch), kit.logits(model, batch))


def test_an_adapter_refuses_another_base(model: Transformer, kit: Any, tmp_path: Path) -> None:
    kit.tune(model, Lora(2, targets=("query",)))
    weights = {name.replace(".adapters.law.", "."): p for name, p in parameters_of(model, "law").items()}
    save_adapter(tmp_path, Lora(2, targets=("query",)), weights, base="a" * 64, about={"base_name": "tatoeba"})
    with pytest.raises(ModelError, match=r"another model, tatoeba \(weights aaaaaaaaaaaa…; these are bbbb"):
        load_adapter(kit.model(), tmp_path, base="b" * 64)
    with pytest.raises(ModelError, match=r"lora_A' is \(2, 12\), expected \(2, 24\)"):
        load_adapter(kit.model(d_model=24), tmp_path)
    small = kit.model(encoder_layers=1)
    with pytest.raises(ModelError, match=r"query\.lora_A' has no place"):
        load_adapter(small, tmp_path)
    assert adapters_of(small) == []  # nothing of it stays


def test_a_damaged_adapter(tmp_path: Path, model: Transformer, kit: Any) -> None:
    with pytest.raises(ModelError, match=r"is not an adapter: it has no adapter_config\.json"):
        read_adapter(tmp_path)
    kit.tune(model, Lora(2))
    weights = {name.replace(".adapters.law.", "."): p for name, p in parameters_of(model, "law").items()}
    with pytest.raises(ModelError, match="is not finite"):
        save_adapter(tmp_path, Lora(2), {n: w * float("nan") for n, w in weights.items()}, base="")
    save_adapter(tmp_path, Lora(2), weights, base="")
    file = tmp_path / "adapter_model.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"adapter_model.safetensors cannot be read"):
        read_adapter(tmp_path)


# ---- bad input


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Lora(2, targets=("querry",)), "targets: 'querry' fits no name in this model. Did you mean 'query'"),
        (Lora(2, targets=("query", "head")), "targets: 'head' fits no name"),  # tied: never offered
        (Lora(13), "rank 13 is above the width of encoder.0.self_attention.query, which is 12"),
        (AdaLora(13), "rank 13 is above the width"),
        (Houlsby(13), "width 13 is no bottleneck: the model's own is 12"),
        (Bias(targets=("nrom",)), "'nrom' fits no name in this model. Did you mean 'norm'"),
    ],
    ids=repr,
)
def test_what_does_not_fit_the_model_changes_nothing(
    model: Transformer, batch: Batch, kit: Any, method: Method, message: str
) -> None:
    with pytest.raises(ConfigError, match=message.replace(".", r"\.")):
        attach(model, method)
    assert model.state_dict().keys() == kit.model().state_dict().keys()
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert adapters_of(model) == []


def test_a_model_without_biases(kit: Any) -> None:
    with pytest.raises(ConfigError, match="no biases to tune"):
        attach(kit.model(bias=False, norm="rmsnorm"), Bias())


@pytest.mark.parametrize("name", ["", "a b", "a.b", "keys", "../x"])
def test_names(model: Transformer, name: str) -> None:
    with pytest.raises(ConfigError, match="cannot name an adapter"):
        attach(model, Lora(2), name)


def test_names_are_known(model: Transformer) -> None:
    attach(model, Lora(2), "law")
    with pytest.raises(ConfigError, match="has an adapter 'law' already"):
        attach(model, Bias(), "law")
    for act in (lambda: weigh(model, {"lav": 1}), lambda: detach(model, "lav"), lambda: parameters_of(model, "lav")):
        with pytest.raises(ConfigError, match=r"no adapter 'lav'\. Did you mean 'law'"):
            act()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Lora(0), "rank is 0; it must be at least 1"),
        (lambda: Lora(2, alpha=0), "alpha is 0; it must be positive"),
        (lambda: Lora(2, dropout=1), "dropout is 1"),
        (lambda: Lora(2, targets=()), "targets is empty"),
        (lambda: AdaLora(2, 3), "final_rank is 3; it must lie in 1 to rank"),
        (lambda: AdaLora(2, 1, warmup=0.6, cooldown=0.4), "leave a part for the allocation"),
        (lambda: AdaLora(2, 1, betas=(1.0, 0.5)), "betas are"),
        (lambda: AdaLora(2, 1, every=0), "every must be at least 1"),
        (lambda: Pfeiffer(0), "width is 0"),
        (lambda: PrefixTuning(0), "length must be at least 1"),
        (lambda: PrefixTuning(2, places=()), "places is empty; name some of encoder, decoder, cross"),
        (lambda: PromptTuning(0), "length is 0"),
    ],
)
def test_settings_that_make_no_sense(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


@pytest.mark.parametrize(
    "method", [Lora(rank=2), Lora(rank=2, magnitude=True), AdaLora(rank=3, final_rank=2), Bias()], ids=str
)
def test_what_heads_add_counts_the_adapter(model: Transformer, kit: Any, method: Method) -> None:
    """Unmerged as merged, and where the sentences of a batch have shares of their own."""
    kit.tune(model, method)
    x = torch.randn(2, 4, 12, dtype=torch.float64)
    attention = model.encoder[0].self_attention
    nothing = attention.out(torch.zeros_like(x))
    by_head = attention.head_outputs(x)
    torch.testing.assert_close(by_head.sum(2) + nothing, attention(x))
    with sentences([{"law": 1.0}, {"law": 0.5}]):
        mixed, whole = attention.head_outputs(x), attention(x)
        torch.testing.assert_close(mixed.sum(2) + attention.out(torch.zeros_like(x)), whole)
    torch.testing.assert_close(mixed[0], by_head[0])
    assert not torch.allclose(mixed[1], by_head[1]) or isinstance(method, Bias)
    merge(model)
    torch.testing.assert_close(model.encoder[0].self_attention.head_outputs(x), by_head)

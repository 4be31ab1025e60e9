"""LoRA, rsLoRA, DoRA and AdaLoRA beside peft: outputs, gradients, ranks step by step, and files both ways."""

import copy
import json
from pathlib import Path
from typing import Any

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from regard.base.errors import ModelError
from regard.data.batch import Batch
from regard.model import Transformer
from regard.tune.adalora import AdaLora, RankAllocator
from regard.tune.adapters import attach, parameters_of, short
from regard.tune.folder import load_adapter, read_adapter, save_adapter
from regard.tune.lora import Lora

TARGETS = ["query", "value", "out", "up"]
LORAS = [
    Lora(3, alpha=5, targets=tuple(TARGETS)),
    Lora(3, alpha=5, targets=tuple(TARGETS), rank_stabilised=True),
    Lora(3, alpha=5, targets=tuple(TARGETS), magnitude=True),
    AdaLora(4, 2, alpha=5, targets=tuple(TARGETS)),
]


def theirs(model: Transformer, method: Lora | AdaLora, **settings: Any) -> Any:
    """The model with peft's adapter of the same kind."""
    common = {"lora_alpha": method.alpha, "target_modules": TARGETS}
    if isinstance(method, Lora):
        config = peft.LoraConfig(r=method.rank, use_rslora=method.rank_stabilised, use_dora=method.magnitude, **common)
    else:
        schedule = {"total_step": 10} | settings
        config = peft.AdaLoraConfig(init_r=method.rank, target_r=method.final_rank, **common, **schedule)
    wrapped = peft.get_peft_model(copy.deepcopy(model), config)
    for name, parameter in wrapped.named_parameters():
        if "ranknum" in name:  # peft makes it trainable by mistake when it moves it to float64
            parameter.requires_grad_(False)
    return wrapped


def names(wrapped: Any) -> dict[str, nn.Parameter]:
    """peft's weights by our short names."""
    found = {}
    for name, parameter in wrapped.base_model.model.named_parameters():
        if "lora_" in name:
            name = name.replace(".default", "").replace("lora_magnitude_vector", "magnitude")
            found[name.removesuffix(".weight")] = parameter
    return found


def own(model: Transformer) -> dict[str, nn.Parameter]:
    return {short(name): parameter for name, parameter in parameters_of(model, "law").items()}


@torch.no_grad()
def give(mine: Transformer, wrapped: Any) -> None:
    """Let peft's adapter have our weights."""
    weights = own(mine)
    assert names(wrapped).keys() == weights.keys()
    for name, parameter in names(wrapped).items():
        parameter.copy_(weights[name])


@pytest.mark.parametrize("method", LORAS, ids=repr)
def test_outputs_and_gradients(model: Transformer, batch: Batch, kit: Any, method: Lora | AdaLora) -> None:
    wrapped = theirs(model, method)
    mine = kit.tune(model, method)
    give(mine, wrapped)
    inner = wrapped.base_model.model
    torch.testing.assert_close(kit.logits(mine, batch), kit.logits(inner, batch), rtol=1e-9, atol=1e-9)
    mine(batch).backward()
    inner(batch).backward()
    for name, parameter in names(wrapped).items():
        torch.testing.assert_close(own(mine)[name].grad, parameter.grad, rtol=1e-8, atol=1e-9)


def test_the_penalty_of_adalora(model: Transformer, kit: Any) -> None:
    class WithLoss(nn.Module):
        """peft adds its penalty to what an output calls its loss."""

        def __init__(self, inner: Transformer):
            super().__init__()
            self.inner = inner

        def forward(self) -> Any:
            return type("Output", (), {"loss": torch.zeros((), dtype=torch.float64)})()

    method = AdaLora(4, 2, targets=tuple(TARGETS), orthogonality=0.3)
    config = peft.AdaLoraConfig(init_r=4, target_r=2, target_modules=TARGETS, total_step=10, orth_reg_weight=0.3)
    wrapped = peft.get_peft_model(WithLoss(copy.deepcopy(model)), config).base_model
    mine = kit.tune(model, method)
    weights = own(mine)
    with torch.no_grad():
        for name, parameter in wrapped.model.inner.named_parameters():
            if "lora_" in name:
                parameter.copy_(weights[name.replace(".default", "")])
    wanted = wrapped.forward().loss
    penalty = method.penalty(weights)
    assert penalty is not None
    torch.testing.assert_close(penalty.double(), wanted, rtol=1e-5, atol=0)


def test_the_ranks_of_adalora_step_by_step(model: Transformer, batch: Batch, kit: Any) -> None:
    """The same weights, gradients and zeros after every step, and the same budget."""
    steps, first, last = 20, 4, 5
    method = AdaLora(4, 2, alpha=5, targets=tuple(TARGETS), warmup=first / steps, cooldown=last / steps, every=3)
    wrapped = theirs(model, method, total_step=steps, tinit=first, tfinal=last, deltaT=3)
    mine = kit.tune(model, method)
    give(mine, wrapped)
    inner, weights = wrapped.base_model.model, own(mine)
    allocator = RankAllocator(method, steps, {n: len(p) for n, p in weights.items() if n.endswith("lora_E")})
    optimisers = [torch.optim.SGD(m.parameters(), lr=0.01) for m in (mine, inner)]  # Adam would amplify rounding
    kept = []
    for step in range(1, steps + 1):
        for module, optimiser in zip((mine, inner), optimisers, strict=True):
            module(batch).backward()
            optimiser.step()
        gradients = {name: parameter.grad for name, parameter in weights.items()}
        allocator.update(step, weights, gradients)  # type: ignore[arg-type]
        assert allocator.budget(step) == wrapped.base_model.rankallocator.budget_schedule(step)[0]
        wrapped.base_model.update_and_allocate(step)
        for optimiser in optimisers:
            optimiser.zero_grad()
        for name, parameter in names(wrapped).items():
            torch.testing.assert_close(weights[name], parameter, rtol=1e-7, atol=1e-9)
            assert torch.equal(weights[name] == 0, parameter == 0)
        kept.append(sum(int((p != 0).sum()) for n, p in weights.items() if n.endswith("lora_E")))
    layers = len([name for name in weights if name.endswith("lora_E")])
    assert kept[first - 1] == 4 * layers
    assert kept[-1] == kept[steps - last] == 2 * layers
    assert len({tuple(v.tolist()) for v in allocator.kept.values()}) > 1  # layers differ


def test_the_allocator_goes_on_where_it_stood(model: Transformer, batch: Batch, kit: Any) -> None:
    method = AdaLora(4, 2, targets=tuple(TARGETS), warmup=0.1, cooldown=0.2, every=2)

    def run(stop: int) -> dict[str, Tensor]:
        mine = kit.tune(copy.deepcopy(model), method)
        weights = own(mine)
        ranks = {n: len(p) for n, p in weights.items() if n.endswith("lora_E")}
        allocator = RankAllocator(method, 12, ranks)
        for step in range(1, 13):
            gradients = dict(zip(weights, torch.autograd.grad(mine(batch), list(weights.values())), strict=True))
            with torch.no_grad():
                for name, weight in weights.items():
                    weight -= 0.01 * gradients[name].sign()
            allocator.update(step, weights, gradients)
            if step == stop:
                state = {name: value.clone() for name, value in allocator.state_dict().items()}
                allocator = RankAllocator(method, 12, ranks)
                allocator.load_state_dict(state, torch.device("cpu"))
        return {name: weight.detach() for name, weight in weights.items()}

    whole = run(0)
    for stop in (1, 5, 11):
        assert all(torch.equal(weight, whole[name]) for name, weight in run(stop).items())


# ---- files


# peft says so of its own AdaLoRA files as well
@pytest.mark.filterwarnings("ignore:The following rank_pattern keys did not match:RuntimeWarning")
@pytest.mark.parametrize("method", LORAS, ids=repr)
def test_peft_reads_ours(model: Transformer, batch: Batch, kit: Any, method: Lora | AdaLora, tmp_path: Path) -> None:
    plain, mine = copy.deepcopy(model).float(), kit.tune(model, method).float()
    if isinstance(method, AdaLora):  # as the allocator leaves them: different ranks, one layer without any
        weights = own(mine)
        weights["encoder.0.self_attention.query.lora_E"].data[1:3] = 0
        weights["decoder.0.feed_forward.up.lora_E"].data[:] = 0
    save_adapter(tmp_path, method, dict(own(mine)), base="abc")
    wrapped = peft.PeftModel.from_pretrained(plain, tmp_path).eval()
    inner = wrapped.base_model.model
    torch.testing.assert_close(kit.logits(inner, batch), kit.logits(mine, batch), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", LORAS, ids=repr)
def test_we_read_what_peft_writes(
    model: Transformer, batch: Batch, kit: Any, method: Lora | AdaLora, tmp_path: Path
) -> None:
    model = model.float()
    wrapped = theirs(model, method)
    give(kit.tune(copy.deepcopy(model), method), wrapped)
    wrapped.save_pretrained(tmp_path)
    load_adapter(model, tmp_path, "law", base="whatever: peft's files do not say")
    inner = wrapped.base_model.model.eval()
    torch.testing.assert_close(kit.logits(model, batch), kit.logits(inner, batch), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peft_type": "IA3"}, "peft's IA3 adapters cannot be read; LORA and ADALORA can"),
        ({"bias": "all"}, "'bias' is 'all', which Regard does not have"),
        ({"modules_to_save": ["head"]}, "'modules_to_save' is"),
        ({"rank_pattern": {"query": 4}}, "ranks that differ between layers"),
    ],
)
def test_what_we_do_not_have_is_refused(
    model: Transformer, kit: Any, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    save_adapter(tmp_path, LORAS[0], dict(own(kit.tune(model, LORAS[0]))), base="abc")
    (tmp_path / "regard.json").unlink()
    read_adapter(tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ModelError, match=message):
        read_adapter(tmp_path)


def test_names_on_disk_are_peft_s(model: Transformer, kit: Any, tmp_path: Path) -> None:
    attach(model, Lora(2, targets=("encoder.0.self_attention.query",), magnitude=True), "law")
    save_adapter(tmp_path, Lora(2, magnitude=True), dict(own(model)), base="abc")
    root = "base_model.model.encoder.0.self_attention.query."
    stored = load_file(tmp_path / "adapter_model.safetensors")
    assert sorted(stored) == [root + "lora_A.weight", root + "lora_B.weight", root + "lora_magnitude_vector"]
    del stored[root + "lora_B.weight"]
    save_file(stored, tmp_path / "adapter_model.safetensors")
    with pytest.raises(ModelError, match=r"query\.lora_B' is missing"):
        load_adapter(kit.model(), tmp_path)

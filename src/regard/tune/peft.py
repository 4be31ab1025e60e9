"""The names that peft gives to what it saves (checked with peft 0.21)."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from regard.base.errors import ModelError
from regard.tune.adalora import AdaLora
from regard.tune.lora import Lora
from regard.tune.method import Method

# Settings that change what an adapter computes and that ours do not have, with the values at which they do nothing.
_IDLE: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "modules_to_save": (None, []),
    "alpha_pattern": (None, {}),
    "fan_in_fan_out": (False,),
    "lora_bias": (None, False),
    "layer_replication": (None,),
    "trainable_token_indices": (None,),
    "target_parameters": (None, []),
}


def to_peft(name: str, method: Method) -> str:
    """What peft calls the weight ``name`` of one of its methods; those of other methods keep their names."""
    if not isinstance(method, Lora):
        return name
    place, _, last = name.rpartition(".")
    return f"{place}.lora_magnitude_vector" if last == "magnitude" else f"{name}.weight"


def from_peft(name: str) -> str:
    """The inverse of :func:`to_peft`."""
    name = re.sub(r"\.(lora_[AB])\.weight$", r".\1", name)
    return re.sub(r"\.lora_magnitude_vector(\.weight)?$", ".magnitude", name)


def config_of(method: Method, weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """What ``adapter_config.json`` says; of a method that peft does not have, its name and modules only."""
    common = {
        "base_model_name_or_path": None,
        "task_type": None,
        "inference_mode": True,
        "target_modules": _places(weights),
    }
    if isinstance(method, Lora):
        return {
            "peft_type": "LORA",
            **common,
            "r": method.rank,
            "lora_alpha": method.alpha,
            "lora_dropout": method.dropout,
            "use_rslora": method.rank_stabilised,
            "use_dora": method.magnitude,
            "bias": "none",
            "fan_in_fan_out": False,
        }
    if isinstance(method, AdaLora):
        ranks = {name: len(weight) for name, weight in weights.items() if name.endswith("lora_E")}
        return {
            "peft_type": "ADALORA",
            **common,
            "init_r": method.rank,
            "target_r": method.final_rank,
            "lora_alpha": method.alpha,
            "lora_dropout": method.dropout,
            "orth_reg_weight": method.orthogonality,
            "beta1": method.betas[0],
            "beta2": method.betas[1],
            "total_step": 1,  # peft demands one; there is nothing left to allocate
            "rank_pattern": {name: [i < rank for i in range(method.rank)] for name, rank in ranks.items()},
            "bias": "none",
            "fan_in_fan_out": False,
        }
    return {"method": method.name, **common}


def method_of(config: Mapping[str, Any], weights: Mapping[str, Tensor], where: str) -> Method:
    """The method of an adapter that peft wrote.

    Raises:
        ModelError: it is of a kind, or uses a setting, that Regard does not have.
    """
    kind = config.get("peft_type")
    if kind not in ("LORA", "ADALORA"):
        raise ModelError(f"{where}: peft's {kind} adapters cannot be read; LORA and ADALORA can.")
    for name, idle in _IDLE.items():
        if config.get(name, idle[0]) not in idle:
            raise ModelError(f"{where}: '{name}' is {config[name]!r}, which Regard does not have.")
    if kind == "LORA" and config.get("rank_pattern"):
        raise ModelError(f"{where}: ranks that differ between layers (rank_pattern) cannot be read.")
    targets = tuple(_places(weights))
    if not targets:
        raise ModelError(f"{where} holds no weights.")
    alpha, dropout = float(config["lora_alpha"]), float(config.get("lora_dropout", 0.0))
    if kind == "ADALORA":
        rank, final = int(config["init_r"]), int(config["target_r"])
        return AdaLora(rank, min(rank, final), alpha, dropout, targets)
    stabilised, magnitude = bool(config.get("use_rslora")), bool(config.get("use_dora"))
    return Lora(int(config["r"]), alpha, dropout, targets, stabilised, magnitude)


def _places(weights: Mapping[str, Tensor]) -> list[str]:
    """The modules that weights belong to."""
    return list(dict.fromkeys(name.rpartition(".")[0] for name in weights))

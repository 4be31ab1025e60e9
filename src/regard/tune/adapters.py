"""The adapters of a model: added, weighed, taken off again, merged."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.model import Transformer
from regard.model.adapted import Adapted
from regard.tune.method import Delta, Method


def attach(model: Transformer, method: Method, name: str = "adapter") -> None:
    """Add an adapter to ``model`` in place and switch it on; only its own weights can be trained from here on.

    Args:
        model: may have other adapters already.
        method: what kind of adapter.
        name: letters, digits, - and _; it goes into the names of the weights.

    Raises:
        ConfigError: the name is taken or none, or a setting of the method does not fit this model.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name) or hasattr(nn.ModuleDict(), name):
        raise ConfigError(f"'{name}' cannot name an adapter; use letters, digits, - and _.")
    if name in adapters_of(model):
        raise ConfigError(f"the model has an adapter '{name}' already; choose another name.")
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    method.attach(model, name)  # changes nothing where it fails
    model.train(model.training)  # the new modules too
    for parameter in trainable:
        parameter.requires_grad_(False)
    model.adapters.shares[name] = 1.0


def adapters_of(model: Transformer) -> list[str]:
    """Names of the adapters that a model has."""
    return list(model.adapters.shares)


def parameters_of(model: Transformer, name: str) -> dict[str, nn.Parameter]:
    """The weights of one adapter: name in the model → weight; :func:`short` gives the names on disk.

    Raises:
        ConfigError: the model has no such adapter.
    """
    check_name(model, name)
    return {n: p for n, p in model.named_parameters() if f".adapters.{name}." in n}


def short(parameter: str) -> str:
    """A weight's name without the adapter's: ``decoder.0.feed_forward.up.adapters.law.lora_A`` → ``….up.lora_A``."""
    return re.sub(r"\.adapters\.[A-Za-z0-9_-]+\.", ".", parameter)


def weigh(model: Transformer, shares: Mapping[str, float]) -> None:
    """Say how much of each adapter the model adds where a sentence says nothing else; those not named are off.

    Raises:
        ConfigError: the model has no such adapter.
    """
    for name in shares:
        check_name(model, name)
    model.adapters.shares = {name: shares.get(name, 0.0) for name in adapters_of(model)}


def detach(model: Transformer, name: str) -> None:
    """Take an adapter off; the model is as it was before it.

    Raises:
        ConfigError: the model has no such adapter.
    """
    check_name(model, name)
    for place, module in list(model.named_modules()):
        adapters = getattr(module, "adapters", None)
        if not isinstance(adapters, nn.ModuleDict) or name not in adapters:
            continue
        del adapters[name]
        if not adapters:
            if isinstance(module, Adapted):
                model.set_submodule(place, module.base)
            else:  # prefixes or prompts
                parent, _, last = place.rpartition(".")
                setattr(model.get_submodule(parent), last, None)
    del model.adapters.shares[name]


def can_merge(model: Transformer) -> bool:
    """Whether every adapter of the model can become a part of its weights."""
    return all(
        isinstance(delta, Delta) and delta.can_merge
        for module in model.modules()
        if isinstance(adapters := getattr(module, "adapters", None), nn.ModuleDict)
        for delta in adapters.values()
    )


def merge(model: Transformer) -> None:
    """Make all adapters a part of the weights, in place, with the shares that they have, and take them off.

    An embedding that is tied to the vocabulary head is safe: no adapter touches either.

    Raises:
        ModelError: an adapter is of a kind that cannot be merged; nothing was changed.
    """
    if not can_merge(model):
        raise ModelError("an adapter of this kind cannot be merged into the weights; keep it beside the model.")
    for module in list(model.modules()):
        if isinstance(module, Adapted):
            _merge_into(module.base, module.adapters, model.adapters.shares)
    for name in adapters_of(model):
        detach(model, name)


@torch.no_grad()
def _merge_into(base: nn.Module, adapters: nn.ModuleDict, shares: Mapping[str, float]) -> None:
    changes = {name: delta.change() for name, delta in adapters.items()}  # type: ignore[operator]  # before any is made
    for name, change in changes.items():
        for key, value in change.items():
            base.get_parameter(key).add_(value, alpha=shares[name])


def check_name(model: Transformer, name: str) -> None:
    """Raise a ConfigError where the model has no adapter ``name``."""
    if name not in model.adapters.shares:
        raise ConfigError(f"the model has no adapter '{name}'.{did_you_mean(name, adapters_of(model))}")


def assign(model: Transformer, name: str, weights: Mapping[str, Tensor], where: str) -> None:
    """Copy an adapter's weights, by their short names, into the model.

    Raises:
        ModelError: a name or a shape does not fit; ``where`` says whose.
    """
    own = {short(full): parameter for full, parameter in parameters_of(model, name).items()}
    for key in weights:
        if key not in own:
            raise ModelError(f"{where}: the weight '{key}' has no place in this adapter.{did_you_mean(key, own)}")
    for key, parameter in own.items():
        if key not in weights:
            raise ModelError(f"{where}: the weight '{key}' is missing.")
        if weights[key].shape != parameter.shape:
            raise ModelError(f"{where}: '{key}' is {tuple(weights[key].shape)}, expected {tuple(parameter.shape)}.")
        parameter.data.copy_(weights[key])

"""An adapter is a folder: ``adapter_model.safetensors``, ``adapter_config.json`` and ``regard.json``.

The first two are laid out as peft lays them out, and for LoRA and AdaLoRA peft reads them and ours reads peft's.
``regard.json`` says what peft has no place for: the method's settings, and the hash of the model the adapter was made
for. Names in ``adapter_model.safetensors`` begin with ``base_model.model.``.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from regard.base.config import from_dict, read_json, to_dict
from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.base.files import write_atomic
from regard.model import Transformer
from regard.tune import peft
from regard.tune.adalora import AdaLora, AdaLoraDelta
from regard.tune.adapters import assign, attach, detach, parameters_of
from regard.tune.bias import Bias
from regard.tune.bottleneck import Houlsby, Pfeiffer
from regard.tune.lora import Lora
from regard.tune.method import Method
from regard.tune.prefix import PrefixTuning
from regard.tune.prompt import PromptTuning

FORMAT = 1
METHODS: dict[str, type[Method]] = {
    m.name: m for m in (Lora, AdaLora, Houlsby, Pfeiffer, PrefixTuning, PromptTuning, Bias)
}
_ROOT = "base_model.model."


@dataclass(frozen=True)
class SavedAdapter:
    """An adapter as it lies on disk."""

    method: Method
    """Its kind and settings."""
    weights: dict[str, Tensor]
    """Weights by their short names."""
    base: str | None
    """Hash of the model it was made for; None where the file does not say, as peft's."""
    about: dict[str, Any]
    """Whatever else the one who saved it wanted kept, as JSON values."""


def method_of(values: Mapping[str, Any], where: str = "") -> Method:
    """The method and settings that ``{"method": name, …}`` describes.

    Raises:
        ConfigError: no such method, or an unknown or wrong setting.
    """
    name = str(values.get("method"))
    if name not in METHODS:
        raise ConfigError(f"{where + ': ' if where else ''}'{name}' is not a method.{did_you_mean(name, METHODS)}")
    return from_dict(METHODS[name], {k: v for k, v in values.items() if k != "method"}, where)


def describe(method: Method) -> dict[str, Any]:
    """The inverse of :func:`method_of`, in JSON values."""
    return {"method": method.name, **to_dict(method)}


def save_adapter(
    folder: Path,
    method: Method,
    weights: dict[str, Tensor],
    *,
    base: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write an adapter; ``regard.json`` comes last and makes the folder an adapter.

    Args:
        folder: made if need be.
        method: kind and settings.
        weights: by short names, as trained.
        base: :func:`regard.model.folder.model_hash` of the model that it belongs to.
        about: what else to keep, in JSON values.

    Raises:
        ModelError: a weight is not finite.
        RegardError: the disk is full or the folder cannot be written.
    """
    weights = {name: weight.detach().float().cpu() for name, weight in method.finished(weights).items()}
    for name, weight in weights.items():
        if not weight.isfinite().all():
            raise ModelError(f"{folder} was not written: '{name}' is not finite.")
    stored = {_ROOT + peft.to_peft(name, method): weight.contiguous() for name, weight in weights.items()}
    write_atomic(folder / "adapter_model.safetensors", save(stored, {"format": "pt"}))
    write_atomic(folder / "adapter_config.json", _json(peft.config_of(method, weights)))
    values = {"format": FORMAT, **describe(method), "base": base, "about": dict(about or {})}
    write_atomic(folder / "regard.json", _json(values))


def read_adapter(folder: str | Path) -> SavedAdapter:
    """Read an adapter of Regard's, or a LoRA or AdaLoRA of peft's.

    Raises:
        ModelError: something is missing, damaged, or uses what Regard does not have.
    """
    folder = Path(folder)
    if not (folder / "adapter_config.json").exists():
        raise ModelError(f"{folder} is not an adapter: it has no adapter_config.json.")
    try:
        stored = load_file(folder / "adapter_model.safetensors")
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{folder}/adapter_model.safetensors cannot be read: {error}.") from error
    weights = {peft.from_peft(name.removeprefix(_ROOT)): weight.float() for name, weight in stored.items()}
    if (folder / "regard.json").exists():
        values = read_json(folder / "regard.json")
        if values.pop("format", None) != FORMAT:
            raise ModelError(f"{folder}/regard.json is of another version of Regard, which has to read it.")
        base, about = values.pop("base", None), values.pop("about", {})
        return SavedAdapter(method_of(values, f"{folder}/regard.json"), weights, base, about)
    method = peft.method_of(read_json(folder / "adapter_config.json"), weights, str(folder))
    return SavedAdapter(method, weights, None, {})


def load_adapter(model: Transformer, folder: str | Path, name: str = "adapter", *, base: str | None = None) -> None:
    """Add a saved adapter to ``model``, switched on.

    Args:
        model: as it was loaded, perhaps with other adapters.
        folder: the adapter.
        name: what to call it here.
        base: :func:`regard.model.folder.model_hash` of the model; None does not check.

    Raises:
        ModelError: it was made for another model, or is damaged.
        ConfigError: the name is taken.
    """
    saved = read_adapter(folder)
    if base is not None and saved.base is not None and base != saved.base:
        made_for = saved.about.get("base_name")
        raise ModelError(
            f"{folder} was made for another model{f', {made_for}' * bool(made_for)} (weights {saved.base[:12]}…; "
            f"these are {base[:12]}…). Use it with that one, or tune this model anew."
        )
    method = saved.method
    if isinstance(method, PrefixTuning):  # what it was trained through is gone
        method = replace(method, hidden=0)
    attach(model, method, name)
    try:
        if isinstance(method, AdaLora):
            _fit_ranks(model, name, saved.weights)
        assign(model, name, saved.weights, str(folder))
    except ModelError:
        detach(model, name)
        raise


def _fit_ranks(model: Transformer, name: str, weights: Mapping[str, Tensor]) -> None:
    """Give each layer the rank that is left of it."""
    for full in parameters_of(model, name):
        place, _, last = full.rpartition(".")
        key = place.replace(f".adapters.{name}", "") + ".lora_E"
        if last == "lora_E" and key in weights:
            delta, rank = model.get_submodule(place), len(weights[key])
            assert isinstance(delta, AdaLoraDelta)
            delta.lora_A = nn.Parameter(delta.lora_A.detach()[:rank])
            delta.lora_E = nn.Parameter(delta.lora_E.detach()[:rank])
            delta.lora_B = nn.Parameter(delta.lora_B.detach()[:, :rank].contiguous())


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

"""Models made smaller by leaving parts out: layers, and the heads that matter least.

Parts are really gone: the folder is smaller, and every engine faster. What they did is lost until the model is tuned.
Layers can be left out with little loss where training had already left some out at random (``model.layer_drop``).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.attention import MultiHeadAttention
from regard.base.errors import ConfigError, DataError
from regard.compress.loading import Loaded
from regard.compress.output import copy_rest, fresh_folder
from regard.data.batch import Batch, collate
from regard.data.corpus import Pair
from regard.model import Transformer
from regard.model.folder import Storage, load_config, save_model, storage_of
from regard.tasks.vocabulary import tag_of

_ROWS = 32


def prune_model(
    folder: str | Path,
    output: str | Path,
    *,
    encoder: int | Sequence[int] | None = None,
    decoder: int | Sequence[int] | None = None,
    heads: int | None = None,
    pairs: Sequence[Pair] = (),
    direction: tuple[str, str] | None = None,
    storage: Storage | None = None,
) -> tuple[int, int]:
    """Write a copy of a model with fewer parts.

    Args:
        folder: a translation model.
        output: the folder to write; it must be new, or empty.
        encoder: how many of the encoder's layers to keep, evenly spaced, or which, counted from 0; default all.
        decoder: the same for the decoder.
        heads: how many heads of each attention to keep: those that matter most for ``pairs``; default all.
        pairs: sentences and their translations.
        direction: languages of ``pairs``.
        storage: type of the matrices on disk; default that of the original.

    Returns:
        Parameters before and after.

    Raises:
        ConfigError: there are not so many layers or heads, heads of this model cannot be left out, or ``output`` is
            not empty.
        DataError: no pair can be used.
        ModelError: the model is damaged.
    """
    folder, output = Path(folder), Path(output)
    loaded = Loaded.read(folder)
    model = loaded.model
    before = _size(model)
    keep_layers(model, encoder, decoder)
    if heads is not None:
        found = importance(model, _batches(loaded, pairs, direction))
        keep_heads(model, {name: _largest(values, heads) for name, values in found.items()})
    storage = storage or storage_of(folder / "model.safetensors")
    _, task = load_config(folder)
    with fresh_folder(output) as copy:
        copy_rest(folder, copy)
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        save_model(copy, model.config, weights, storage=storage, task=task)
    return before, _size(model)


def keep_layers(
    model: Transformer, encoder: int | Sequence[int] | None = None, decoder: int | Sequence[int] | None = None
) -> None:
    """Leave out layers of ``model``, in place; arguments and errors as in :func:`prune_model`."""
    sizes = {}
    for stack, wanted in (("encoder", encoder), ("decoder", decoder)):
        layers = getattr(model, stack)
        kept = range(len(layers)) if wanted is None else _positions(stack, len(layers), wanted)
        setattr(model, stack, nn.ModuleList(layers[i] for i in kept))
        sizes[f"{stack}_layers"] = len(kept)
    model.config = replace(model.config, **sizes)


def _positions(stack: str, count: int, wanted: int | Sequence[int]) -> Sequence[int]:
    """Which layers to keep: the first, the last, and those between as evenly as can be."""
    if isinstance(wanted, int):
        if not 1 <= wanted <= count:
            raise ConfigError(f"the {stack} has {count} layers; {wanted} of them cannot be kept.")
        return [round(i * (count - 1) / max(1, wanted - 1)) for i in range(wanted)]
    if not wanted or sorted(set(wanted)) != list(wanted) or not 0 <= wanted[0] <= wanted[-1] < count:
        known = f"numbers from 0 to {count - 1}, each once and in their order"
        raise ConfigError(f"the {stack}'s layers to keep are {list(wanted)}; name {known}.")
    return wanted


def importance(model: Transformer, batches: Iterable[Batch]) -> dict[str, Tensor]:
    """How much the loss changes with each head: mean over the examples of |∂L/∂ξ| (Michel et al. 2019, equation 2).

    ξ is a factor on what the head gives, L the cross-entropy of one example, summed over its pieces.

    Args:
        model: in evaluation mode.
        batches: examples.

    Returns:
        For each attention, by name, H numbers.
    """
    attentions = {name: m for name, m in model.named_modules() if isinstance(m, MultiHeadAttention)}
    totals = {name: torch.zeros(m.num_heads, dtype=torch.float64) for name, m in attentions.items()}
    count = 0
    for batch in batches:
        rows = len(batch.source)
        like = model.head.weight
        gates = {name: like.new_ones(rows, m.num_heads).requires_grad_() for name, m in attentions.items()}
        with ExitStack() as hooks, torch.enable_grad():
            for name, attention in attentions.items():
                hook = attention.out.register_forward_pre_hook(_gate(gates[name]))
                hooks.callback(hook.remove)
            gradients = torch.autograd.grad(model(batch), list(gates.values()))
        for name, gradient in zip(gates, gradients, strict=True):
            totals[name] += gradient.abs().sum(0).double()
        count += rows
    if not count:
        raise DataError("there are no sentence pairs to find the important heads with.")
    return {name: total / count for name, total in totals.items()}


def _gate(gate: Tensor) -> Any:
    """A hook that multiplies what each head of each row gives (B×T×(H·V)) with a factor (B×H)."""

    def multiply(module: nn.Module, inputs: tuple[Tensor]) -> Tensor:
        return (inputs[0].unflatten(-1, (gate.shape[1], -1)) * gate[:, None, :, None]).flatten(-2)

    return multiply


def keep_heads(model: Transformer, kept: Mapping[str, Sequence[int]]) -> None:
    """Leave out heads of ``model``, in place.

    Args:
        model: its attentions are of one size, and stay so.
        kept: for each attention, by name, the heads to keep: as many everywhere.

    Raises:
        ConfigError: heads share keys, or have numbers of their own in the scores.
    """
    config = model.config
    if config.num_kv_heads != config.num_heads:
        raise ConfigError("heads that share keys (attention.num_kv_heads) cannot be left out one by one.")
    for name, heads in kept.items():
        attention = model.get_submodule(name)
        assert isinstance(attention, MultiHeadAttention)
        if config.positions.kind == "alibi" or any(True for _ in attention.scoring.parameters()):
            raise ConfigError(
                "heads with numbers of their own in the scores (position, similarity) cannot be left out."
            )
        for projection in (attention.query, attention.key, attention.value):
            _take(projection, heads, attention.num_heads, axis=0)
        _take(attention.out, heads, attention.num_heads, axis=1)
        attention.num_heads = attention.num_kv_heads = len(heads)
    (count,) = {len(heads) for heads in kept.values()}
    model.config = replace(config, num_heads=count, head_dim=config.key_width, value_dim=config.value_width)


@torch.no_grad()
def _take(layer: nn.Linear, heads: Sequence[int], count: int, axis: int) -> None:
    """Keep the rows (axis 0) or columns (axis 1) of a layer that belong to some of ``count`` heads."""
    index = torch.tensor(list(heads))

    def part(values: Tensor) -> nn.Parameter:
        by_head = values.unflatten(axis, (count, -1)).index_select(axis, index)
        return nn.Parameter(by_head.flatten(axis, axis + 1))

    layer.weight = part(layer.weight)
    if axis == 0 and layer.bias is not None:
        layer.bias = part(layer.bias)
    layer.out_features, layer.in_features = layer.weight.shape


def _largest(values: Tensor, count: int) -> list[int]:
    if not 1 <= count <= len(values):
        raise ConfigError(f"an attention of this model has {len(values)} heads; {count} of them cannot be kept.")
    return sorted(values.topk(count).indices.tolist())


def _batches(loaded: Loaded, pairs: Sequence[Pair], direction: tuple[str, str] | None) -> Iterator[Batch]:
    """Pairs in batches, as the model is trained on them."""
    if direction not in loaded.directions:
        known = ", ".join(f"{source}→{target}" for source, target in loaded.directions)
        asked = (
            "no direction was given" if direction is None else f"it does not translate {direction[0]}→{direction[1]}"
        )
        raise ConfigError(f"the pairs must be of a direction that the model has ({known}); {asked}.")
    config, (source, target) = loaded.model.config, loaded.tokenizers
    tag = [source.tag_id(tag_of(direction[1]))] if _tagged(loaded) else []
    limit = config.max_positions - 2 if config.positions.kind == "learned" else 512
    examples = zip(
        source.encode_batch(pair.source for pair in pairs),
        target.encode_batch(pair.target for pair in pairs),
        strict=True,
    )
    fitting = sorted(([([*tag, *s], t) for s, t in examples if s and t and max(len(s), len(t)) <= limit]), key=_longer)
    for start in range(0, len(fitting), _ROWS):
        sources, targets = zip(*fitting[start : start + _ROWS], strict=True)
        yield collate(sources, targets, pad_id=config.pad_id, bos_id=config.bos_id, eos_id=config.eos_id)


def _longer(example: tuple[list[int], list[int]]) -> int:
    return max(map(len, example))


def _tagged(loaded: Loaded) -> bool:
    return bool(loaded.tokenizers[0].tags)


def _size(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

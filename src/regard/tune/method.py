"""What every tuning method is: settings, and a way to put an adapter into a model."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

from torch import Tensor, nn

from regard.base.errors import ConfigError, did_you_mean
from regard.model import Transformer
from regard.model.adapted import Adapted


class Delta(nn.Module, ABC):
    """What an adapter adds to the output of one module."""

    @abstractmethod
    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """The addition to the output ``y`` of the module for its input ``x``, in the shape of ``y``."""

    #: Whether the addition is the same as a change of the module's weights.
    can_merge: ClassVar[bool] = False

    def change(self) -> dict[str, Tensor]:
        """What to add to the module's parameters, by name, to have the addition; where it can be merged."""
        raise NotImplementedError


class Method(ABC):
    """The settings of a method, as a frozen dataclass; one instance attaches any number of adapters."""

    #: What the command line and files call it.
    name: ClassVar[str]

    @abstractmethod
    def attach(self, model: Transformer, adapter: str) -> None:
        """Add the adapter's modules to ``model``, off; its weights are new.

        Raises:
            ConfigError: a setting does not fit this model.
        """

    def penalty(self, weights: Mapping[str, Tensor]) -> Tensor | None:
        """A term of the loss for the adapter's weights, beside the task's own; None where there is none."""
        return None

    def finished(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """The adapter's weights as they are saved: without what only the training needed."""
        return weights


def places(model: Transformer, *kinds: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    """Names and modules of ``kinds`` in the encoder and the decoder, as they were before anything was adapted.

    The embeddings and the vocabulary head are not among them: they may be one tied matrix, which an adapter of one
    of them would corrupt, and the loss reads the head's matrix itself.
    """
    for name, module in model.named_modules():
        parts = name.split(".")
        if not parts[0].startswith(("encoder", "decoder")) or {"base", "adapters", "prefix"} & set(parts):
            continue
        original = module.base if isinstance(module, Adapted) else module
        if isinstance(original, kinds):
            yield name, original  # type: ignore[misc]


def choose(names: Iterable[str], patterns: Iterable[str], what: str = "targets") -> list[str]:
    """The names that some pattern fits, whole or from one of their dots on: ``query``, ``encoder.*.down``, ``*``.

    Raises:
        ConfigError: a pattern fits none; the message names the nearest that would.
    """
    names = list(names)
    chosen: dict[str, None] = {}
    for pattern in patterns:
        fitting = [n for n in names if fnmatchcase(n, pattern) or fnmatchcase(n, f"*.{pattern}")]
        if not fitting:
            known = {part for name in names for part in (name.split(".")[-1], ".".join(name.split(".")[-2:]))}
            raise ConfigError(f"{what}: '{pattern}' fits no name in this model.{did_you_mean(pattern, known)}")
        chosen |= dict.fromkeys(fitting)
    return [name for name in names if name in chosen]


def adapt(model: Transformer, place: str, adapter: str, delta: Delta) -> None:
    """Put ``delta`` behind the module at ``place``, on its device and in its precision."""
    module = model.get_submodule(place)
    reference = next(module.parameters())
    if not isinstance(module, Adapted):
        module = Adapted(module, model.adapters)
        model.set_submodule(place, module)
    module.adapters[adapter] = delta.to(reference.device, reference.dtype)

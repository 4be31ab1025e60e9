"""Weights that can be seen on the fast path.

    with record(model, "decoder.*.cross_attention") as seen:
        model(batch)
    seen["decoder.0.cross_attention"].weights(heads=3)  # B×1×T×S

The model runs with the same kernels and gives the same numbers, bit by bit: what is kept are its queries
and keys. Weights of the layers, heads and rows that are asked for are computed from them afterwards, so
memory grows with the length of the text, and then with what is asked for.
"""

from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from types import TracebackType

from torch import nn

from regard.attention.look import Look
from regard.attention.multihead import MultiHeadAttention
from regard.base.errors import did_you_mean


class Seen:
    """The passes of each recorded attention, by its name in the model."""

    def __init__(self, names: list[str]):
        self._passes: dict[str, list[Look]] = {name: [] for name in names}

    @property
    def names(self) -> list[str]:
        """The attentions that are watched, in the order of the model."""
        return list(self._passes)

    def passes(self, name: str) -> list[Look]:
        """All passes of an attention, oldest first (decoding step by step makes one a step).

        Raises:
            KeyError: it is not among ``names``.
        """
        if name not in self._passes:
            raise KeyError(f"'{name}' was not recorded.{did_you_mean(name, self._passes)}")
        return self._passes[name]

    def __getitem__(self, name: str) -> Look:
        """The last pass.

        Raises:
            KeyError: it is not among ``names``, or has not run.
        """
        passes = self.passes(name)
        if not passes:
            raise KeyError(f"'{name}' did not run while it was recorded")
        return passes[-1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._passes)

    def clear(self) -> None:
        """Forget what was seen so far."""
        for passes in self._passes.values():
            passes.clear()

    def watcher(self, name: str) -> Callable[[Look], None]:
        """Who is told of the passes of one attention."""
        return self._passes[name].append


class record:
    """Watch the attentions of a model."""

    def __init__(self, model: nn.Module, *layers: str):
        """
        Args:
            model: anything that has :class:`MultiHeadAttention` in it.
            layers: names of attentions, as ``decoder.0.cross_attention``, or patterns, as ``encoder.*``; all
                where none is given.

        Raises:
            ValueError: the model has no such attention.
        """
        known = {name: module for name, module in model.named_modules() if isinstance(module, MultiHeadAttention)}
        if not known:
            raise ValueError(f"{type(model).__name__} has no MultiHeadAttention to record")
        for layer in layers:
            if not any(fnmatchcase(name, layer) for name in known):
                raise ValueError(f"no attention is called '{layer}'.{did_you_mean(layer, known)}")
        chosen = [name for name in known if not layers or any(fnmatchcase(name, layer) for layer in layers)]
        self._attentions = {name: known[name] for name in chosen}
        self._before: dict[str, Callable[[Look], None] | None] = {}

    def __enter__(self) -> Seen:
        seen = Seen(list(self._attentions))
        for name, attention in self._attentions.items():
            self._before[name] = attention.watcher
            attention.watcher = seen.watcher(name)
        return seen

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for name, attention in self._attentions.items():
            attention.watcher = self._before[name]

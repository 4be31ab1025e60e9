"""The native engine: encoder-decoders on the CPU, the whole search in C++, without PyTorch.

It multiplies in int8 (weights with a scale a row, activations rounded a row at a time) or in
float32. Any thread may call it; threads that do share its running batch. Its sources are in
``native/``; ``REGARD_ISA`` makes it use another of the instruction sets that it was built for.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from regard.base.device import cpu_count
from regard.base.errors import RegardError
from regard.decode.native_weights import Arrangement, shape_of
from regard.decode.request import Hypothesis, Request, Result
from regard.decode.shortlist import FILE, Shortlist
from regard.model.choices import USUAL_ATTENTION
from regard.model.config import ModelConfig
from regard.model.reading import load_config, read_weights

try:
    from regard.decode import _native  # pyright: ignore[reportAttributeAccessIssue]
except ImportError as error:  # built without a compiler, or for another Python
    _native: Any = None
    _PROBLEM = str(error)
else:
    _PROBLEM = ""

NativePrecision = Literal["int8", "fp32"]
#: More threads than this wait for each other longer than they work.
_MOST_THREADS = 8
_SUPPORTED = {
    "norm": ("layernorm", "rmsnorm"),
    "norm_position": ("pre", "post"),
    "activation": ("relu", "gelu", "silu", "swiglu"),
    "position": ("sinusoidal", "learned", "rotary", "none"),
}


def instruction_set() -> str:
    """The instruction set that the engine runs on here.

    Raises:
        RegardError: the engine was not built, or REGARD_ISA names one that this processor lacks.
    """
    _require()
    with _explained():
        return _native.instruction_set()


def why_not(config: ModelConfig | None = None) -> str | None:
    """Why the native engine cannot run here, or not a model of this shape; None where it can."""
    if _native is None:
        return f"its extension is not built ({_PROBLEM})"
    if config is None:
        return None
    for name, known in _SUPPORTED.items():
        if getattr(config, name) not in known:
            return f"it has no {name} '{getattr(config, name)}'"
    if config.embedding_norm and config.norm_position == "pre":
        return "it normalises embeddings in post-norm models only"
    return None if config.attention == USUAL_ATTENTION else "it has no attention but softmax over scaled dot products"


def default_threads() -> int:
    """Threads of an engine: all cores up to a few, or what OMP_NUM_THREADS says."""
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return int(wanted) if wanted.isdecimal() and int(wanted) else min(cpu_count(), _MOST_THREADS)


class NativeEngine:
    """Search over one model, with the interface of :class:`regard.decode.TorchEngine`."""

    def __init__(
        self, model: Any, shortlist: Any, config: ModelConfig, threads: int, max_tokens: int, never: Sequence[int]
    ):
        """Made by :meth:`from_folder` and :meth:`from_weights`; ``model`` and ``shortlist`` are the extension's."""
        self.config, self.threads, self.max_tokens = config, threads, max_tokens
        self._model, self._shortlist, self._never = model, shortlist, tuple(never)
        with _explained():
            self._engine = _native.Engine(model, shortlist, threads, max_tokens, list(never))

    @classmethod
    def from_folder(
        cls,
        folder: str | Path,
        *,
        precision: NativePrecision = "int8",
        use_shortlist: bool = True,
        **settings: Any,
    ) -> "NativeEngine":
        """An engine on the model in ``folder``; ``settings`` as in :meth:`from_weights`.

        Args:
            folder: the model.
            precision: int8 or fp32.
            use_shortlist: whether the folder's shortlist counts, where it has one.
            settings: the others.

        Raises:
            ModelError: the folder is missing or damaged, or its weights are not those of its configuration.
        """
        config, _ = load_config(folder)
        weights = read_weights(Path(folder) / "model.safetensors")
        path = Path(folder) / FILE
        if use_shortlist and path.exists():
            settings["shortlist"] = Shortlist.load(path, config.source_vocab_size, config.target_vocab_size)
        return cls.from_weights(config, weights, precision=precision, where=str(folder), **settings)

    @classmethod
    def from_weights(
        cls,
        config: ModelConfig,
        weights: Any,
        *,
        precision: NativePrecision = "int8",
        threads: int | None = None,
        max_tokens: int = 4096,
        never: Iterable[int] = (),
        shortlist: Shortlist | None = None,
        where: str = "the model",
    ) -> "NativeEngine":
        """An engine on weights by the names of :class:`regard.model.Transformer`.

        Args:
            config: what the model is made of.
            weights: float32 arrays, or int8 with a scale a row (:func:`regard.model.reading.read_weights`).
            precision: int8 or fp32.
            threads: that decode together; :func:`default_threads` by default.
            max_tokens: source pieces × rows in the running batch; a longer request runs alone.
            never: pieces that are never produced, besides padding and begin.
            shortlist: pieces to translate to, for requests that do not say so themselves.
            where: what error messages call the model.

        Raises:
            ModelError: a weight is missing, has another shape or no place.
            RegardError: the engine was not built.
        """
        _require()
        arranged = Arrangement(config, weights, where).run()
        with _explained():
            model = _native.Model(shape_of(config, precision == "int8"), arranged)
            lists = shortlist and _native.Shortlist(
                shortlist.tables.tolist(), shortlist.offsets, shortlist.pieces, shortlist.sources, shortlist.targets
            )
        pieces = sorted({config.pad_id, config.bos_id, *never})
        return cls(model, lists, config, threads or default_threads(), max_tokens, pieces)

    def twin(self) -> "NativeEngine":
        """Another engine over the same weights, with requests and threads of its own."""
        return NativeEngine(self._model, self._shortlist, self.config, self.threads, self.max_tokens, self._never)

    def add(self, request: Request) -> int:
        """Queue a request and return its number.

        Raises:
            RegardError: the source is empty, a piece is not in the vocabulary, or an adapter is asked for.
        """
        _check(request)
        with _explained():
            return self._engine.add(request)

    def cancel(self, number: int) -> bool:
        """Forget a request; False where it is not known any more."""
        return self._engine.cancel(number)

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs, or a result has not been fetched."""
        return self._engine.busy

    def step(self, *, partial: bool = False) -> list[Result]:
        """Admit what fits, decode one piece everywhere and return what is finished.

        Args:
            partial: also return the best hypothesis so far of what still runs.
        """
        with _explained():
            found = self._engine.step(partial)
        return [Result(number, [_hypothesis(h) for h in hypotheses], done) for number, hypotheses, done in found]

    def translate(self, requests: Sequence[Request]) -> list[list[Hypothesis]]:
        """Decode all requests and return their hypotheses, best first, in the same order."""
        for request in requests:
            _check(request)
        with _explained():
            found = self._engine.translate(requests)
        return [[_hypothesis(h) for h in hypotheses] for hypotheses in found]


def _hypothesis(values: tuple[Any, ...]) -> Hypothesis:
    return Hypothesis(*values)


def _check(request: Request) -> None:
    if request.adapters:
        raise RegardError("the native engine runs no adapters on request; load the model with the PyTorch engine.")


def _require() -> None:
    if _native is None:
        raise RegardError(f"the native engine cannot be used: {why_not()}. Install a C++ compiler and Regard again.")


@contextmanager
def _explained() -> Iterator[None]:
    """Turn the extension's errors into Regard's."""
    try:
        yield
    except RegardError:
        raise
    except ValueError as error:
        raise RegardError(str(error)) from error
    except MemoryError as error:
        raise RegardError(
            "there is not enough memory for this. Ask for less at once: fewer or shorter texts, or fewer hypotheses."
        ) from error

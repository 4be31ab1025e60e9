"""Translate text with a trained model.

::

    from regard import Translator

    translator = Translator.from_pretrained()
    print(translator.translate("The bread is still warm.", source="en", target="de").text)
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, overload

import numpy as np

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.data.tokenizer import EOS, UNK, Tokenizer
from regard.decode.pack import Precision
from regard.decode.request import Hypothesis, Options, Request
from regard.model import Transformer
from regard.tasks.segments import Segment, cut, put_together, take_apart
from regard.tasks.vocabulary import load_tokenizers, tag_of

#: Longer sentences are cut at clause ends: the shipped model was trained on up to 160 pieces.
MAX_PIECES = 120


@dataclass(frozen=True)
class Alternative:
    """Another translation of a sentence."""

    text: str
    score: float


@dataclass(frozen=True)
class Sentence:
    """One translated sentence."""

    source: str
    """What was translated."""
    text: str
    """The translation."""
    score: float
    """Mean natural-log probability of a piece: 0 is certain, -1 a guess among e ≈ 2.7 pieces each time."""
    source_pieces: tuple[str, ...]
    """Subword pieces of the source, without tag and end of sentence."""
    pieces: tuple[str, ...]
    """Subword pieces of the translation."""
    log_probs: tuple[float, ...]
    """Natural-log probability of each piece and of the end of the sentence."""
    finished: bool = True
    """False where the limit on the length cut the translation off."""
    attention: np.ndarray | None = None
    """Cross-attention, pieces × source pieces, rows sum to 1; with ``alignment=True``."""
    alternatives: tuple[Alternative, ...] = ()
    """Further hypotheses, best first."""


@dataclass(frozen=True)
class Translation:
    """One translated text."""

    source: str
    """The text as it was given."""
    text: str
    """The translation."""
    score: float
    """Mean natural-log probability of a piece over all sentences; 0 where nothing had to be translated."""
    sentences: tuple[Sentence, ...]
    """The sentences that were translated, in order; copied symbols and white space are not among them."""

    @property
    def finished(self) -> bool:
        """Whether every sentence came to its end."""
        return all(sentence.finished for sentence in self.sentences)


class Translator:
    """A model, its tokenisers and an engine."""

    def __init__(
        self,
        model: Transformer | Sequence[Transformer],
        tokenizers: tuple[Tokenizer, Tokenizer],
        task: dict[str, Any],
        *,
        defaults: Options | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ):
        """
        Args:
            model: a model, or several to average.
            tokenizers: of source and target (the same twice when joint).
            task: the ``task`` section of the model's configuration.
            defaults: options of a request that says nothing else.
            device: auto, cpu, cuda or cuda:N.
            precision: auto, bf16 or fp32.
        """
        from regard.decode.engine import TorchEngine

        self.tokenizers = tokenizers
        self.directions: list[tuple[str, str]] = [(d[0], d[1]) for d in task["directions"]]
        self.tagged: bool = task["tagged"]
        self.defaults = defaults or Options()
        target = tokenizers[1]
        never = [UNK, *(target.tag_id(tag) for tag in target.tags)]
        self.engine = TorchEngine(model, device=device, precision=precision, never=never)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | Sequence[str | Path] | None = None,
        *,
        device: str = "auto",
        precision: Precision = "auto",
    ) -> "Translator":
        """Load a model folder; without a path, the model that ships with Regard; with several, their ensemble.

        Raises:
            ModelError: the folder is missing, damaged or not a translation model.
        """
        from regard.model.folder import load_model

        paths = [shipped_model()] if path is None else [path] if isinstance(path, str | Path) else list(path)
        folders = [Path(p) for p in paths]
        loaded = [load_model(folder) for folder in folders]
        for folder, (_, task) in zip(folders, loaded, strict=True):
            if task.get("name") != "translation":
                raise ModelError(f"{folder} is not a translation model: its task is {task.get('name')!r}.")
            if task != loaded[0][1]:
                raise ModelError(f"{folder} translates other directions than {folders[0]}; they cannot be averaged.")
        defaults = Options()
        if (folders[0] / "generation.json").exists():
            defaults = _options(defaults, read_json(folders[0] / "generation.json"))
        return cls(
            [model for model, _ in loaded],
            load_tokenizers(folders[0]),
            loaded[0][1],
            defaults=defaults,
            device=device,
            precision=precision,
        )

    @overload  # a string is an Iterable of strings too: the first that fits counts
    def translate(self, texts: str, source: str, target: str, **options: Any) -> Translation: ...  # pyright: ignore[reportOverlappingOverload]
    @overload
    def translate(self, texts: Iterable[str], source: str, target: str, **options: Any) -> list[Translation]: ...

    def translate(
        self, texts: str | Iterable[str], source: str, target: str, **options: Any
    ) -> Translation | list[Translation]:
        """Translate a text, or several, of any length.

        Args:
            texts: texts; each is split into sentences, and its line ends are kept.
            source: language of the texts, such as ``en``.
            target: language to translate into.
            options: fields of :class:`regard.decode.Options`, such as ``beam=5``,
                ``num_hypotheses=3`` or ``alignment=True``; ``prefix="…"`` forces the
                translation of each sentence to begin so; ``banned=["…"]`` takes words
                that must not occur.

        Returns:
            A :class:`Translation` for a string, else a list in the order of ``texts``.

        Raises:
            ConfigError: a direction the model does not have, or an unknown option.
        """
        source, target = self._check_direction(source, target)
        single = isinstance(texts, str)
        prefix = tuple(self.tokenizers[1].encode(options.pop("prefix", "")))
        if "banned" in options:
            options["banned"] = self._banned(options["banned"])
        search = _options(self.defaults, options)
        search = dataclasses.replace(search, min_length=max(1, search.min_length))  # words never become nothing
        parts = [self._take_apart(text, source, target) for text in ([texts] if single else texts)]  # type: ignore[list-item]
        found = self._translate_cores({s.core: None for part in parts for s in part if s.core}, target, search, prefix)
        results = []
        for text, part in zip([texts] if single else texts, parts, strict=True):
            joined = put_together([(s, found[s.core].text if s.core else "") for s in part], source, target)
            sentences = tuple(found[s.core] for s in part if s.core)
            log_probs = [p for sentence in sentences for p in sentence.log_probs]
            score = sum(log_probs) / len(log_probs) if log_probs else 0.0
            results.append(Translation(str(text), joined, score, sentences))
        return results[0] if single else results

    # ---- parts

    def _check_direction(self, source: str, target: str) -> tuple[str, str]:
        source, target = source.lower(), target.lower()
        if (source, target) not in self.directions:
            known = ", ".join(f"{s}→{t}" for s, t in self.directions)
            raise ConfigError(f"this model does not translate {source}→{target}. It has {known}.")
        return source, target

    def _banned(self, words: Iterable[str | Sequence[int]]) -> tuple[tuple[int, ...], ...]:
        """Each word as pieces, as it stands, and with a capital or without."""
        sequences: dict[tuple[int, ...], None] = {}
        for word in words:
            if isinstance(word, str):
                for form in (word, word[:1].upper() + word[1:], word[:1].lower() + word[1:]):
                    sequences[tuple(self.tokenizers[1].encode(form))] = None
            else:
                sequences[tuple(word)] = None
        return tuple(sequences)

    def _take_apart(self, text: str, source: str, target: str) -> list[Segment]:
        segments = []
        for segment in take_apart(text, source):
            count = len(self.tokenizers[0].encode(segment.core))
            if count <= MAX_PIECES:
                segments.append(segment)
            else:
                segments += cut(segment, source, max(1, len(segment.core) * MAX_PIECES // count))
        return segments

    def _translate_cores(
        self, cores: Iterable[str], target: str, options: Options, prefix: tuple[int, ...]
    ) -> dict[str, Sentence]:
        """Each different sentence once."""
        texts = list(cores)
        encoded = self.tokenizers[0].encode_batch(texts)
        tag = [self.tokenizers[0].tag_id(tag_of(target))] if self.tagged else []
        requests = [Request([*tag, *ids, EOS], options, prefix) for ids in encoded]
        hypotheses = self.engine.translate(requests)
        # A model that loops gets a second chance under a rule that forbids it.
        again = [i for i, h in enumerate(hypotheses) if not options.no_repeat_ngram and loops(h[0].ids, encoded[i])]
        if again:
            stricter = dataclasses.replace(options, no_repeat_ngram=3)
            second = self.engine.translate([dataclasses.replace(requests[i], options=stricter) for i in again])
            for i, better in zip(again, second, strict=True):
                hypotheses[i] = better
        skip = len(tag)
        return {t: self._sentence(t, i, h, skip) for t, i, h in zip(texts, encoded, hypotheses, strict=True)}

    def _sentence(self, text: str, ids: list[int], hypotheses: list[Hypothesis], skip: int) -> Sentence:
        best, *others = hypotheses
        attention = None
        if best.alignment is not None:  # between real pieces only
            attention = best.alignment[:, skip : skip + len(ids)]
            attention = attention / np.maximum(attention.sum(axis=1, keepdims=True), 1e-12)
        tokenizer = self.tokenizers[1]
        return Sentence(
            source=text,
            text=tokenizer.decode(best.ids),
            score=_mean(best.log_probs),
            source_pieces=tuple(self.tokenizers[0].pieces(ids)),
            pieces=tuple(tokenizer.pieces(best.ids)),
            log_probs=tuple(best.log_probs),
            finished=best.finished,
            attention=attention,
            alternatives=tuple(Alternative(tokenizer.decode(h.ids), _mean(h.log_probs)) for h in others),
        )


def loops(ids: Sequence[int], source: Sequence[int]) -> bool:
    """Whether a translation repeats itself as no translation of ``source`` would: one run of 1 to 4
    pieces four times on end, where the source has no run three times on end."""
    return _repeats(ids, 4) and not _repeats(source, 3)


def _repeats(ids: Sequence[int], times: int) -> bool:
    for size in range(1, 5):
        for start in range(len(ids) - size * times + 1):
            run = ids[start : start + size]
            if all(ids[start + k * size : start + (k + 1) * size] == run for k in range(1, times)):
                return True
    return False


def shipped_model() -> Path:
    """Where the model lies that comes with the package.

    Raises:
        ModelError: this installation has none.
    """
    folder = Path(str(files("regard") / "assets" / "model"))
    if not (folder / "config.json").exists():
        raise ModelError("this installation has no model of its own; name a model folder (--model DIR).")
    return folder


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _options(base: Options, changes: dict[str, Any]) -> Options:
    names = {field.name for field in dataclasses.fields(Options)}
    for name in changes:
        if name not in names:
            raise ConfigError(f"unknown option '{name}'.{did_you_mean(name, names)}")
    if changes.get("sample") and "beam" not in changes:
        changes = {**changes, "beam": 1}
    if changes.get("num_hypotheses", 1) > changes.get("beam", base.beam) and not changes.get("sample"):
        changes = {**changes, "beam": changes["num_hypotheses"]}
    return dataclasses.replace(base, **changes)

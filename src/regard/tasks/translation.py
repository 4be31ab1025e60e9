"""Translate text with a trained model.

::

    from regard import Translator

    translator = Translator.from_pretrained()
    print(translator.translate("The bread is still warm.", source="en", target="de").text)
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.data.tokenizer import Tokenizer
from regard.decode.choice import EngineName, Precision, choose_engine
from regard.decode.native_engine import NativeEngine
from regard.decode.request import Hypothesis, Options, Request
from regard.model.reading import load_config
from regard.tasks.integrity import Mask, Problem, check, lost_numbers, mask, severity, unmask
from regard.tasks.polish import polish
from regard.tasks.restoring import restored
from regard.tasks.segments import Segment, cut, lay_out, take_apart
from regard.tasks.vocabulary import load_tokenizers, tag_of

if TYPE_CHECKING:
    from regard.model import Transformer

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
    problems: tuple[Problem, ...] = ()
    """What the translation did not keep of the source: placeholders, numbers."""


@dataclass(frozen=True)
class Part:
    """Where a stretch of a text went."""

    source: range
    """Characters of the source."""
    target: range
    """Characters of the translation."""
    sentence: Sentence | None = None
    """What was translated; None where symbols or white space were copied."""


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
    parts: tuple[Part, ...] = ()
    """All of the text, in order: sentences and what was copied."""

    @property
    def finished(self) -> bool:
        """Whether every sentence came to its end."""
        return all(sentence.finished for sentence in self.sentences)

    @property
    def problems(self) -> tuple[Problem, ...]:
        """What its sentences did not keep."""
        return tuple(problem for sentence in self.sentences for problem in sentence.problems)


@dataclass(frozen=True)
class Prepared:
    """Texts on their way through an engine: taken apart, encoded, and what to ask."""

    texts: tuple[str, ...]
    """The texts as they were given."""
    source: str
    """Language of the texts."""
    target: str
    """Language to translate into."""
    parts: tuple[tuple[Segment, ...], ...]
    """Of each text its sentences and what surrounds them."""
    cores: tuple[str, ...]
    """The sentences to translate, each different one once."""
    masks: tuple[Mask, ...]
    """The same with stand-ins for what must not change."""
    encoded: list[list[int]]
    """The pieces of ``masks``."""
    requests: list[Request]
    """One for each of ``cores``."""

    def second_chance(self, index: int, hypotheses: Sequence[Hypothesis]) -> Request | None:
        """What to ask instead where the translation of a sentence loops: the same under a rule that forbids it."""
        request = self.requests[index]
        if request.options.no_repeat_ngram or not loops(hypotheses[0].ids, self.encoded[index]):
            return None
        return dataclasses.replace(request, options=dataclasses.replace(request.options, no_repeat_ngram=3))


class Translator:
    """A model, its tokenisers and an engine."""

    def __init__(
        self,
        model: "Transformer | Sequence[Transformer] | NativeEngine",
        tokenizers: tuple[Tokenizer, Tokenizer],
        task: dict[str, Any],
        *,
        defaults: Options | None = None,
        device: str = "auto",
        precision: Precision = "auto",
    ):
        """
        Args:
            model: a model or several to average, which run on the PyTorch engine; or the native engine.
            tokenizers: of source and target (the same twice when joint).
            task: the ``task`` section of the model's configuration.
            defaults: options of a request that says nothing else.
            device: of the PyTorch engine: auto, cpu, cuda or cuda:N.
            precision: of the PyTorch engine: auto, bf16 or fp32.
        """
        self.tokenizers = tokenizers
        self.directions: list[tuple[str, str]] = [(d[0], d[1]) for d in task["directions"]]
        self.tagged: bool = task["tagged"]
        self.defaults = defaults or Options()
        if isinstance(model, NativeEngine):
            self.engine = model
        else:
            from regard.decode.engine import TorchEngine

            self.engine = TorchEngine(model, device=device, precision=precision, never=tokenizers[1].never)

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path | Sequence[str | Path] | None = None,
        *,
        adapters: Mapping[str, str | Path] | None = None,
        shares: Mapping[str, float] | None = None,
        engine: EngineName = "auto",
        device: str = "auto",
        precision: Precision = "auto",
        threads: int | None = None,
    ) -> "Translator":
        """Load a model folder; without a path, the model that ships with Regard; with several, their ensemble.

        Args:
            path: the folder or folders.
            adapters: folders of adapters for the one model, by the names to call them.
            shares: how much of each adapter every translation gets: they become a part of the model, if their kind
                allows. Without it, :meth:`translate` says which adapters a text gets, and by default none.
            engine: native, torch, or auto for the native one where it can do what is asked.
            device: auto, cpu, cuda or cuda:N.
            precision: auto, fp32, bf16 (PyTorch engine) or int8 (native engine).
            threads: CPU threads; the PyTorch engine's are those of the process.

        Raises:
            ModelError: the folder is missing, damaged or not a translation model, or an adapter is not for it.
            ConfigError: the engine or the precision that was asked for cannot be had.
        """
        paths = [shipped_model()] if path is None else [path] if isinstance(path, str | Path) else list(path)
        folders = [Path(p) for p in paths]
        described = [load_config(folder) for folder in folders]
        config, task = described[0]
        for folder, (_, other) in zip(folders, described, strict=True):
            if other.get("name") != "translation":
                raise ModelError(f"{folder} is not a translation model: its task is {other.get('name')!r}.")
            if other != task:
                raise ModelError(f"{folder} translates other directions than {folders[0]}; they cannot be averaged.")
        if adapters and len(folders) > 1:
            raise ConfigError("adapters belong to one model; an ensemble cannot have them.")
        defaults = Options()
        if (folders[0] / "generation.json").exists():
            defaults = _options(defaults, read_json(folders[0] / "generation.json"))
        tokenizers = load_tokenizers(folders[0])
        adapted = _with_adapters(folders[0], adapters, shares) if adapters else None
        beside = adapted is not None and bool(adapted.adapters.shares)  # what was merged is a part of the weights
        choice = choose_engine(
            config, wanted=engine, device=device, precision=precision, models=len(folders), adapters=beside
        )
        if choice.native:
            settings: dict[str, Any] = {
                "precision": "fp32" if precision == "fp32" else "int8",
                "threads": threads,
                "never": tokenizers[1].never,
            }
            if adapted is None:
                native = NativeEngine.from_folder(folders[0], **settings)
            else:
                weights = {name: weight.detach().numpy() for name, weight in adapted.named_parameters()}
                native = NativeEngine.from_weights(adapted.config, weights, where=str(folders[0]), **settings)
            return cls(native, tokenizers, task, defaults=defaults)
        import torch

        from regard.model.folder import load_model

        if threads:
            torch.set_num_threads(threads)
        models = [load_model(folder)[0] for folder in folders] if adapted is None else [adapted]
        return cls(models, tokenizers, task, defaults=defaults, device=device, precision=precision)

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
                that must not occur; ``adapters={"name": 1.0}`` says how much of which
                adapters to use.

        Returns:
            A :class:`Translation` for a string, else a list in the order of ``texts``.

        Raises:
            ConfigError: a direction the model does not have, or an unknown option.
        """
        single = isinstance(texts, str)
        prepared = self.prepare([texts] if single else texts, source, target, **options)
        sentences = self._decode(prepared)
        lost = [i for i, s in enumerate(sentences) if lost_numbers(s.source, s.text)]
        for i, careful in zip(lost, self._decode(self.careful(prepared, lost)), strict=True):
            if severity(careful.problems) < severity(sentences[i].problems):
                sentences[i] = careful
        results = self.finish(prepared, sentences)
        return results[0] if single else results

    def prepare(self, texts: Iterable[str], source: str, target: str, **options: Any) -> "Prepared":
        """The first half of :meth:`translate`: requests for an engine that somebody else drives.

        Args and Raises are those of :meth:`translate`.
        """
        source, target = self._check_direction(source, target)
        prefix = tuple(self.tokenizers[1].encode(options.pop("prefix", "")))
        adapters = options.pop("adapters", None)
        if "banned" in options:
            options["banned"] = self._banned(options["banned"])
        search = _options(self.defaults, options)
        search = dataclasses.replace(search, min_length=max(1, search.min_length))  # words never become nothing
        texts = tuple(str(text) for text in texts)
        parts = tuple(tuple(self._take_apart(text, source, target)) for text in texts)
        # Each different sentence once.
        cores = tuple({s.core: None for part in parts for s in part if s.core})
        masks = tuple(map(mask, cores))
        encoded = self.tokenizers[0].encode_batch(masked.text for masked in masks)
        tag = [self.tokenizers[0].tag_id(tag_of(target))] if self.tagged else []
        aligned = dataclasses.replace(search, alignment=True)  # says where a stand-in belongs that is lost
        requests = [
            Request([*tag, *ids, self.tokenizers[0].eos_id], aligned if m.originals else search, prefix, adapters)
            for ids, m in zip(encoded, masks, strict=True)
        ]
        return Prepared(texts, source, target, parts, cores, masks, encoded, requests)

    def careful(self, prepared: "Prepared", indices: Sequence[int]) -> "Prepared":
        """Some sentences of ``prepared`` with stand-ins for every number: for those that lost one."""
        cores = tuple(prepared.cores[i] for i in indices)
        masks = tuple(mask(core, numbers=True) for core in cores)
        encoded = self.tokenizers[0].encode_batch(masked.text for masked in masks)
        requests = []
        for i, ids in zip(indices, encoded, strict=True):
            asked = prepared.requests[i]
            start = asked.source[:1] if self.tagged else []
            options = dataclasses.replace(asked.options, alignment=True)
            requests.append(dataclasses.replace(asked, source=[*start, *ids, asked.source[-1]], options=options))
        return dataclasses.replace(
            prepared, texts=(), parts=(), cores=cores, masks=masks, encoded=encoded, requests=requests
        )

    def sentence(self, prepared: "Prepared", index: int, hypotheses: Sequence[Hypothesis]) -> Sentence:
        """What an engine found for one request of ``prepared``, best first, as a sentence."""
        ids, skip = prepared.encoded[index], 1 if self.tagged else 0
        best, *others = hypotheses
        attention = None
        if best.alignment is not None:  # between real pieces only
            attention = best.alignment[:, skip : skip + len(ids)]
            attention = attention / np.maximum(attention.sum(axis=1, keepdims=True), 1e-12)
        tokenizer = self.tokenizers[1]
        raw = Sentence(
            source=prepared.cores[index],
            text=tokenizer.decode(best.ids),
            score=_mean(best.log_probs),
            source_pieces=tuple(self.tokenizers[0].pieces(ids)),
            pieces=tuple(tokenizer.pieces(best.ids)),
            log_probs=tuple(best.log_probs),
            finished=best.finished,
            attention=attention,
            alternatives=tuple(Alternative(tokenizer.decode(h.ids), _mean(h.log_probs)) for h in others),
        )
        sentence = restored(raw, prepared.masks[index])
        text = polish(sentence.source, sentence.text, prepared.source, prepared.target)
        problems = (*sentence.problems, *check(sentence.source, text))
        return dataclasses.replace(sentence, text=text, problems=problems)

    def partial(self, prepared: "Prepared", index: int, hypothesis: Hypothesis) -> str:
        """What a person may be shown of a translation that is not finished."""
        return unmask(self.tokenizers[1].decode(hypothesis.ids), prepared.masks[index])

    def finish(self, prepared: "Prepared", sentences: Sequence[Sentence]) -> list[Translation]:
        """The second half of :meth:`translate`: whole texts of a translation for each of ``prepared.cores``."""
        found = dict(zip(prepared.cores, sentences, strict=True))
        results = []
        for text, part in zip(prepared.texts, prepared.parts, strict=True):
            translated = [(s, found[s.core].text if s.core else "") for s in part]
            parts = []
            start = place = 0
            for stretch in lay_out(translated, prepared.source, prepared.target):
                source, target = range(start, start + len(stretch.source)), range(place, place + len(stretch.target))
                start, place, core = source.stop, target.stop, stretch.segment and stretch.segment.core
                parts.append((Part(source, target, found[core] if core else None), stretch.target))
            joined = "".join(written for _, written in parts)
            own = tuple(found[s.core] for s in part if s.core)
            log_probs = [p for sentence in own for p in sentence.log_probs]
            results.append(Translation(text, joined, _mean(log_probs), own, tuple(p for p, _ in parts)))
        return results

    # ---- parts

    def _decode(self, prepared: "Prepared") -> list[Sentence]:
        """A sentence for each request; those that loop are decoded again under a rule that forbids it."""
        hypotheses = self.engine.translate(prepared.requests)
        again = {i: stricter for i, h in enumerate(hypotheses) if (stricter := prepared.second_chance(i, h))}
        for i, better in zip(again, self.engine.translate(list(again.values())), strict=True):
            hypotheses[i] = better
        return [self.sentence(prepared, i, h) for i, h in enumerate(hypotheses)]

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


def loops(ids: Sequence[Any], source: Sequence[Any]) -> bool:
    """Whether a translation repeats itself as no translation of ``source`` would: one run of 1 to 4
    pieces four times on end, where the source has no run three times on end."""
    return _repeats(ids, 4) and not _repeats(source, 3)


def _repeats(ids: Sequence[Any], times: int) -> bool:
    for size in range(1, 5):
        for start in range(len(ids) - size * times + 1):
            run = ids[start : start + size]
            if all(ids[start + k * size : start + (k + 1) * size] == run for k in range(1, times)):
                return True
    return False


def _with_adapters(
    folder: Path, adapters: Mapping[str, str | Path], shares: Mapping[str, float] | None
) -> "Transformer":
    """The model of ``folder`` with adapters, merged where that is asked for and can be."""
    from regard.model.folder import load_model, model_hash
    from regard.tune.adapters import can_merge, merge, weigh
    from regard.tune.folder import load_adapter

    model, base = load_model(folder)[0], model_hash(folder)
    for name, adapter in adapters.items():
        load_adapter(model, adapter, name, base=base)
    weigh(model, shares or {})
    if shares is not None and can_merge(model):
        merge(model)
    return model


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

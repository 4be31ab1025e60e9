"""Translate text with a trained model.

::

    from regard import Translator

    translator = Translator.from_pretrained()
    print(translator.translate("The bread is still warm.", source="en", target="de").text)
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError, did_you_mean
from regard.base.extras import require
from regard.data.tokenizer import Tokenizer
from regard.decode.choice import EngineName, Precision, choose_engine
from regard.decode.native_engine import NativeEngine
from regard.decode.request import Hypothesis, Options, Request
from regard.model.reading import load_config
from regard.tasks.integrity import check, lost_numbers, mask, severity, unmask
from regard.tasks.pending import Prepared, own_draws
from regard.tasks.pivot import joined, language_between, second_step
from regard.tasks.polish import polish
from regard.tasks.restoring import restored
from regard.tasks.segments import Segment, cut, lay_out, take_apart
from regard.tasks.translated import Alternative, Part, Sentence, Translation
from regard.tasks.vocabulary import Tagged, load_tokenizers, tag_of

if TYPE_CHECKING:
    from regard.model import Transformer

#: Longer sentences are cut at clause ends: the shipped model was trained on up to 160 pieces.
MAX_PIECES = 120


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
        self.tagging = Tagged(task["tagged"])
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
        shortlist: bool = True,
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
            shortlist: whether the native engine uses the model's shortlist, where its folder has one. It does not
                where there are adapters, which may have learnt other words.

        Raises:
            ModelError: the folder is missing, damaged or not a translation model, or an adapter is not for it.
            ConfigError: the engine or the precision that was asked for cannot be had.
            MissingExtra: the PyTorch engine is needed, and PyTorch is not installed.
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
                native = NativeEngine.from_folder(folders[0], use_shortlist=shortlist, **settings)
            else:
                weights = {name: weight.detach().numpy() for name, weight in adapted.named_parameters()}
                native = NativeEngine.from_weights(adapted.config, weights, where=str(folders[0]), **settings)
            return cls(native, tokenizers, task, defaults=defaults)
        require("torch", f"the PyTorch engine ({choice.why})")
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

        A direction that the model lacks is translated in two steps, through a language that it has both ways.

        Args:
            texts: texts; each is split into sentences, and its line ends are kept.
            source: language of the texts, such as ``en``.
            target: language to translate into.
            options: fields of :class:`regard.decode.Options`, such as ``beam=5``,
                ``num_hypotheses=3`` or ``alignment=True``; ``prefix="…"`` forces the
                translation of each sentence to begin so; ``banned=["…"]`` takes words
                that must not occur, and ``required=["…"]`` words that must;
                ``adapters={"name": 1.0}`` says how much of which adapters to use.

        Returns:
            A :class:`Translation` for a string, else a list in the order of ``texts``.

        Raises:
            ConfigError: a direction the model does not have, or an unknown option.
        """
        single = isinstance(texts, str)
        prepared = self.prepare([texts] if single else texts, source, target, **options)
        sentences = self._decode(prepared)
        if prepared.via:
            onward = self._decode(second_step(self, prepared, dict(enumerate(sentences))))
            sentences = [joined(*steps) for steps in zip(sentences, onward, strict=True)]
        results = self.finish(prepared, sentences)
        return results[0] if single else results

    def prepare(self, texts: Iterable[str], source: str, target: str, **options: Any) -> Prepared:
        """The first half of :meth:`translate`: requests for an engine that somebody else drives.

        Args and Raises are those of :meth:`translate`.
        """
        source, target = source.lower(), target.lower()
        if (source, target) not in self.directions and (via := language_between(self.directions, source, target)):
            # What is wished of the translation is wished of the last step.
            passed = {name: options[name] for name in ("alignment", "adapters") if name in options}
            first = self.prepare(texts, source, via, **passed)
            return dataclasses.replace(first, target=target, via=via, onward=options)
        texts = tuple(str(text) for text in texts)
        parts = tuple(tuple(self._take_apart(text, source, target)) for text in texts)
        # Each different sentence once.
        cores = tuple({s.core: None for part in parts for s in part if s.core})
        return dataclasses.replace(self.ask(cores, source, target, **options), texts=texts, parts=parts)

    def ask(self, cores: Sequence[str], source: str, target: str, **options: Any) -> Prepared:
        """The same for sentences that need not be taken apart, and a direction that the model has itself.

        Args and Raises are those of :meth:`translate`.
        """
        source, target = self.check_direction(source, target)
        tag, begin = self.tags(source, target)
        prefix = (*begin, *self.tokenizers[1].encode(options.pop("prefix", "")))
        adapters = options.pop("adapters", None)
        if "banned" in options:
            options["banned"] = self._banned(options["banned"])
        if "required" in options:
            options["required"] = tuple(self._pieces(word) for word in options["required"])
        search = _options(self.defaults, options)
        least = len(begin) + max(1, search.min_length)  # words never become nothing
        most = len(begin) + search.max_length if search.max_length else 0
        search = dataclasses.replace(search, min_length=least, max_length=most)
        masks = tuple(map(mask, cores))
        encoded = self.tokenizers[0].encode_batch(masked.text for masked in masks)
        aligned = dataclasses.replace(search, alignment=True)  # says where a stand-in belongs that is lost
        requests = [
            Request(
                [*tag, *ids, self.tokenizers[0].eos_id],
                own_draws(aligned if m.originals else search, core),
                prefix,
                adapters,
            )
            for core, ids, m in zip(cores, encoded, masks, strict=True)
        ]
        return Prepared((), source, target, (), tuple(cores), masks, encoded, requests, tuple(begin))

    def careful(self, prepared: Prepared, indices: Sequence[int]) -> Prepared:
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

    def sentence(self, prepared: Prepared, index: int, hypotheses: Sequence[Hypothesis]) -> Sentence:
        """What an engine found for one request of ``prepared``, best first, as a sentence."""
        ids, skip = prepared.encoded[index], 1 if self.tagged else 0
        best, *others = map(prepared.without_begin, hypotheses)
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
        text = polish(sentence.source, sentence.text, prepared.source, prepared.via or prepared.target)
        problems = (*sentence.problems, *check(sentence.source, text))
        return dataclasses.replace(sentence, text=text, problems=problems)

    def partial(self, prepared: Prepared, index: int, hypothesis: Hypothesis) -> str:
        """What a person may be shown of a translation that is not finished."""
        return unmask(self.tokenizers[1].decode(hypothesis.ids), prepared.masks[index])

    def finish(self, prepared: Prepared, sentences: Sequence[Sentence]) -> list[Translation]:
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

    def check_direction(self, source: str, target: str) -> tuple[str, str]:
        """The codes of a direction that the model has itself.

        Raises:
            ConfigError: it has not.
        """
        source, target = source.lower(), target.lower()
        if (source, target) not in self.directions:
            known = ", ".join(f"{s}→{t}" for s, t in self.directions)
            raise ConfigError(f"this model does not translate {source}→{target}. It has {known}.")
        return source, target

    # ---- parts

    @property
    def tagged(self) -> bool:
        """Whether a tag stands in front of the source."""
        return self.tagging is not Tagged.NOT

    def tags(self, source: str, target: str) -> tuple[list[int], list[int]]:
        """The pieces that stand in front of a source, and those that its translation must begin with."""
        if self.tagging is Tagged.NOT:
            return [], []
        if self.tagging is Tagged.SOURCE:
            return [self.tokenizers[0].tag_id(tag_of(target))], []
        return [self.tokenizers[0].tag_id(tag_of(source))], [self.tokenizers[1].tag_id(tag_of(target))]

    def _decode(self, prepared: Prepared) -> list[Sentence]:
        """A sentence for each request; what lost a number is decoded again with more care."""
        sentences = self._search(prepared)
        lost = [i for i, s in enumerate(sentences) if lost_numbers(s.source, s.text)]
        for i, careful in zip(lost, self._search(self.careful(prepared, lost)), strict=True):
            if severity(careful.problems) < severity(sentences[i].problems):
                sentences[i] = careful
        return sentences

    def _search(self, prepared: Prepared) -> list[Sentence]:
        """A sentence for each request; those that loop are decoded again under a rule that forbids it."""
        hypotheses = self.engine.translate(prepared.requests)
        again = {i: stricter for i, h in enumerate(hypotheses) if (stricter := prepared.second_chance(i, h))}
        for i, better in zip(again, self.engine.translate(list(again.values())), strict=True):
            hypotheses[i] = better
        return [self.sentence(prepared, i, h) for i, h in enumerate(hypotheses)]

    def _pieces(self, word: str | Sequence[int]) -> tuple[int, ...]:
        return tuple(self.tokenizers[1].encode(word) if isinstance(word, str) else word)

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

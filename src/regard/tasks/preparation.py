"""Preparing a run: corpora checked and cleaned, tokenisers trained, everything tokenised into ``output/data``.

Made once: a run that goes on finds it there. ``settings.json`` and ``done`` come last, so that
whatever goes wrong before leaves nothing that a corrected run would stumble over.
"""

import json
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from regard.base.config import read_json
from regard.base.errors import ConfigError, DataError
from regard.base.files import write_atomic
from regard.data.clean import CleanReport, clean
from regard.data.corpus import CorpusConfig, Pair, check_corpus, read_lines, read_pairs
from regard.data.dataset import PairStore, Part
from regard.data.join import JoinConfig, join
from regard.data.tokenizer import Tokenizer
from regard.tasks.preset import Preset
from regard.tasks.vocabulary import language_tags, load_tokenizers, save_tokenizers, tag_of
from regard.train.checkpoint import CheckpointFolder

Say = Callable[[str], None]

# Joined examples are made of pairs that stand within so many of each other: what is in memory at a time.
_JOIN_BLOCK = 500_000


# ---- what a run trains on


@dataclass(frozen=True)
class Prepared:
    """A run's tokenisers and tokenised corpora."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    """Of source and target; the same twice when joint."""
    parts: list[Part]
    """What an epoch draws from: each direction of each corpus."""
    corpora: list[CorpusConfig]
    """Where each part comes from."""

    @classmethod
    def open(cls, preset: Preset) -> "Prepared":
        """Read what :func:`prepare` made.

        Raises:
            DataError: it is not there, or damaged.
        """
        folder = preset.output / "data"
        if not (folder / "done").exists():
            raise DataError(f"{folder} is not there; all processes of a run need the same file system.")
        tokenizers = load_tokenizers(folder)
        tagged = bool(language_tags(tokenizers[0]))
        parts, corpora = [], []
        for i, corpus in enumerate(preset.data.train):
            store = PairStore(folder / f"corpus-{i}")
            for reverse in (False, True) if corpus.both_directions else (False,):
                target = corpus.source if reverse else corpus.target
                prefix = (tokenizers[0].tag_id(tag_of(target)),) if tagged else ()
                prefix += _tag_pieces(tokenizers[0], corpus.tag)
                parts.append(Part(store, reverse, prefix, corpus.weight))
                corpora.append(corpus)
        return cls(tokenizers, _mixed(parts, preset.data.temperature), corpora)

    def locate(self, part: int, index: int) -> str:
        """Say in which file, and where there, an example of a part stands."""
        corpus, number = self.corpora[part], self.parts[part].store.number(index)
        if number is None:
            return f"{corpus.name}, example {index + 1} after cleaning"
        if number == 0:
            return f"{corpus.name}, an example joined of several pairs"
        return f"{corpus.name}, {_place(corpus, number)}"


def _mixed(parts: list[Part], temperature: float) -> list[Part]:
    """The parts with weights that make their shares of an epoch ∝ size^(1/T); the epoch keeps its size."""
    if temperature == 1:
        return parts
    sizes = [len(part.store) * part.weight for part in parts]
    wanted = [size ** (1 / temperature) for size in sizes]
    scale = sum(sizes) / sum(wanted)
    return [
        replace(part, weight=part.weight * scale * share / size if size else part.weight)
        for part, share, size in zip(parts, wanted, sizes, strict=True)
    ]


def _tag_pieces(tokenizer: Tokenizer, tag: str) -> tuple[int, ...]:
    """The pieces of a corpus's tag.

    Raises:
        ConfigError: this vocabulary cannot spell it.
    """
    pieces = tuple(tokenizer.encode(tag))
    if tokenizer.unk_id in pieces:
        raise ConfigError(f"this vocabulary has no pieces to spell the tag '{tag}' with; choose another.")
    return pieces


def _place(corpus: CorpusConfig, number: int) -> str:
    """Where pair ``number`` of a corpus (from 1) stands: its line, which blank lines and a header move."""
    form = corpus.resolved_format
    if form == "plain":
        return f"line {number}"
    if form == "tmx":
        return f"pair {number}"
    has_header = form == "tsv" and any(isinstance(c, str) for c in (corpus.source_column, corpus.target_column))
    count = -1 if has_header else 0
    try:
        for line_number, line in enumerate(read_lines(corpus.path), start=1):
            count += bool(line if form == "tsv" else line.strip())
            if count == number:
                return f"line {line_number}"
    except DataError:
        pass
    return f"pair {number}"  # the file is another by now


def prepare(preset: Preset, say: Say) -> None:
    """Make ``output/data``, or check that it was made for this preset.

    Raises:
        DataError: a corpus cannot be read; the message names file and line.
        ConfigError: the folder holds a run with other settings.
    """
    prepare_once(preset, lambda folder: _prepare(preset, folder, say))


class Run(Protocol):
    """What a preset of any kind knows of its run."""

    @property
    def output(self) -> Path:
        """Folder of the run."""
        ...

    def fingerprint(self) -> dict[str, Any]:
        """What must not change between two stretches of it, in JSON values."""
        ...

    def changes_since(self, recorded: dict[str, Any]) -> list[str]:
        """How it differs from a recorded :meth:`fingerprint`."""
        ...


def prepare_once(run: Run, make: Callable[[Path], None]) -> None:
    """Have ``make`` fill ``output/data``, unless that was done for the same settings.

    Raises:
        ConfigError: the folder holds a run with other settings.
    """
    folder = run.output / "data"
    done = (folder / "done").exists() and (folder / "settings.json").exists()
    recorded = read_json(folder / "settings.json") if done else None
    if recorded is None:  # never prepared, or removed to save space: then the checkpoints know
        recorded = (CheckpointFolder(run.output / "training").state() or {}).get("settings")
    changes = run.changes_since(recorded) if recorded else []
    if changes:
        more = f"; and {len(changes) - 3} more" if len(changes) > 3 else ""
        raise ConfigError(
            f"{run.output} holds a run with other settings: {'; '.join(changes[:3])}{more}. "
            "Set another output, or remove this folder."
        )
    if not done:
        make(folder)
        write_atomic(folder / "settings.json", json.dumps(run.fingerprint(), indent=1, ensure_ascii=False))
        write_atomic(folder / "done", "")


def _prepare(preset: Preset, folder: Path, say: Say) -> None:
    data = preset.data
    for corpus in [*data.train, *data.dev, *data.test]:  # every error before anything is computed
        say(f"{corpus.name}: {check_corpus(corpus):,} pairs")
    if preset.vocabulary:
        tokenizers = _inherit_tokenizers(preset, preset.vocabulary)
    else:
        say("training the tokenizer")
        tokenizers = _train_tokenizers(preset)
    for leftover in ("tokenizer", "source", "target"):  # of an attempt with the other kind of vocabulary
        for suffix in (".model", ".json"):
            (folder / f"{leftover}{suffix}").unlink(missing_ok=True)
    save_tokenizers(folder, tokenizers)
    total = CleanReport()
    for i, corpus in enumerate(data.train):
        report = CleanReport()
        store, too_long = PairStore.build(
            folder / f"corpus-{i}",
            _examples(preset, corpus, report),
            *tokenizers,
            max_tokens=data.max_tokens,
            keep_text=data.keeps_text,
        )
        total.kept += report.kept
        total.dropped.update(report.dropped)
        long = f", {too_long:,} longer than {data.max_tokens} pieces" if too_long else ""
        say(f"{corpus.name}: {len(store):,} examples{long}")
    say(f"cleaning:\n{total}")
    write_atomic(folder / "cleaning.txt", f"{total}\n")


def _examples(preset: Preset, corpus: CorpusConfig, report: CleanReport) -> Iterator[tuple[int, Pair]]:
    """The cleaned pairs of a corpus with their numbers, and joined ones (number 0) after each block of them."""
    held_out = (pair for other in [*preset.data.dev, *preset.data.test] for pair in read_pairs(other))
    numbered = _Numbered(read_pairs(corpus))
    config, block, number = preset.data.join, [], 0
    for pair in clean(numbered, preset.data.clean, held_out, report):
        yield numbered.count, pair
        if config.share:
            block.append(pair)
            if len(block) == _JOIN_BLOCK:
                yield from _joined(block, config, number, corpus)
                block, number = [], number + 1
    # the rest of a long corpus may be too little to choose from
    if block and (number == 0 or len(block) > _JOIN_BLOCK // 100):
        yield from _joined(block, config, number, corpus)


def _joined(block: list[Pair], config: JoinConfig, number: int, corpus: CorpusConfig) -> Iterator[tuple[int, Pair]]:
    for pair in join(block, replace(config, seed=config.seed + number), corpus.source, corpus.target):
        yield 0, pair


class _Numbered:
    """Pairs, and how many were drawn: cleaning passes on what it keeps at once, so that is the number of the last."""

    def __init__(self, pairs: Iterable[Pair]):
        self.pairs, self.count = pairs, 0

    def __iter__(self) -> Iterator[Pair]:
        for pair in self.pairs:
            self.count += 1
            yield pair


def _inherit_tokenizers(preset: Preset, folder: Path) -> tuple[Tokenizer, Tokenizer]:
    """The tokenisers of the model to start from.

    Raises:
        ConfigError: that model cannot be told apart the directions of this preset.
    """
    tokenizers = load_tokenizers(folder)
    tags, directions = language_tags(tokenizers[0]), preset.directions
    missing = sorted({target for _, target in directions if tag_of(target) not in tags}) if tags else []
    if missing:
        raise ConfigError(f"{folder} knows no target language {', '.join(missing)}; it has {' '.join(tags)}.")
    if not tags and len(directions) > 1:
        raise ConfigError(f"{folder} translates in one direction; this preset has {len(directions)}.")
    return tokenizers


def _train_tokenizers(preset: Preset) -> tuple[Tokenizer, Tokenizer]:
    """Train the tokenisers on the training text, each corpus with its weight (rounded up to whole copies)."""
    config = preset.tokenizer
    tags = sorted({tag_of(target) for _, target in preset.directions}) if len(preset.directions) > 1 else []

    def texts(*sides: int) -> Iterator[str]:
        for corpus in preset.data.train:
            for _ in range(math.ceil(corpus.weight)):
                for pair in read_pairs(corpus):
                    yield from (pair[side] for side in sides)

    if config.joint:
        tokenizer = Tokenizer.train(texts(0, 1), config, tags)
        return tokenizer, tokenizer
    return Tokenizer.train(texts(0), config, tags), Tokenizer.train(texts(1), config)

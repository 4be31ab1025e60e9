"""Sentence pairs made by a model out of text in one language: an ordinary corpus to train on.

- *Back-translation* (Sennrich et al. 2016a): the text is the target side, the model writes the source side. Drawn
  sources teach more than the most probable ones (Edunov et al. 2018), and so do sources that training marks as made
  (``tag`` of a corpus; Caswell et al. 2019).
- *Forward translation*: the text is the source side. With a teacher's translations of its own training text this is
  sequence-level distillation (Kim and Rush 2016, section 3.2).

A run may be stopped at any moment, by a kill as well: it goes on where it was, and its corpus is the one that a run
without a break would have made, byte for byte.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.base.config import read_json
from regard.base.errors import ConfigError, DataError
from regard.base.files import explain_write_error, write_atomic
from regard.data.clean import CleanConfig, CleanReport, clean, length_in_words
from regard.data.corpus import CorpusConfig, Pair, read_pairs
from regard.tasks.pending import loops

if TYPE_CHECKING:
    from regard.tasks.preset import Preset
    from regard.tasks.translated import Translation
    from regard.tasks.translation import Translator

#: Lines translated together; what a kill costs.
CHUNK = 256


@dataclass(frozen=True)
class SynthesisConfig:
    """Which pairs to make."""

    source: str
    """Language of the first side of the pairs."""
    target: str
    """Language of the second side."""
    forward: bool = False
    """The text is the first side, and the model writes the second; otherwise the other way about."""
    max_words: int = 100
    """Longest side; a Chinese character counts as a word."""
    max_ratio: float = 3.0
    """Greatest ratio of the longer side to the shorter one, in letters; 0 for any."""
    search: dict[str, Any] = field(default_factory=dict)
    """How to search: fields of :class:`regard.decode.Options`."""

    def __post_init__(self) -> None:
        if self.max_words < 1:
            raise ConfigError(f"max_words is {self.max_words}; it must be at least 1.")
        self.checks()  # which knows what a ratio may be

    def checks(self) -> CleanConfig:
        """What pairs must pass. Duplicates are left to the training, since finding them takes a memory of all."""
        return CleanConfig(
            max_length=self.max_words, max_ratio=self.max_ratio, drop_duplicates=False, drop_overlap=False
        )

    @property
    def given(self) -> str:
        """Language of the text."""
        return self.source if self.forward else self.target

    @property
    def written(self) -> str:
        """Language that the model writes."""
        return self.target if self.forward else self.source


def synthesise(
    translator: "Translator",
    texts: Iterable[str],
    output: Path,
    config: SynthesisConfig,
    *,
    name: str = "the text",
    about: dict[str, Any] | None = None,
    progress: Callable[[int], None] = lambda lines: None,
) -> CleanReport:
    """Write pairs as TSV, in the order of the text: source, target, and mean log-probability of a piece.

    Until it is whole, the corpus is called ``OUTPUT.partial``, and ``OUTPUT.partial.json`` says how far it is.

    Args:
        translator: has the direction from the text's language to the other.
        texts: a sentence or more each; streamed.
        output: the corpus.
        config: which pairs.
        name: what messages call the text.
        about: what else must be the same when a run goes on, such as the model.
        progress: called with the number of lines done.

    Returns:
        How many pairs were kept, and why others were not.

    Raises:
        ConfigError: the model lacks the direction, or a run with other settings has begun this corpus.
        DataError: the text is empty or not what it was when the run began, or nothing of it was of use.
        RegardError: the corpus cannot be written; what was written stays.
    """
    translator.translate([], config.given, config.written, **config.search)  # refuses what it cannot do
    lines = iter(texts)
    with _Journal(output, {**asdict(config), **(about or {})}, name) as journal:
        journal.skip(lines)
        while chunk := list(islice(lines, CHUNK)):
            pairs = list(_pairs(translator, chunk, config, journal.report))
            journal.write(chunk, pairs)
            progress(journal.lines)
        return journal.finish()


def _pairs(
    translator: "Translator", lines: list[str], config: SynthesisConfig, report: CleanReport
) -> Iterator[tuple[Pair, float]]:
    """The pairs of some lines that are fit for training, with their scores."""
    texts = []
    for line in lines:
        if not line.strip():
            report.dropped["empty"] += 1
        elif length_in_words(line) > config.max_words:  # before it costs a translation
            report.dropped["too long"] += 1
        else:
            texts.append(" ".join(line.split()))
    checks = config.checks()
    for made in translator.translate(texts, config.given, config.written, **config.search):
        if reason := why_not(made):
            report.dropped[reason] += 1
            continue
        written = " ".join(made.text.split())
        pair = Pair(made.source, written) if config.forward else Pair(written, made.source)
        for kept in clean([pair], checks, report=report):
            yield kept, made.score


def translate_corpora(
    preset: "Preset",
    translator: "Translator",
    search: dict[str, Any],
    about: dict[str, Any],
    say: Callable[[str], None],
) -> list[CorpusConfig]:
    """A translator's own versions of a run's training corpora, in ``translations/`` of its folder.

    Those that are there already stay.

    Args:
        preset: the run.
        translator: has all of its directions.
        search: how to search.
        about: see :func:`synthesise`.
        say: takes what a person should read.

    Returns:
        The corpora to train on in place of the run's, one for each direction.

    Raises:
        ConfigError: those that are there were made by another model or search; or as :func:`synthesise`.
        DataError: as :func:`synthesise`.
    """
    folder, made_by = preset.output / "translations", json.loads(json.dumps({"search": search, **about}))
    record = folder / "made_by.json"
    if record.exists() and read_json(record) != made_by:
        raise ConfigError(
            f"{folder} holds translations that another teacher made, or another search. "
            "Remove it, or set another output."
        )
    write_atomic(record, json.dumps(made_by, indent=1))
    found = []
    for number, corpus in enumerate(preset.data.train):
        directions = [(corpus.source, corpus.target), (corpus.target, corpus.source)]
        for side, (source, target) in enumerate(directions[: 1 + corpus.both_directions]):
            path = folder / f"{number}.{source}-{target}.tsv"
            if not path.exists():
                say(f"translating {corpus.name}, {source} to {target}")
                limits = preset.data.clean
                config = SynthesisConfig(source, target, True, limits.max_length, limits.max_ratio, search)
                texts = (pair[side] for pair in read_pairs(corpus))
                say(str(synthesise(translator, texts, path, config, name=corpus.name, about=about)))
            found.append(CorpusConfig(source, target, path=str(path), tag=corpus.tag, weight=corpus.weight))
    return found


def why_not(translation: "Translation") -> str:
    """Why a translation should not be learned from; empty where it may be."""
    if not translation.sentences:
        return "no words"
    if not translation.finished:
        return "cut off"
    return "loop" if any(loops(s.pieces, s.source_pieces) for s in translation.sentences) else ""


class _Journal:
    """A corpus in the making, and how far it is: both are always of the same moment."""

    def __init__(self, output: Path, settings: dict[str, Any], name: str):
        self.output, self.name = output, name
        self.partial = output.with_name(f"{output.name}.partial")
        self.state_path = output.with_name(f"{output.name}.partial.json")
        self.settings = json.loads(json.dumps(settings))
        self.report, self.lines, self._size = CleanReport(), 0, 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._known = ""

    def __enter__(self) -> "_Journal":
        if self.state_path.exists():
            self._load(read_json(self.state_path))
        try:
            self.partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(self.partial, "ab")
            self._file.truncate(self._size)  # what a kill cut off in the middle
        except OSError as error:
            raise explain_write_error(self.partial, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def _load(self, state: dict[str, Any]) -> None:
        differences = [
            f"{key} was {state['settings'].get(key)!r} and is {self.settings.get(key)!r}"
            for key in sorted({*state["settings"], *self.settings})
            if state["settings"].get(key) != self.settings.get(key)
        ]
        if differences:
            raise ConfigError(
                f"{self.partial} was begun with other settings: {'; '.join(differences)}. "
                f"Remove it and {self.state_path.name}, or choose another output."
            )
        if not self.partial.exists() or self.partial.stat().st_size < state["size"]:
            raise DataError(f"{self.partial} is shorter than it was. Remove {self.state_path} to begin again.")
        self.report = CleanReport(state["kept"])
        self.report.dropped.update(state["dropped"])
        self.lines, self._size, self._known = state["lines"], state["size"], state["digest"]

    def skip(self, lines: Iterator[str]) -> None:
        """Pass over the lines that are done, and see that they are the same ones."""
        for line in islice(lines, self.lines):
            self._digest.update(_counted(line))
        if self.lines and self._digest.hexdigest() != self._known:
            raise DataError(
                f"{self.name} is not what it was when {self.partial} was begun: its first {self.lines:,} lines differ. "
                f"Remove {self.partial.name} and {self.state_path.name} to begin again."
            )

    def write(self, lines: list[str], pairs: Iterable[tuple[Pair, float]]) -> None:
        """Add the pairs that came of some lines."""
        rows = "".join(f"{pair.source}\t{pair.target}\t{score:.4f}\n" for pair, score in pairs).encode()
        try:
            self._file.write(rows)
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise explain_write_error(self.partial, error) from error
        for line in lines:
            self._digest.update(_counted(line))
        self.lines, self._size = self.lines + len(lines), self._size + len(rows)
        state = {
            "settings": self.settings,
            "lines": self.lines,
            "size": self._size,
            "digest": self._digest.hexdigest(),
            "kept": self.report.kept,
            "dropped": self.report.dropped,
        }
        write_atomic(self.state_path, json.dumps(state, indent=1))

    def finish(self) -> CleanReport:
        """Give the corpus its name."""
        if not self.report.kept:
            self.partial.unlink()
            self.state_path.unlink(missing_ok=True)
            what = "is empty" if not self.lines else f"gave no pair that is fit for training:\n{self.report}"
            raise DataError(f"{self.name} {what}")
        os.replace(self.partial, self.output)
        self.state_path.unlink(missing_ok=True)
        return self.report


def _counted(line: str) -> bytes:
    """The line with its length, so that no two texts look alike."""
    data = line.encode("utf-8", "surrogatepass")
    return len(data).to_bytes(8, "little") + data

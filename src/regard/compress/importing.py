"""Models of Hugging Face as model folders of Regard: ``opus-mt`` and others of Marian's kind, M2M-100, NLLB, BART."""

import json
import pickle
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from regard.base.config import read_json
from regard.base.errors import ConfigError, ModelError, RegardError, did_you_mean
from regard.base.extras import missing
from regard.base.files import write_atomic
from regard.compress import bart_files, m2m100_files, marian_files
from regard.compress.families import BART, M2M100, Family, family_of
from regard.compress.hugging_face import read_config, read_weights
from regard.compress.output import fresh_folder
from regard.data.tokenizer import Tokenizer
from regard.model import ModelConfig, Transformer
from regard.model.folder import check_weights, save_model
from regard.tasks.vocabulary import Tagged, save_tokenizers

#: What is fetched of a repository.
_FILES = (
    "*.json",
    "source.spm",
    "target.spm",
    "sentencepiece.bpe.model",
    "merges.txt",
    "model.safetensors",
    "README.md",
)
_ORIGINAL_CARD = "README.original.md"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_OPUS_NAME = re.compile(r"opus-mt(?:-tc-base|-tc-big|-tiny)?-([A-Za-z_]+)-([A-Za-z_]+)$")


@dataclass(frozen=True)
class Imported:
    """What an import came to."""

    directions: list[tuple[str, str]]
    """What the model translates."""
    parameters: int
    """Number of weights."""


def import_model(
    path: str | Path, output: str | Path, *, source: Sequence[str] = (), target: Sequence[str] = ()
) -> Imported:
    """Read a model of Hugging Face and write it as a model folder.

    Args:
        path: a folder with ``config.json``, ``model.safetensors`` or ``pytorch_model.bin``, and
            the files of the tokeniser: ``source.spm``, ``target.spm`` and ``vocab.json`` (Marian),
            ``sentencepiece.bpe.model`` and ``vocab.json`` (M2M-100), or the first alone (NLLB),
            or ``vocab.json`` and ``merges.txt`` (BART); or a name on the hub, such as ``Helsinki-NLP/opus-mt-en-de``.
        output: the folder to write; it must be new, or empty.
        source: source languages, where the files do not say which they are. All but Marian
            want it, and ``target``.
        target: target languages; of a multilingual Marian model all by default. ``zh=cmn_Hans``
            calls the language of the tag ``>>cmn_Hans<<`` zh.

    Raises:
        ModelError: a file is missing or damaged, or the model is of another kind.
        ConfigError: it is not known which languages the model translates, or ``output`` is not empty.
    """
    folder = find(path)
    settings = read_json(folder / "config.json")
    try:
        family = family_of(settings.get("model_type"))
        config, weights = read_weights(read_state(folder), read_config(settings))
        with torch.device("meta"):
            check_weights(Transformer(config), weights, "as Regard has it")
    except RegardError as error:
        raise ModelError(f"{folder}: {error}") from error
    read = {M2M100.kind: _read_m2m100, BART.kind: _read_bart}.get(family.kind, _read_marian)
    found = read(path, folder, config, source, target)
    task = {"name": "translation", "directions": [list(d) for d in found.directions], "tagged": found.tagged.value}
    with fresh_folder(Path(output)) as new:
        save_model(new, config, weights, task=task)
        save_tokenizers(new, found.tokenizers)
        search = read_search(folder, settings, config.pad_id, forced=found.tagged is Tagged.BOTH)
        write_atomic(new / "generation.json", json.dumps(search, indent=2) + "\n")
        write_atomic(new / "README.md", _card(path, family, found.directions))
        if (folder / "README.md").is_file():
            shutil.copyfile(folder / "README.md", new / _ORIGINAL_CARD)
    return Imported(found.directions, sum(weight.numel() for weight in weights.values()))


def find(path: str | Path) -> Path:
    """The folder of a model: on this disk, or fetched from the hub.

    Raises:
        ModelError: there is neither, or it cannot be fetched.
        MissingExtra: fetching needs a package that is not installed.
    """
    if (Path(path) / "config.json").is_file():
        return Path(path)
    if Path(path).exists() or not _HUB_NAME.fullmatch(str(path)):
        raise ModelError(f"{path} is not a folder with a config.json, nor a name on the hub such as owner/model.")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise missing("huggingface_hub", f"there is no folder {path}; fetching it from the hub") from error
    try:
        folder = Path(snapshot_download(str(path), allow_patterns=list(_FILES)))
        if not (folder / "model.safetensors").exists():  # an older model; the newer have both
            folder = Path(snapshot_download(str(path), allow_patterns=["pytorch_model.bin"]))
        return folder
    except (OSError, ValueError) as error:  # what the library's own errors are derived from
        raise ModelError(f"{path} cannot be fetched from the hub: {error}") from error


def read_state(folder: Path) -> dict[str, Tensor]:
    """The weights by their names there. A ``.bin`` file is read without running what it may hold.

    Raises:
        ModelError: there are none, or they cannot be read.
    """
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    try:
        if safe.exists():
            return load_file(safe)
        return dict(torch.load(pickled, map_location="cpu", weights_only=True))
    except FileNotFoundError as error:
        raise ModelError(f"{folder} has neither {safe.name} nor {pickled.name}.") from error
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, KeyError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"the weights in {folder} cannot be read: {reason}") from error


def read_search(folder: Path, settings: dict[str, Any], pad: int, *, forced: bool) -> dict[str, Any]:
    """Options of search, from ``generation_config.json`` or, in older models, ``config.json``.

    Args:
        folder: of the model.
        settings: its ``config.json``.
        pad: padding.
        forced: whether translations begin with a tag in any case.

    Raises:
        ModelError: the model must begin with a certain piece, which Regard does not do.
    """
    path = folder / "generation_config.json"
    values = read_json(path) if path.exists() else settings
    if values.get("forced_bos_token_id") is not None and not forced:
        raise ModelError(f"{folder}: every translation begins with a forced piece, which Regard does not support.")
    search = {ours: values[theirs] for theirs, ours in _SEARCH.items() if values.get(theirs) is not None}
    if (least := values.get("min_length") or 0) > 2:  # theirs counts the begin; ours is at least 1
        search["min_length"] = least - 1
    banned = [sequence for sequence in values.get("bad_words_ids") or () if sequence != [pad]]  # never, in any case
    return {"beam": 1, **search, **({"banned": banned} if banned else {})}


_SEARCH = {"num_beams": "beam", "length_penalty": "length_penalty", "no_repeat_ngram_size": "no_repeat_ngram"}


@dataclass(frozen=True)
class _Languages:
    """What a model translates, and with which pieces."""

    tokenizers: tuple[Tokenizer, Tokenizer]
    directions: list[tuple[str, str]]
    tagged: Tagged


def _read_marian(
    path: str | Path, folder: Path, config: ModelConfig, source: Sequence[str], target: Sequence[str]
) -> _Languages:
    known = marian_files.language_tags(marian_files.read_vocabulary(folder / "vocab.json"))
    if not known and (renamed := next((code for code in target if "=" in code), None)):
        raise ConfigError(f"'{renamed}' names a tag, but this model has none.")
    tags = _choose_tags(known, target) if known and target else known
    tokenizers = marian_files.read_tokenizers(folder, config, tags)
    directions = _directions(path, folder, source, list(tags) or list(target))
    return _Languages(tokenizers, directions, Tagged(bool(tags)))


def _read_m2m100(
    path: str | Path, folder: Path, config: ModelConfig, source: Sequence[str], target: Sequence[str]
) -> _Languages:
    vocabulary = m2m100_files.read_vocabulary(folder, config.source_vocab_size)
    known = vocabulary.languages
    if not source or not target:
        raise ConfigError(
            f"this model knows {len(known)} languages ({', '.join(list(known)[:5])} and so on); say between which to "
            "translate, such as --source en --target de fr, or --source en=eng_Latn --target de=deu_Latn."
        )
    sources, targets = _choose_tags(known, source), _choose_tags(known, target)
    if both := [code for code in sources if targets.get(code, sources[code]) != sources[code]]:
        raise ConfigError(f"'{both[0]}' names two tags, {sources[both[0]]} and {targets[both[0]]}.")
    directions = [(s, t) for s in sources for t in targets if s != t]
    if not directions:
        raise ConfigError(f"there is nothing to translate from {source[0]} to {target[0]}.")
    tokenizer = m2m100_files.read_tokenizer(folder, config, vocabulary, sources | targets)
    return _Languages((tokenizer, tokenizer), directions, Tagged.BOTH)


def _read_bart(
    path: str | Path, folder: Path, config: ModelConfig, source: Sequence[str], target: Sequence[str]
) -> _Languages:
    directions = [d for d in _directions(path, folder, source, target) if d[0] != d[1]]
    if len(directions) != 1:
        raise ConfigError("a BART translates in one direction; name it, such as --source en --target ro.")
    tokenizer = bart_files.read_tokenizer(folder, config, directions[0])
    return _Languages((tokenizer, tokenizer), directions, Tagged.BOTH)


def _choose_tags(known: dict[str, str], asked: Sequence[str]) -> dict[str, str]:
    """Language → tag of what was asked for; ``zh=cmn_Hans`` renames."""
    chosen = {}
    for wanted in asked:
        code, _, tag = wanted.partition("=")
        if (tag or code).lower() not in known:
            raise ConfigError(f"this model has no tag for '{tag or code}'.{did_you_mean(tag or code, known)}")
        chosen[code.lower()] = known[(tag or code).lower()]
    return chosen


def _directions(path: str | Path, folder: Path, source: Sequence[str], target: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of languages: as asked for, else as the tokeniser's settings say, else as the name says."""
    settings = marian_files.read_settings(folder)
    named = _OPUS_NAME.search(Path(path).name)
    sides = []
    for number, (side, given) in enumerate((("source", source), ("target", target))):
        known = settings.get(f"{side}_lang") or (named and named.group(number + 1))
        if not given and not known:
            raise ConfigError(f"nothing in {folder} says which {side} language the model has; give --{side}.")
        sides.append([code.lower() for code in given] or [str(known).lower()])
    return [(s, t) for s in sides[0] for t in sides[1] if s != t]


def _card(path: str | Path, family: Family, directions: Sequence[tuple[str, str]]) -> str:
    name = str(path) if _HUB_NAME.fullmatch(str(path)) else Path(path).name
    shown = ", ".join(f"{s}→{t}" for s, t in directions[:20]) + (" and others" if len(directions) > 20 else "")
    return (
        f"# {name}\n\nImported from a {family.name} model of Hugging Face by `regard import`: {shown}. Who made it, "
        f"from what data and under which licence is said where it came from (its card is `{_ORIGINAL_CARD}`, if it had "
        "one); Regard has changed the format only.\n"
    )

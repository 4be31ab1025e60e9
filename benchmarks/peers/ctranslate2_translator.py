"""CTranslate2 on the same weights, with each of its settings."""
# pyright: reportMissingImports=false

import tempfile
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import harness

from peers.marian import load_marian


@dataclass(frozen=True)
class Setting:
    """One way to run CTranslate2."""

    compute_type: Literal["int8", "float32"]
    inter_threads: int
    intra_threads: int
    batch: int
    """Most sentences in one of its batches; 0 for all."""

    def __str__(self) -> str:
        text = f"{self.compute_type}, {self.inter_threads}×{self.intra_threads} threads"
        return f"{text}, batches of {self.batch}" if self.batch else text


@dataclass(frozen=True)
class Job:
    """Some calls of ``translate_batch``."""

    setting: Setting
    source: list[list[int]]
    beam: int
    length: int
    """Pieces that come out; 0 for as many as it takes."""
    calls: int


def convert(folder: Path, output: Path, eos: int) -> None:
    """Write a Marian folder in CTranslate2's format, its pieces called p0, p1, …"""
    from ctranslate2.converters.transformers import BartLoader

    model = load_marian(folder)
    model.config.normalize_before = model.config.normalize_embedding = False
    spec: Any = BartLoader().get_model_spec(model)
    pieces = [f"p{number}" for number in range(model.config.vocab_size)]
    spec.register_source_vocabulary(pieces)
    spec.register_target_vocabulary(pieces)
    spec.config.bos_token = spec.config.decoder_start_token = pieces[model.config.decoder_start_token_id]
    spec.config.eos_token, spec.config.unk_token = pieces[eos], pieces[1]
    spec.config.add_source_bos = spec.config.add_source_eos = False
    spec.validate()
    spec.optimize()
    output.mkdir()
    spec.save(str(output))


def contender(connection: Connection, folder: Path, kind: Literal["marian", "regard"], eos: int) -> None:
    """Runs the model in ``folder``: a Marian folder, or one of Regard's, which is exported."""
    harness.prepare_process(1)
    import ctranslate2

    with tempfile.TemporaryDirectory() as temporary:
        output = Path(temporary, "model")
        if kind == "marian":
            convert(folder, output, eos)
        else:
            from regard.compress import export_model

            export_model(folder, "ctranslate2", output)
        vocabulary = _vocabulary(output)
        translators: dict[tuple[str, int, int], Any] = {}

        def translator(setting: Setting) -> Any:
            key = (setting.compute_type, setting.inter_threads, setting.intra_threads)
            if key not in translators:
                translators[key] = ctranslate2.Translator(
                    str(output),
                    device="cpu",
                    compute_type=setting.compute_type,
                    inter_threads=setting.inter_threads,
                    intra_threads=setting.intra_threads,
                )
            return translators[key]

        def run(job: Job) -> dict[str, Any]:
            engine = translator(job.setting)
            end = [] if kind == "marian" else [vocabulary[eos]]  # an exported model adds it by itself
            source = [[vocabulary[piece] for piece in row] for row in job.source]
            source = [row[:-1] if end and row[-1] == end[0] else row for row in source]
            lengths = {"min_decoding_length": job.length, "max_decoding_length": job.length} if job.length else {}
            seconds, found = [], []
            for _ in range(job.calls):
                began = time.perf_counter()
                found = engine.translate_batch(
                    source, beam_size=job.beam, max_batch_size=job.setting.batch, length_penalty=1.0, **lengths
                )
                seconds.append(time.perf_counter() - began)
            number = {piece: index for index, piece in enumerate(vocabulary)}
            return {"seconds": seconds, "outputs": [[number[p] for p in result.hypotheses[0]] for result in found]}

        harness.answer(connection, {"version": ctranslate2.__version__}, run)


def _vocabulary(folder: Path) -> list[str]:
    import json

    for name in ("shared_vocabulary.json", "target_vocabulary.json"):
        if (folder / name).exists():
            return json.loads((folder / name).read_text(encoding="utf-8"))
    raise FileNotFoundError(f"{folder} has no vocabulary")


def settings(batch: int, threads: int) -> list[Setting]:
    """Those worth trying for a batch; more threads within a sentence than one were never the best."""
    found = []
    for compute_type in ("int8", "float32"):
        found += [Setting(compute_type, 1, intra, 0) for intra in sorted({1, threads})]
        if batch > 1 and threads > 1:
            found.append(Setting(compute_type, threads, 1, -(-batch // threads)))
    return found

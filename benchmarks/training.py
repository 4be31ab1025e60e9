"""Training speed: target tokens a second of Regard, Hugging Face and JoeyNMT on the same batches.

    python benchmarks/training.py                            models A, B and C, five rounds
    python benchmarks/training.py --models A --quick         a minute, to see that it works

All train the same post-norm Transformer of the same size (the parameters are counted, and Hugging Face starts from
Regard's weights with Regard's loss), with the same dropout, label smoothing, Adam and clipping, on the very batches
that Regard's sampler draws from Multi30k en→de: about 4,096 target tokens, sorted by length. Padding is not counted.
Regard is timed with all that a training step takes, batching included; the plain loops of its peers get their batches
ready made. Every process keeps freed memory and flushes denormals, and each Hugging Face contender takes the faster of
its two attention implementations. JoeyNMT has the dropout that the others have, and no other.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any, Literal

import harness
from harness import Contender, Summary, say
from peers import hugging_face_training, joeynmt_training

from regard.base.device import cpu_count
from regard.base.errors import RegardError
from regard.cli.arguments import parse
from regard.data.corpus import CorpusConfig
from regard.data.tokenizer import TokenizerConfig
from regard.tasks.preparation import Prepared, prepare
from regard.tasks.preset import DataConfig, Preset
from regard.tasks.translation_training import TranslationTask
from regard.train.config import ScheduleConfig, TrainConfig
from regard.train.trainer import Trainer

WARM_UP = 3
TOKENS = 4096


@dataclass(frozen=True)
class Size:
    """A model of the comparison and how long a round with it is."""

    layers: int
    d_model: int
    d_ff: int
    heads: int
    vocab_size: int
    dropout: float
    steps: int

    def __str__(self) -> str:
        return f"{self.layers}+{self.layers} layers, d{self.d_model}, ff{self.d_ff}, {self.vocab_size // 1000}k pieces"


SIZES = {
    "A": Size(4, 128, 256, 4, 10_000, 0.3, steps=8),
    "B": Size(3, 256, 1024, 4, 8_000, 0.1, steps=6),
    "C": Size(6, 512, 2048, 8, 16_000, 0.1, steps=2),
}


@dataclass(frozen=True)
class Options:
    """Measure target tokens a second on the same batches, interleaved."""

    models: str = "A,B,C"
    """Sizes to train."""
    rounds: int = 5
    """Times that each contender runs."""
    steps: int = 0
    """Optimiser steps in a round; 0 for 8, 6 and 2 with models A, B and C."""
    only: str = ""
    """Names of contenders, separated by commas; all by default."""
    attention: Literal["best", "sdpa", "eager"] = "best"
    """Hugging Face's attention: sdpa is its default, best the faster of the two on the first batch."""
    quick: bool = False
    """Two rounds of one step: shows that it works, not how fast it is."""
    threads: int = 0
    """CPU threads of every contender; 0 for all cores."""
    json: str = ""
    """File for the results."""


def preset(name: str, threads: int) -> Preset:
    """Model ``name`` as Regard trains it, on Multi30k en→de."""
    size, folder = SIZES[name], harness.multi30k()
    corpus = CorpusConfig(
        source="en",
        target="de",
        source_path=str(folder / "train" / "train.en"),
        target_path=str(folder / "train" / "train.de"),
    )
    return Preset(
        output=harness.WORK / "training" / name,
        data=DataConfig(train=[corpus]),
        tokenizer=TokenizerConfig(kind="bpe", vocab_size=size.vocab_size),
        model={
            "encoder_layers": size.layers,
            "decoder_layers": size.layers,
            "d_model": size.d_model,
            "d_ff": size.d_ff,
            "num_heads": size.heads,
            "dropout": size.dropout,
            "norm_position": "post",
        },
        train=TrainConfig(
            steps=1_000_000,
            tokens=TOKENS,
            threads=threads,
            device="cpu",
            schedule=ScheduleConfig(kind="constant", peak=1e-4, warmup=0),
            validate_every=0,
            tensorboard=False,
        ),
    )


def regard_contender(connection: Connection, preset: Preset) -> None:
    """Regard: its task, its trainer, its default precision."""
    harness.prepare_process(preset.train.threads or cpu_count())
    task, model, loss = hugging_face_training.regard_model(preset)
    trainer = Trainer(model, task, preset.train, preset.output)
    for _ in range(WARM_UP):
        trainer.step()

    def run(steps: int) -> dict[str, float]:
        began = time.perf_counter()
        tokens = sum(trainer.step()["tokens"] for _ in range(steps))
        return {"seconds": time.perf_counter() - began, "tokens": tokens}

    dtype = str(next(model.parameters()).dtype).removeprefix("torch.")
    parameters = sum(p.numel() for p in model.parameters())
    harness.answer(connection, {"parameters": parameters, "loss": loss, "setting": dtype}, run)


CONTENDERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "Regard": (regard_contender, {}),
    "Hugging Face, plain loop, fp32": (hugging_face_training.plain_contender, {"bf16": False}),
    "Hugging Face, plain loop, bf16 autocast": (hugging_face_training.plain_contender, {"bf16": True}),
    "Hugging Face, Seq2SeqTrainer, fp32": (hugging_face_training.trainer_contender, {"bf16": False}),
    "Hugging Face, Seq2SeqTrainer, bf16": (hugging_face_training.trainer_contender, {"bf16": True}),
    "JoeyNMT, fp32": (joeynmt_training.contender, {"bf16": False}),
    "JoeyNMT, bf16 autocast": (joeynmt_training.contender, {"bf16": True}),
}


def work(task: TranslationTask, steps: int) -> tuple[int, int]:
    """Source and target tokens of the next ``steps`` batches, padding not counted."""
    source = target = 0
    for _ in range(steps):
        batch = task.batch(task.draw())
        source, target = source + int(batch.source_lengths.sum()), target + batch.num_tokens
    return source, target


def flops(name: str, source: int, target: int) -> float:
    """Multiplications and additions of the matrix products with weights, forward and backward (6 a weight and token).

    Embedding look-ups, attention scores and everything element-wise do not count, nor does padding.
    """
    size = SIZES[name]
    d, f, n = size.d_model, size.d_ff, size.layers
    encoder, decoder = n * (4 * d * d + 2 * d * f), n * (6 * d * d + 2 * d * f)
    memory = n * 2 * d * d  # keys and values of the cross-attention, computed from the source
    return 6.0 * (source * (encoder + memory) + target * (decoder + size.vocab_size * d))


def compare(name: str, options: Options) -> dict[str, Any] | None:
    """Run all contenders on model ``name``."""
    threads = options.threads or cpu_count()
    settings = preset(name, threads)
    prepare(settings, say)  # once, here; the contenders find it
    task = TranslationTask(settings, Prepared.open(settings))
    work(task, WARM_UP)
    wanted = [part.strip().casefold() for part in options.only.split(",") if part.strip()]
    contenders: list[Contender] = []
    peak = harness.start("matrix product", harness.matmul_contender, threads=threads)
    for label, (function, extra) in CONTENDERS.items():
        if wanted and not any(part in label.casefold() for part in wanted):
            continue
        if label.startswith("Hugging Face"):
            extra = {**extra, "attention": options.attention}
        contender = harness.start(label, function, preset=settings, **extra)
        if contender is not None:
            contenders.append(contender)
    try:
        check_equal(contenders)
        steps = 1 if options.quick else options.steps or SIZES[name].steps
        rounds = 2 if options.quick else options.rounds
        return measure(name, task, contenders, peak, rounds, steps)
    finally:
        for contender in [*contenders, *([peak] if peak else [])]:
            contender.close()


def check_equal(contenders: Sequence[Contender]) -> None:
    """All must train the same thing.

    Raises:
        RegardError: a model has another size, or another loss on the first batch.
    """
    for key, tolerance in (("parameters", 0.0), ("loss", 1e-4)):
        values = {c.name: c.info[key] for c in contenders if key in c.info}
        if values and max(values.values()) - min(values.values()) > tolerance * max(values.values()):
            raise RegardError(f"the contenders do not train the same model: {key} {values}")


def measure(
    name: str, task: TranslationTask, contenders: list[Contender], peak: Contender | None, rounds: int, steps: int
) -> dict[str, Any]:
    """Tokens a second by contender and round, and the peak of the machine."""
    speeds: dict[str, list[float]] = {c.name: [] for c in contenders}
    achieved: dict[str, list[float]] = {c.name: [] for c in contenders}
    peaks: dict[str, list[float]] = {"float32": [], "bfloat16": []}
    for number in range(rounds):
        source, target = work(task, steps)
        for dtype, values in peaks.items():
            if peak is not None:
                values.append(peak.ask(dtype))
        turned = contenders[number % len(contenders) :] + contenders[: number % len(contenders)]
        for contender in turned:
            result = contender.ask(steps)
            if result["tokens"] != target:
                raise RegardError(
                    f"{contender.name} trained on {result['tokens']} tokens, not on the {target} of the round."
                )
            speeds[contender.name].append(target / result["seconds"])
            achieved[contender.name].append(flops(name, source, target) / result["seconds"] / 1e9)
            say(f"{name} round {number + 1}: {contender.name} {speeds[contender.name][-1]:,.0f} tokens/s")
    return {
        "model": name,
        "description": str(SIZES[name]),
        "rounds": rounds,
        "steps": steps,
        "peak_gflops": {dtype: max(values) for dtype, values in peaks.items() if values},
        "contenders": {
            c.name: {**c.info, "tokens_per_second": speeds[c.name], "gflops": achieved[c.name]} for c in contenders
        },
    }


def report(results: list[dict[str, Any]]) -> str:
    """The tables of all models, as Markdown."""
    parts = []
    for result in results:
        contenders = result["contenders"]
        ours = contenders.get("Regard", {}).get("tokens_per_second")
        best = fastest(contenders, "Hugging Face")
        rows = []
        for label, values in contenders.items():
            speeds = values["tokens_per_second"]
            times = f"{harness.ratio(ours, speeds):.2f}×" if ours and label != "Regard" else ""
            dtype = "bfloat16" if "bf16" in label or "bfloat16" in values["setting"] else "float32"
            peak = result["peak_gflops"].get(dtype)
            share = f"{Summary.of(values['gflops']).median / peak:.0%} of {dtype}" if peak else ""
            title = f"**{label}**" if label in ("Regard", best) else label
            rows.append([title, values["setting"], Summary.of(speeds).text(), times, share])
        parameters = next(iter(contenders.values()))["parameters"] if contenders else 0
        header = ["", "setting", "target tokens/s (lowest–highest)", "Regard is", "share of peak"]
        peaks = ", ".join(f"{dtype} {value:,.0f}" for dtype, value in result["peak_gflops"].items())
        parts.append(
            f"**Model {result['model']}**: {result['description']}, {parameters / 1e6:.1f}M parameters; "
            f"{result['rounds']} rounds of {result['steps']} steps; matrix product peak, GFLOP/s: {peaks}\n\n"
            + harness.markdown_table(header, rows)
        )
        if ours and best:
            times = harness.ratio(ours, contenders[best]["tokens_per_second"])
            parts.append(f"Regard trains model {result['model']} at {times:.2f}× Hugging Face's best ({best}).")
    return "\n\n".join(parts)


def fastest(contenders: dict[str, Any], name: str) -> str:
    """Of the contenders whose label begins with ``name``, the one with the highest median; empty for none."""
    found = {k: Summary.of(v["tokens_per_second"]).median for k, v in contenders.items() if k.startswith(name)}
    return max(found, key=found.__getitem__) if found else ""


def main(argv: Sequence[str]) -> int:
    options = parse(Options, argv, prog="training.py")
    names = [name.strip().upper() for name in options.models.split(",")]
    unknown = [name for name in names if name not in SIZES]
    if unknown:
        say(f"no model {', '.join(unknown)}; there are {', '.join(SIZES)}.")
        return 2
    machine = harness.machine()
    harness.warn_if_busy(machine)
    results = [result for name in names if (result := compare(name, options)) is not None]
    print(report(results) + "\n\n" + harness.describe(machine))
    harness.write_json(options.json, {"machine": machine, "models": results})
    return 0


if __name__ == "__main__":
    harness.run(main)

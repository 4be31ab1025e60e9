"""Hugging Face's ``generate`` on a Marian model, with each of its settings."""
# pyright: reportMissingImports=false

import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

import harness
import torch
from torch import Tensor

from peers.marian import load_marian
from regard.model.folder import load_model

#: Largest difference of the logits, in fp32, before any timing.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Setting:
    """One way to run ``generate``."""

    dtype: Literal["float32", "bfloat16"]
    threads: int
    attention: Literal["sdpa", "eager"] = "sdpa"
    cache: Literal["dynamic", "static"] = "dynamic"

    def __str__(self) -> str:
        threads = f"{self.threads} thread" + ("s" if self.threads > 1 else "")
        return f"{self.dtype}, {threads}, {self.attention}, {self.cache} cache"


@dataclass(frozen=True)
class Job:
    """Some calls of ``generate``."""

    setting: Setting
    source: list[list[int]]
    beam: int
    length: int
    calls: int


def contender(connection: Connection, folder: Path, regard_folder: Path, threads: int) -> None:
    """Loads the model of ``folder`` in both precisions and compares its logits with those of ``regard_folder``."""
    harness.prepare_process(threads)
    from transformers import GenerationConfig

    models = {name: load_marian(folder, dtype=getattr(torch, name)) for name in ("float32", "bfloat16")}
    difference = logit_difference(models["float32"], regard_folder)

    @torch.inference_mode()
    def run(job: Job) -> dict[str, Any]:
        setting = job.setting
        model = models[setting.dtype]
        torch.set_num_threads(setting.threads)
        model.set_attn_implementation(setting.attention)
        source = torch.tensor(job.source)
        inputs = {"input_ids": source, "attention_mask": torch.ones_like(source)}
        config = GenerationConfig(
            max_new_tokens=job.length,
            num_beams=job.beam,
            do_sample=False,
            use_cache=True,
            cache_implementation="static" if setting.cache == "static" else None,
            pad_token_id=model.config.pad_token_id,
            decoder_start_token_id=model.config.decoder_start_token_id,
        )
        seconds = []
        output = source
        for _ in range(job.calls):
            began = time.perf_counter()
            output = model.generate(**inputs, generation_config=config)
            seconds.append(time.perf_counter() - began)
        return {"seconds": seconds, "outputs": output[:, 1:].tolist()}

    harness.answer(connection, {"logit_difference": difference}, run)


@torch.inference_mode()
def logit_difference(theirs: Any, regard_folder: Path) -> float:
    """The largest difference between the logits of both models on random sentences of different lengths.

    Raises:
        RuntimeError: they are not the same model.
    """
    ours, _ = load_model(regard_folder)
    config = ours.config
    generator = torch.Generator().manual_seed(5)

    def sentences(length: int) -> Tensor:
        return torch.randint(4, config.target_vocab_size, (4, length), generator=generator)

    source, inputs = sentences(17), sentences(11)
    inputs[:, 0] = config.bos_id
    lengths = torch.tensor([17, 9, 4, 13])
    mask = torch.arange(17)[None] < lengths[:, None]
    source[~mask] = config.pad_id
    memory, memory_mask = ours.encode(source, lengths)
    mine = ours.logits(ours.decode_full(inputs, memory, memory_mask))
    other = theirs(input_ids=source, attention_mask=mask.long(), decoder_input_ids=inputs, use_cache=False).logits
    free = torch.ones(config.target_vocab_size, dtype=torch.bool)
    free[[config.pad_id, config.bos_id, config.eos_id]] = False  # banned by the output bias of the folder
    difference = float((mine - other)[..., free].abs().max())
    if not difference < TOLERANCE:
        raise RuntimeError(f"the logits of Regard and Hugging Face differ by {difference:.2e}: not the same weights.")
    return difference

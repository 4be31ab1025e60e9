"""A tiny Transformer learns to copy and to reverse, as judged by greedy decoding step by step."""

import pytest
import torch
from torch import Tensor

from regard.data.batch import Batch, collate
from regard.model import ModelConfig, Transformer

PAD, BOS, EOS, LETTERS, LONGEST = 0, 2, 3, range(4, 16), 8


def sentences(count: int) -> list[list[int]]:
    lengths = torch.randint(1, LONGEST + 1, (count,)).tolist()
    return [torch.randint(LETTERS.start, LETTERS.stop, (length,)).tolist() for length in lengths]


def answer(task: str, sentence: list[int]) -> list[int]:
    return sentence if task == "copy" else sentence[::-1]


def make_batch(task: str, sources: list[list[int]]) -> Batch:
    return collate(sources, [answer(task, s) for s in sources], pad_id=PAD, bos_id=BOS, eos_id=EOS)


@torch.inference_mode()
def greedy(model: Transformer, source: Tensor, lengths: Tensor) -> list[list[int]]:
    """The best piece at each step, up to the end of the sentence."""
    memory, mask = model.encode(source, lengths)
    state = model.start(memory, mask, rows=len(source), capacity=LONGEST + 2)
    pieces = torch.full((len(source), 1), BOS)
    produced = []
    for _ in range(LONGEST + 2):
        pieces = model.logits(model.decode_step(pieces, state)).argmax(-1)
        produced.append(pieces)
    rows = torch.cat(produced, dim=1).tolist()
    return [row[: row.index(EOS)] if EOS in row else row for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize(("task", "position"), [("copy", "sinusoidal"), ("reverse", "rotary")])
def test_toy_task(task: str, position: str) -> None:
    model = Transformer(
        ModelConfig(
            source_vocab_size=LETTERS.stop,
            target_vocab_size=LETTERS.stop,
            d_model=64,
            d_ff=128,
            num_heads=4,
            encoder_layers=1,
            decoder_layers=1,
            position=position,  # type: ignore[arg-type]
            dropout=0.0,
        )
    )
    steps, peak = 400, 5e-3
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.98), weight_decay=0.0)
    for step in range(1, steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = peak * min(step / 50, (steps - step) / (steps / 2), 1.0)
        batch = make_batch(task, sentences(64))
        optimizer.zero_grad()
        (model(batch, 0.1) / batch.num_tokens).backward()
        optimizer.step()
    model.eval()
    sources = sentences(500)
    batch = make_batch(task, sources)
    found = greedy(model, batch.source, batch.source_lengths)
    right = sum(a == answer(task, source) for a, source in zip(found, sources, strict=True))
    assert right >= 0.99 * len(sources)

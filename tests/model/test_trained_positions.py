"""A model that has learned with each kind of position decodes the same with and without a cache."""

from typing import get_args

import pytest
import torch

from regard.data.batch import collate
from regard.decode import Options, Request, TorchEngine
from regard.model import ModelConfig, Transformer
from regard.model.choices import PositionKind

W, PAD, BOS, EOS = 12, 0, 2, 3
LENGTH = 12


def trained(position: PositionKind, steps: int = 40) -> Transformer:
    """Learns to copy backwards, for a little while."""
    torch.manual_seed(1)
    sizes = {"d_model": 24, "d_ff": 48, "num_heads": 2, "encoder_layers": 1, "decoder_layers": 2, "dropout": 0.0}
    model = Transformer(ModelConfig(W, W, position=position, **sizes))  # type: ignore[arg-type]
    optimiser = torch.optim.Adam(model.parameters(), 5e-3)
    losses = []
    for _ in range(steps):
        sources = [torch.randint(4, W, (int(torch.randint(2, 7, ())),)).numpy() for _ in range(16)]
        batch = collate(sources, [source[::-1] for source in sources], pad_id=PAD, bos_id=BOS, eos_id=EOS)
        loss = model(batch) / batch.num_tokens
        losses.append(float(loss.detach()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < 0.85 * losses[0]
    return model.eval()


@torch.no_grad()
def without_cache(model: Transformer, source: tuple[int, ...], length: int) -> tuple[int, ...]:
    """The greedy translation, where every step computes everything from the beginning."""
    memory, mask = model.encode(torch.tensor([[*source, EOS]]), torch.tensor([len(source) + 1]))
    ids = [BOS]
    while len(ids) <= length and ids[-1] != EOS:
        logits = model.logits(model.decode_full(torch.tensor([ids]), memory, mask)[0, -1])
        logits[[PAD, BOS]] = float("-inf")
        ids.append(int(logits.argmax()))
    return tuple(ids[1:])


@pytest.mark.parametrize("position", get_args(PositionKind))
def test_decodes_the_same_with_and_without_a_cache(position: PositionKind) -> None:
    model = trained(position)
    engine = TorchEngine(model, precision="fp32", device="cpu")
    sources = [tuple(torch.randint(4, W, (length,)).tolist()) for length in (2, 5, 9)]
    results = engine.translate([Request([*source, EOS], Options(max_length=LENGTH)) for source in sources])
    for source, hypotheses in zip(sources, results, strict=True):
        expected = without_cache(model, source, LENGTH)
        assert tuple(hypotheses[0].ids) == tuple(i for i in expected if i != EOS)

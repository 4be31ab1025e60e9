"""The recurrent baseline against the paper's equations, and on a task it must learn."""

import pytest
import torch
from torch import Tensor

from regard.base.errors import ConfigError
from regard.data.batch import Batch, collate
from regard.model.recurrent import RecurrentConfig, RecurrentTranslator

EXACT = {"atol": 1e-10, "rtol": 0.0}
W, PAD, BOS, EOS = 14, 0, 2, 3


def make(**changes: int) -> RecurrentTranslator:
    config = RecurrentConfig(W, W, **{"embedding": 6, "hidden": 5, "attention": 4, "dropout": 0.0, **changes})
    model = RecurrentTranslator(config).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return model


def batch_of(sources: list[list[int]], targets: list[list[int]]) -> Batch:
    return collate(sources, targets, pad_id=PAD, bos_id=BOS, eos_id=EOS)


def unit(cell: torch.nn.GRUCell, x: Tensor, state: Tensor) -> Tensor:
    """The gated unit as PyTorch writes it: gates of the input and of the state."""
    r, z, n = (x @ cell.weight_ih.t() + cell.bias_ih).chunk(3, dim=-1)
    hr, hz, hn = (state @ cell.weight_hh.t() + cell.bias_hh).chunk(3, dim=-1)
    update, reset = torch.sigmoid(z + hz), torch.sigmoid(r + hr)
    return (1 - update) * torch.tanh(n + reset * hn) + update * state


def test_a_step_is_the_equations_of_the_paper() -> None:
    model = make()
    source, lengths = torch.tensor([[4, 7, 9, EOS], [5, EOS, PAD, PAD]]), torch.tensor([4, 2])
    annotations, keys, state, mask = model.encode(source, lengths)
    embedded = torch.randn(2, 6, dtype=torch.float64)
    following, output = model.step(embedded, state, annotations, keys, mask)
    for row, length in enumerate(lengths.tolist()):
        h, s = annotations[row, 0, :length], state[row]
        energies = torch.stack(
            [
                model.scoring.similarity.weight[0]  # type: ignore[index]
                @ torch.tanh(model.query.weight @ s + model.key.weight @ hj + model.key.bias)
                for hj in h
            ]
        )
        context = torch.softmax(energies, 0) @ h
        expected = unit(model.decoder, torch.cat([embedded[row], context]), s)
        torch.testing.assert_close(following[row], expected, **EXACT)
        before = model.before_output(torch.cat([expected, embedded[row], context]))
        torch.testing.assert_close(output[row], torch.maximum(before[0::2], before[1::2]), **EXACT)


def test_padding_does_not_matter() -> None:
    model = make()
    sources, targets = [[4, 5, 6, 7, 8], [9]], [[5, 5], [6, 7, 8, 9]]
    together = model(batch_of(sources, targets))
    alone = sum(model(batch_of([s], [t])) for s, t in zip(sources, targets, strict=True))
    torch.testing.assert_close(together, alone, **EXACT)
    source = batch_of(sources, targets).source
    found = model.greedy(source, torch.tensor([6, 2]), 9)
    for row, length in enumerate((6, 2)):
        assert model.greedy(source[row : row + 1, :length], torch.tensor([length]), 9) == [found[row]]


def test_every_weight_learns_in_bf16_too() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        model = make().to(dtype)
        model(batch_of([[4, 5], [6]], [[7], [8, 9]]), 0.1).backward()
        for name, parameter in model.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name


@pytest.mark.slow
def test_it_learns_to_reverse() -> None:
    torch.manual_seed(0)
    model = RecurrentTranslator(RecurrentConfig(W, W, embedding=32, hidden=48, attention=32, dropout=0.0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.0)

    def sentences(count: int) -> list[list[int]]:
        return [torch.randint(4, W, (int(n),)).tolist() for n in torch.randint(1, 6, (count,))]

    for step in range(300):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * min(1.0, (300 - step) / 150)
        sources = sentences(64)
        batch = batch_of(sources, [s[::-1] for s in sources])
        optimizer.zero_grad()
        (model(batch) / batch.num_tokens).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    model.eval()
    sources = sentences(200)
    batch = batch_of(sources, sources)
    found = model.greedy(batch.source, batch.source_lengths, 8)
    assert sum(a == s[::-1] for a, s in zip(found, sources, strict=True)) >= 190


def test_sizes() -> None:
    with pytest.raises(ConfigError, match="hidden must be at least 1, got 0"):
        make(hidden=0)
    with pytest.raises(ConfigError, match="embedding must be even"):
        make(embedding=5)

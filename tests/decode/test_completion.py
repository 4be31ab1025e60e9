"""Texts gone on with step by step, against a full pass over everything each time."""

from typing import Any

import pytest
import torch

from regard.base.errors import ConfigError
from regard.decode.completion import complete
from regard.decode.request import Options
from regard.model import DecoderOnly, ModelConfig

W = 23


def make_model(seed: int = 0, **changes: Any) -> DecoderOnly:
    torch.manual_seed(seed)
    settings = {"d_model": 12, "d_ff": 20, "num_heads": 3, "encoder_layers": 0, "decoder_layers": 2, "dropout": 0.0}
    model = DecoderOnly(ModelConfig(W, W, **{**settings, **changes}, output_bias=True)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        model.head.bias[3] += 2.0  # so that some texts end
    return model


@torch.no_grad()
def greedy(model: DecoderOnly, prompt: list[int], count: int, never: set[int]) -> tuple[list[int], list[float]]:
    """The most probable pieces, each from a full pass over all before it."""
    pieces, found = [2, *prompt], []
    scores: list[float] = []
    for _ in range(count):
        logits = model.logits(model.decode(torch.tensor([pieces])))[0, -1]
        logits[[0, 2, *never]] = -torch.inf
        piece = int(logits.argmax())
        scores.append(float(logits.log_softmax(-1)[piece]))
        if piece == 3:
            break
        pieces.append(piece)
        found.append(piece)
    return found, scores


@pytest.mark.parametrize("position", ["sinusoidal", "learned", "rotary", "t5"])
@pytest.mark.parametrize("prompt", [[], [5, 9, 4, 4, 17]])
def test_greedy_completion_equals_full_passes(position: str, prompt: list[int]) -> None:
    lengths = set()
    for seed in range(6):
        model = make_model(seed, position=position)
        (found,) = complete(model, prompt, Options(max_length=12), never=[1, 7])
        ids, scores = greedy(model, prompt, 12, {1, 7})
        assert found.ids == ids
        assert found.log_probs == pytest.approx(scores, abs=1e-5)
        assert found.finished == (len(scores) > len(ids))
        lengths.add(len(ids))
    assert len(lengths) > 1  # some end by themselves


def test_draws_have_the_probabilities_of_the_model() -> None:
    model = make_model(1)
    options = Options(sample=True, num_hypotheses=4000, temperature=0.7, max_length=1, seed=3)
    found = complete(model, [5, 6], options, never=[1])
    with torch.no_grad():
        logits = model.logits(model.decode(torch.tensor([[2, 5, 6]])))[0, -1] / 0.7
    logits[[0, 1, 2]] = -torch.inf
    expected = logits.softmax(-1)
    counts = torch.zeros(W, dtype=torch.float64)
    for text in found:
        counts[text.ids[0] if text.ids else 3] += 1
    error = (expected * (1 - expected) / 4000).sqrt()
    assert ((counts / 4000 - expected).abs() <= 4.5 * error + 1e-12).all()


def test_the_same_seed_draws_the_same_and_rows_draw_for_themselves() -> None:
    model = make_model()
    options = Options(sample=True, num_hypotheses=5, max_length=10, seed=1)
    first, again = complete(model, [5], options), complete(model, [5], options)
    assert [t.ids for t in first] == [t.ids for t in again]
    assert len({tuple(t.ids) for t in first}) > 1
    other = complete(model, [5], Options(sample=True, num_hypotheses=5, max_length=10, seed=2))
    assert [t.ids for t in other] != [t.ids for t in first]


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-4}])
def test_narrow_draws_are_greedy(settings: dict[str, Any]) -> None:
    model = make_model(2)
    (drawn,) = complete(model, [8], Options(sample=True, max_length=8, **settings))
    (best,) = complete(model, [8], Options(max_length=8))
    assert drawn.ids == best.ids


def test_rules_hold_across_the_prompt() -> None:
    model = make_model(3)
    (free,) = complete(model, [5, 6], Options(max_length=6))
    (bound,) = complete(model, [5, 6], Options(max_length=6, banned=((6, free.ids[0]),), min_length=6))
    assert bound.ids[0] != free.ids[0]
    assert len(bound.ids) == 6


def test_what_cannot_be_had() -> None:
    model = make_model(position="learned", max_positions=8)
    assert len(complete(model, [5, 6, 7], Options(max_length=5, min_length=5))[0].ids) == 5
    with pytest.raises(ConfigError, match="3 pieces and 6 more are too many: the model has 8 positions"):
        complete(model, [5, 6, 7], Options(max_length=6))
    with pytest.raises(ConfigError, match="set beam to 1"):
        complete(model, [], Options(beam=2, max_length=6))

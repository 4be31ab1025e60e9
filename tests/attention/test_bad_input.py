"""Input that makes no sense is refused by an error that says what came and what was wanted."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from regard.attention import (
    AdaptiveSpan,
    Additive,
    ALiBi,
    Bilinear,
    Cosine,
    LearnedPositions,
    Mask,
    MultiHeadAttention,
    RotaryPositions,
    Scoring,
    ShawPositions,
    SinusoidalPositions,
    T5Bias,
    TransformerXLPositions,
    attend,
)

X = torch.ones(2, 3, 8)
HEADS = torch.ones(2, 2, 3, 4)


def multihead(scoring: Scoring | None = None, **changes: Any) -> MultiHeadAttention:
    return MultiHeadAttention(**{"d_model": 8, "num_heads": 2, "scoring": scoring, **changes})


def not_a_mask(mask: Any) -> list[Callable[[], Any]]:
    """All the places that take one."""
    attention = multihead()
    return [
        lambda: attend(HEADS, HEADS, HEADS, mask),
        lambda: attend(HEADS, HEADS, HEADS, mask, kernel="reference"),
        lambda: attention(X, mask=mask),
        lambda: attention(X, attention.project_memory(X), mask),
        lambda: attention.weights(X, mask=mask),
        lambda: attention.head_outputs(X, mask=mask),
    ]


@pytest.mark.parametrize("place", range(6))
@pytest.mark.parametrize(
    ("mask", "what"),
    [
        (torch.zeros(3, 3), r"got a tensor \(3, 3\) torch.float32"),
        (torch.ones(3, 3, dtype=torch.bool), r"got a tensor \(3, 3\) torch.bool"),
        ([[True]], "got list"),
    ],
)
def test_a_tensor_is_no_mask(mask: Any, what: str, place: int) -> None:
    """Numbers and booleans mean one thing to one function and the opposite to another: here they must be named."""
    with pytest.raises(ValueError, match=f"mask wants a regard.attention.Mask, {what}.*Mask.boolean"):
        not_a_mask(mask)[place]()


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (lambda: Mask.boolean(torch.ones(3, 3)), r"wants allowed as .* booleans .* got \(3, 3\) torch.float32"),
        (lambda: Mask.boolean(torch.ones(3, 4).bool()), "allowed of 3×4, but there are 3 queries and 3 keys"),
        (lambda: Mask.boolean(torch.ones(2, 3).bool()), "allowed of 2×3, but there are 3 queries and 3 keys"),
        (lambda: Mask.documents(torch.zeros(2)), "ids for 2 positions, but there are 3 keys"),
        (lambda: Mask.padding(torch.tensor([3, 3, 3])), "the mask has 3 rows, but there are 2 rows of queries"),
        (lambda: Mask.causal() & Mask.window(1, 1), "Mask.window got right=1, which contradicts the mask beside it"),
    ],
)
def test_masks_that_do_not_fit(mask: Callable[[], Mask], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multihead()(X, mask=mask())
    with pytest.raises(ValueError, match=message):
        attend(HEADS, HEADS, HEADS, mask())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"d_model": 9}, "d_model 9 is not a multiple of num_heads 2"),
        ({"num_heads": 0}, "num_heads must be at least 1, got 0"),
        ({"num_kv_heads": 3}, "num_kv_heads 3 does not divide num_heads 2"),
        ({"num_kv_heads": 0}, "num_kv_heads 0 does not divide num_heads 2"),
        ({"dropout": 1.0}, r"dropout rate lies in \[0, 1\), got 1.0"),
    ],
)
def test_heads_that_do_not_divide(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        multihead(**settings)


@pytest.mark.parametrize(
    ("scoring", "message"),
    [
        (lambda: Scoring(Cosine(4)), "Cosine was made for num_heads=4, but this attention has num_heads=2"),
        (lambda: Scoring(Additive(2, 8)), "Additive was made for head_dim=8, but this attention has head_dim=4"),
        (lambda: Scoring(Bilinear(3, 4)), "Bilinear was made for num_heads=3"),
        (lambda: Scoring(position=ALiBi(1)), "ALiBi was made for num_heads=1"),
        (lambda: Scoring(position=T5Bias(1, bidirectional=True)), "T5Bias was made for num_heads=1"),
        (lambda: Scoring(position=ShawPositions(3)), "ShawPositions was made for head_dim=3"),
        (lambda: Scoring(position=TransformerXLPositions(8, 4, 4)), "TransformerXLPositions was made for num_heads=4"),
        (lambda: Scoring(position=RotaryPositions(2)), "RotaryPositions was made for head_dim=2"),
        (lambda: Scoring(span=AdaptiveSpan(1, 9)), "AdaptiveSpan was made for num_heads=1"),
    ],
)
def test_parts_that_were_made_for_other_heads(scoring: Callable[[], Scoring], message: str) -> None:
    """Some would otherwise be broadcast, or turn half of the features, without a word."""
    with pytest.raises(ValueError, match=message):
        multihead(scoring())


POSITIONS: dict[str, Callable[[torch.Tensor], Any]] = {
    "learned": LearnedPositions(4, 6),
    "sinusoidal": SinusoidalPositions(4),
    "rotary": lambda positions: RotaryPositions(4)(torch.ones(1, 1, 2, 4), positions),
}


@pytest.mark.parametrize("kind", POSITIONS)
def test_positions_count_from_zero(kind: str) -> None:
    with pytest.raises(ValueError, match="positions count from 0, got -1"):
        POSITIONS[kind](torch.tensor([3, -1]))


def test_positions_longer_than_a_learned_table() -> None:
    with pytest.raises(ValueError, match="position 6 asked for, but this model has 6 learned positions"):
        POSITIONS["learned"](torch.tensor([3, 6]))


def test_positions_of_other_queries() -> None:
    for shape in ((2,), (3, 3), (2, 2), (1, 1, 3)):
        for mask in (None, Mask.causal()):
            with pytest.raises(ValueError, match="positions of 3 queries in 2 rows are T or B×T, got "):
                attend(HEADS, HEADS, HEADS, mask, positions=torch.zeros(shape, dtype=torch.long))


def test_tensors_of_several_types() -> None:
    """Compiled code would read one as the other."""
    with pytest.raises(ValueError, match=r"of one type on one device, got torch\.float32 on cpu, torch\.float64"):
        attend(HEADS, HEADS.double(), HEADS)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Scoring(position=SinusoidalPositions(64)), "position wants a .*, got SinusoidalPositions"),
        (lambda: Scoring(span=ALiBi(2)), "span wants a AdaptiveSpan, got ALiBi"),
        (lambda: Scoring(similarity="dot"), "similarity wants a Similarity, got str"),
        (lambda: Scoring(normaliser="softmax"), "normaliser wants a function"),
        (lambda: Mask.window(1.5, 0), "left as a whole number of positions, got 1.5"),
        (lambda: Mask.window(0, True), "right as a whole number"),
        (lambda: Mask.padding([1, 2]), "lengths as a tensor, got list"),
        (lambda: Mask.boolean([[True]]), "allowed as a tensor, got list"),
        (lambda: Mask.documents([1, 1]), "ids as a tensor, got list"),
    ],
)
def test_things_of_another_kind(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_positions_are_whole_numbers() -> None:
    x = torch.randn(1, 2, 3, 32)
    with pytest.raises(ValueError, match=r"positions are whole numbers, got torch\.float32"):
        attend(x, x, x, Mask.causal(), positions=torch.arange(3.0))

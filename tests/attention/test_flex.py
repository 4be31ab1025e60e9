"""FlexAttention against the reference, forward, as PyTorch's plain implementation and compiled."""

from typing import Any

import pytest
import torch
from torch import Tensor

from regard.attention import (
    AdaptiveSpan,
    ALiBi,
    Bilinear,
    Cosine,
    Mask,
    ScaledDot,
    Scoring,
    T5Bias,
    attend,
    which_kernel,
)
from regard.attention.flex import flex_attention

EXACT = {"atol": 1e-10, "rtol": 0.0}
H, K = 2, 16
MASKS: dict[str, Mask | None] = {
    "none": None,
    "causal": Mask.causal(),
    "window & padding": Mask.window(3, 1) & Mask.padding(torch.tensor([0, 9])),
    "prefix | causal": Mask.prefix(torch.tensor([2, 5])) | Mask.causal(),
    "documents": Mask.documents(torch.arange(12)[None] // torch.tensor([[4], [5]])),
    "boolean": Mask.boolean(torch.arange(9)[:, None] % 3 != torch.arange(12) % 3),
}
SCORINGS: dict[str, Scoring] = {
    "plain": Scoring(),
    "scale": Scoring(ScaledDot(0.7)),
    "T5": Scoring(position=T5Bias(H, bidirectional=True, num_buckets=8, max_distance=9)),
    "cosine, ALiBi": Scoring(Cosine(H), position=ALiBi(H)),
    "bilinear, ALiBi, span": Scoring(Bilinear(H, K), position=ALiBi(H), span=AdaptiveSpan(H, 6, ramp=3)),
}


@pytest.fixture(autouse=True)
def _no_gradients() -> Any:
    with torch.no_grad():
        yield


def problem(num_queries: int, num_keys: int, groups: int = H) -> tuple[Tensor, Tensor, Tensor]:
    query = torch.randn(2, H, num_queries, K, dtype=torch.float64)
    key, value = torch.randn(2, 2, groups, num_keys, K, dtype=torch.float64)
    return query, key, value


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize(
    ("mask", "scoring", "positions"),
    [
        ("none", "cosine, ALiBi", False),
        ("causal", "plain", False),
        ("causal", "T5", True),
        ("window & padding", "bilinear, ALiBi, span", False),
        ("prefix | causal", "scale", True),
        ("documents", "T5", False),
        ("boolean", "cosine, ALiBi", True),
    ],
)
def test_as_the_reference(mask: str, scoring: str, positions: bool) -> None:
    made, rule = SCORINGS[scoring].double(), MASKS[mask]
    torch.nn.init.normal_(made.position.table) if isinstance(made.position, T5Bias) else None
    given = problem(9, 12, groups=1 if scoring == "plain" else H)
    at = torch.randint(0, 12, (2, 9)) if positions else None
    view = None if rule is None else rule.view(9, 12, torch.device("cpu"), at)
    found = flex_attention(*given, view, made, compiled=False)
    expected = attend(*given, rule, made, positions=at, kernel="reference")
    torch.testing.assert_close(found, expected, **EXACT)


@pytest.mark.soak  # the compiler takes a minute
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of PyTorch's compiler, about PyTorch
def test_compiled() -> None:
    """What runs where the kernel is asked for by name; it compiles once for the mask and once for the rest."""
    given, mask = [t.float() for t in problem(160, 160)], Mask.causal() & Mask.window(20, 0)
    found = attend(*given, mask, Scoring(position=ALiBi(H)), kernel="flex")
    expected = attend(*given, mask, Scoring(position=ALiBi(H)), kernel="reference")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0.0)


def test_it_is_taken_by_name_only() -> None:
    choice = which_kernel(device="cpu", dtype=torch.float32, num_queries=9, num_keys=9, training=True)
    assert choice.others["flex"] == "it has no backward pass on a CPU"
    choice = which_kernel(device="cuda", dtype=torch.float32, num_queries=9, num_keys=9, training=True)
    assert "ask for it with kernel='flex'" in choice.others["flex"]
    query = torch.ones(1, 1, 4, 8, requires_grad=True)
    with torch.enable_grad(), pytest.raises(ValueError, match="the flex kernel cannot do this: it has no backward"):
        attend(query, query, query, kernel="flex")

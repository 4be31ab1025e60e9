"""The cases that PyTorch tests its own attention with, from its own generators."""

import importlib
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import Mask, MultiHeadAttention, ScaledDot, Scoring, attend
from regard.attention.kernels import explicit_attention, sdpa_attention
from regard.attention.scoring import PLAIN

EXACT = {"atol": 1e-10, "rtol": 0.0}


def cases(name: str) -> Any:
    """One of PyTorch's modules of test cases."""
    with warnings.catch_warnings():  # of what it imports for other cases
        warnings.simplefilter("ignore")
        return importlib.import_module(f"torch.testing._internal.{name}")


def gradients(output: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    probe = torch.linspace(-1, 1, output.numel(), dtype=output.dtype).view_as(output)
    return torch.autograd.grad(output, inputs, probe, retain_graph=True)


def assert_same(found: Tensor, expected: Tensor, inputs: tuple[Tensor, ...]) -> None:
    """Output and gradients."""
    torch.testing.assert_close(found, expected, **EXACT)
    for one, other in zip(gradients(found, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one, other, **EXACT)


@pytest.mark.parametrize("kernel", ["auto", "reference", "explicit", "sdpa"])
def test_scaled_dot_product_attention(kernel: Any) -> None:
    """With and without heads, broadcast, causal from the first key on, and with numbers added to the scores."""
    seen = set()
    invocations = cases("common_methods_invocations")
    for case in invocations.sample_inputs_scaled_dot_product_attention(None, "cpu", torch.float64, True):
        inputs = (case.input, *case.args)
        settings = {**case.kwargs, "dropout_p": 0.0}  # what is dropped is drawn by each in its own way
        expected = F.scaled_dot_product_attention(*inputs, **settings)
        whole = [t if t.dim() == 4 else t[:, None] if len(expected.shape) == 3 else t[None] for t in inputs]
        rows = max(len(t) for t in whole)
        query, key, value = (t.expand(rows, -1, -1, -1) for t in whole)
        added = settings.get("attn_mask")
        seen.add((len(inputs[0].shape), settings["is_causal"], added is not None))
        if added is not None:
            run = {"explicit": explicit_attention, "sdpa": sdpa_attention}.get(kernel)
            if run is None:
                continue
            found = run(query, key, value, None, PLAIN, added)
        else:
            num_queries = query.shape[2]
            mask = Mask.causal() if settings["is_causal"] else None
            found = attend(query, key, value, mask, positions=torch.arange(num_queries), kernel=kernel)
        assert_same(found.view_as(expected), expected, inputs)
    assert len(seen) == 5


def test_efficient_attention() -> None:
    """Causal from the first key on and up to the last one, with and without a scale."""
    seen = set()
    invocations = cases("common_methods_invocations")
    for case in invocations.sample_inputs_efficient_attention_forward(None, "cpu", torch.float64, True):
        inputs = (case.input, *case.args)
        query, key, value = (t.transpose(1, 2) for t in inputs)
        from_the_first = case.kwargs["custom_mask_type"] == 1
        shape = (query.shape[2], key.shape[2])
        allowed = torch.ones(shape, dtype=torch.bool).tril(0 if from_the_first else shape[1] - shape[0])
        expected = F.scaled_dot_product_attention(query, key, value, allowed, scale=case.kwargs["scale"])
        positions = torch.arange(shape[0]) if from_the_first else None
        scoring = Scoring(ScaledDot(case.kwargs["scale"]))
        for kernel in ("reference", "explicit", "sdpa"):
            found = attend(query, key, value, Mask.causal(), scoring, positions=positions, kernel=kernel)  # type: ignore[arg-type]
            assert_same(found, expected, inputs)
        seen.add((from_the_first, case.kwargs["scale"]))
    assert len(seen) == 4


def test_multihead_attention() -> None:
    """With and without biases and masks; learned or zero keys at the end are no part of ours."""
    info = next(info for info in cases("common_modules").module_db if info.module_cls is nn.MultiheadAttention)
    count = 0
    for case in info.module_inputs_func(info, "cpu", torch.float64, True, True):
        made = case.constructor_input.kwargs
        if made["add_bias_kv"] or made["add_zero_attn"]:
            continue
        theirs = nn.MultiheadAttention(**made).double()
        with torch.no_grad():
            for parameter in theirs.parameters():
                parameter.copy_(2 * torch.randn_like(parameter))
        ours = MultiHeadAttention(made["embed_dim"], made["num_heads"], bias=made["bias"]).double()
        with torch.no_grad():
            for name, part in zip(("query", "key", "value"), theirs.in_proj_weight.chunk(3), strict=True):
                getattr(ours, name).weight.copy_(part)
            ours.out.weight.copy_(theirs.out_proj.weight)
            if made["bias"]:
                for name, part in zip(("query", "key", "value"), theirs.in_proj_bias.chunk(3), strict=True):
                    getattr(ours, name).bias.copy_(part)
                ours.out.bias.copy_(theirs.out_proj.bias)
        (query, key, value), masks = case.forward_input.args, case.forward_input.kwargs
        expected, weights = theirs(query, key, value, **masks, average_attn_weights=False)
        mask: Mask | None = None
        for table in (masks["key_padding_mask"], masks["attn_mask"]):
            if table is not None:  # theirs says what may not be attended to, and in these cases all rows say the same
                allowed = ~table.reshape(-1, table.shape[-1])[:1]
                mask = Mask.boolean(allowed) if mask is None else mask & Mask.boolean(allowed)
        projected = ours.key(key[None]), ours.value(value[None])
        memory = tuple(t.unflatten(-1, (made["num_heads"], -1)).transpose(1, 2) for t in projected)
        found = ours(query[None], memory, mask)
        assert_same(found[0], expected, (query, key, value))
        torch.testing.assert_close(ours.weights(query[None], memory, mask)[0], weights, **EXACT)
        count += 1
    assert count == 16

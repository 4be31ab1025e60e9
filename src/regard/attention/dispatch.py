"""Which kernel a call takes, and why: by what each can do, and by the measurements in :mod:`.measured`."""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from regard.attention.dropout import Dropout
from regard.attention.kernels import Kernel, block_width, blocked_attention, explicit_attention, sdpa_attention
from regard.attention.mask import Mask, check_mask
from regard.attention.measured import limits
from regard.attention.reference import reference_attention
from regard.attention.scoring import PLAIN, Scoring
from regard.attention.tiled import TYPES, WIDTHS, tiled_attention
from regard.attention.view import MaskView
from regard.base.errors import did_you_mean
from regard.base.kernels import training_kernels

KernelName = Literal["auto", "reference", "explicit", "tiled", "sdpa", "blocked", "flex"]
KERNELS: tuple[str, ...] = get_args(KernelName)[1:]


class KernelChoice(NamedTuple):
    """Which kernel runs, why, and why the others do not."""

    kernel: str
    reason: str
    others: dict[str, str]


class Call(NamedTuple):
    """What the choice of a kernel depends on."""

    device: str
    """Type of the device, such as ``cpu`` or ``cuda``."""
    dtype: torch.dtype
    """Of queries, keys and values."""
    num_queries: int
    """T."""
    num_keys: int
    """S."""
    training: bool
    """Whether gradients are wanted."""
    dropout: bool = False
    """Whether weights are dropped."""
    widths: tuple[int, int] = (64, 64)
    """K and V."""
    num_matrices: int = 1
    """B·H, how many such problems there are at once."""
    need_weights: bool = False
    """Whether the weights are wanted, as by :meth:`MultiHeadAttention.weights`."""
    mask: Mask | None = None
    """Who may attend to whom; None where everyone may attend to everyone."""
    at_end: bool = True
    """Whether the queries are the last of the keys, one after the other."""
    scoring: Scoring = PLAIN
    """Similarity, normaliser and position."""


_NOT_AT_END = "the queries are not the last of the keys, one after the other"
_NEEDS_A_TABLE = "it would need a table of T×S numbers for a term that looks at the queries"


def _refuses_reference(call: Call) -> str | None:
    return "it has no dropout" if call.dropout else None


def _refuses_explicit(call: Call) -> str | None:
    return "it does not return the weights" if call.need_weights else None


def _refuses_tiled(call: Call) -> str | None:
    if call.device != "cpu" or call.dtype not in TYPES:
        return "it computes in float32 and bfloat16, on a CPU"
    if call.dropout:
        return "it has no dropout"
    if any(term.needs_query for term in call.scoring.terms):
        return _NEEDS_A_TABLE
    if call.scoring.terms and not call.at_end:
        return _NOT_AT_END
    if any(width % WIDTHS for width in call.widths):
        return f"head widths must be multiples of {WIDTHS}"
    if training_kernels() is None:
        return "its compiled part is not there, or this processor has no AVX-512 for it"
    if torch.compiler.is_compiling():
        return "PyTorch's compiler cannot see into it"
    return _refuses_sdpa(call)


def _refuses_sdpa(call: Call) -> str | None:
    return _refuses_explicit(call) or call.scoring.unfused


def _refuses_blocked(call: Call) -> str | None:
    reach = (None, None) if call.mask is None else call.mask.reach
    if None in reach:
        return "the mask is no window: some query may look as far as it likes"
    if not call.at_end or call.num_queries > call.num_keys or not call.num_queries:
        return _NOT_AT_END
    return _refuses_explicit(call)


def _refuses_flex(call: Call) -> str | None:
    if call.dropout:
        return "it has no dropout"
    if call.training and call.device == "cpu":
        return "it has no backward pass on a CPU"
    if any(term.needs_query for term in call.scoring.terms):
        return _NEEDS_A_TABLE
    return _refuses_sdpa(call)


_REFUSALS: dict[str, Callable[[Call], str | None]] = {
    "reference": _refuses_reference,
    "explicit": _refuses_explicit,
    "tiled": _refuses_tiled,
    "sdpa": _refuses_sdpa,
    "blocked": _refuses_blocked,
    "flex": _refuses_flex,
}


def choose(call: Call) -> tuple[str, str]:
    """The kernel for a call, and the reason: the first rule that fits."""
    if call.need_weights:
        return "reference", "the weights are wanted, and the other kernels do not return them"
    if _is_for_tiles(call) and _refuses_tiled(call) is None:
        what = "in training" if call.training else f"for {call.num_queries} queries of {call.num_matrices} matrices"
        return "tiled", f"compiled for this processor, and never holds T×S numbers: the fastest {what}"
    if _is_narrow(call) and _refuses_blocked(call) is None:
        return "blocked", f"of {call.num_keys} keys, a query sees at most {_window(call)}"
    refusal = call.scoring.unfused
    if refusal is not None:
        return "explicit", refusal
    if call.dtype == torch.float64:
        return "explicit", "float64 is for checking: sdpa cannot be differentiated twice"
    if call.device != "cpu":
        return "sdpa", f"never holds the {call.num_queries}×{call.num_keys} weights, as explicit does"
    return _choose_on_cpu(call)


def _choose_on_cpu(call: Call) -> tuple[str, str]:
    """Explicit or sdpa."""
    if call.dropout or call.widths[0] != call.widths[1]:
        reason = "with dropout" if call.dropout else "where V is not K"
        return "explicit", f"on a CPU, sdpa writes the weights out as well {reason}"
    if call.training and call.scoring.terms:
        return "explicit", "on a CPU, sdpa writes the weights out as well where what is added to the scores is learned"
    limit = limits(call.dtype)
    if call.training:
        most, name = limit.explicit_training, str(call.dtype).removeprefix("torch.")
        if call.num_keys <= most:
            return "explicit", f"faster than sdpa up to {most} keys, training in {name} on a CPU"
        return "sdpa", f"faster than explicit above {most} keys, training in {name} on a CPU"
    if call.num_matrices >= limit.many_matrices and call.num_keys <= limit.many_keys:
        return "explicit", f"faster than sdpa for {call.num_matrices} matrices of {call.num_keys} keys on a CPU"
    return "sdpa", f"never holds the {call.num_queries}×{call.num_keys} weights, as explicit does"


def _is_for_tiles(call: Call) -> bool:
    """Whether the compiled kernel, where it can do it, is the fastest."""
    limit, rows = limits(call.dtype), call.num_matrices * call.num_queries
    if call.training:
        return call.num_keys >= limit.tiled_training
    return call.num_queries >= limit.tiled_queries and rows >= limit.tiled_rows


def _window(call: Call) -> int:
    """How many keys a query sees at most, behind a window."""
    assert call.mask is not None
    return sum(side for side in call.mask.reach if side is not None) + 1


def _is_narrow(call: Call) -> bool:
    """Whether a window is so narrow that blocks pay."""
    if call.mask is None or None in call.mask.reach or call.num_queries == 1:
        return False
    limit = limits(call.dtype)
    return call.num_keys >= limit.blocked_keys and call.num_keys >= limit.blocked_ratio * _window(call)


def which_kernel(
    *,
    device: str,
    dtype: torch.dtype,
    num_queries: int,
    num_keys: int,
    training: bool,
    dropout: bool = False,
    widths: tuple[int, int] = (64, 64),
    need_weights: bool = False,
    num_matrices: int = 1,
    mask: Mask | None = None,
    at_end: bool = True,
    scoring: Scoring = PLAIN,
) -> KernelChoice:
    """Say which kernel :func:`attend` takes for such a call, and why not another; arguments as in :class:`Call`."""
    check_mask(mask)
    call = Call(
        device,
        dtype,
        num_queries,
        num_keys,
        training,
        dropout,
        widths,
        num_matrices,
        need_weights,
        mask,
        at_end,
        scoring,
    )
    kernel, reason = choose(call)
    others = {name: _REFUSALS[name](call) or _DEFAULTS[name] for name in KERNELS if name != kernel}
    return KernelChoice(kernel, reason, others)


#: Why a kernel that could do it is not taken.
_DEFAULTS = {
    "reference": "it is the specification, and slow",
    "explicit": "it holds the T×S weights",
    "tiled": "it could, but is slower here",
    "sdpa": "it could, but is slower here",
    "blocked": "it could, but the window is too wide, or the keys too few, for blocks to pay",
    "flex": "it could, once compiled; ask for it with kernel='flex'",
}


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask | None = None,
    scoring: Scoring = PLAIN,
    *,
    positions: Tensor | None = None,
    first_key: int = 0,
    dropout: Dropout | None = None,
    kernel: KernelName = "auto",
) -> Tensor:
    """Attention over heads: normalise(similarity(Q, K) + terms of the distance) V.

    Args:
        query: B×H×T×K.
        key: B×G×S×K, where G divides H: consecutive H / G heads of queries share one of keys.
        value: B×G×S×V; V may differ from K.
        mask: which keys each query may attend to; None for all.
        scoring: similarity, normaliser and position; default the scaled dot product under a softmax.
        positions: T or B×T absolute positions of the queries, for masks and terms that depend
            on them. Default: the last T of S.
        first_key: position of the first key, where a cache has dropped those before.
        dropout: on the weights, while it is in training mode (sdpa takes its rate and
            draws its own masks).
        kernel: ``auto`` to choose by :func:`which_kernel`.

    Returns:
        B×H×T×V. A query that may attend to nothing gets zeros.

    Raises:
        ValueError: shapes that do not fit together, an unknown kernel, or one that
            cannot do what is asked of it.
    """
    _check_shapes(query, key, value)
    check_mask(mask)
    if mask is not None and mask.rows not in (1, len(query)):
        raise ValueError(f"the mask has {mask.rows} rows, but there are {len(query)} rows of queries")
    num_queries, num_keys = query.shape[2], key.shape[2]
    if positions is not None:
        _check_positions(positions, len(query), num_queries)
    view = None if mask is None else mask.view(num_queries, num_keys, query.device, positions, first_key=first_key)
    call = Call(
        query.device.type,
        value.dtype,  # autocasting may have widened queries and keys
        num_queries,
        num_keys,
        torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value)),
        dropout is not None and dropout.training and dropout.rate > 0,
        (query.shape[-1], value.shape[-1]),
        query.shape[0] * query.shape[1],
        False,
        mask,
        positions is None,
        scoring,
    )
    if kernel == "auto":
        kernel = choose(call)[0]  # type: ignore[assignment]
    elif kernel not in _REFUSALS:
        raise ValueError(f"unknown kernel '{kernel}'.{did_you_mean(kernel, ('auto', *KERNELS))}")
    elif (refusal := _REFUSALS[kernel](call)) is not None:
        raise ValueError(f"the {kernel} kernel cannot do this: {refusal}")
    return _run(kernel, query, key, value, view, call, positions, first_key, dropout if call.dropout else None)


def _named(name: str) -> Kernel:
    return {"explicit": explicit_attention, "sdpa": sdpa_attention}[name]


def _run(
    kernel: str,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    view: MaskView | None,
    call: Call,
    positions: Tensor | None,
    first_key: int,
    dropout: Dropout | None,
) -> Tensor:
    scoring = call.scoring
    if kernel == "blocked":
        assert view is not None
        inner = _named(_block_kernel(call))
        return blocked_attention(query, key, value, view, scoring, inner, dropout)
    if kernel == "tiled":
        return tiled_attention(query, key, value, view, scoring)
    if kernel == "flex":
        from regard.attention.flex import flex_attention

        return flex_attention(query, key, value, view, scoring)
    at = None if positions is None else (positions if positions.dim() == 2 else positions[None]) - first_key
    if kernel == "reference":
        return reference_attention(query, key, value, view, scoring, at)[0]
    added = None
    if scoring.terms and at is None:
        added = scoring.added(query, call.num_keys)
    elif scoring.terms and at is not None:
        added = scoring.added_at(query, at, torch.arange(call.num_keys, device=query.device))
    return _named(kernel)(query, key, value, view, scoring, added, dropout)


def _block_kernel(call: Call) -> str:
    """The kernel for the blocks of a window."""
    if call.scoring.unfused is not None or call.dtype == torch.float64:
        return "explicit"
    if call.device != "cpu":
        return "sdpa"
    assert call.mask is not None
    left, right = call.mask.reach
    return _choose_on_cpu(call._replace(num_keys=block_width(left or 0, right or 0) + _window(call) - 1))[0]


def _check_shapes(query: Tensor, key: Tensor, value: Tensor) -> None:
    fit = query.dim() == key.dim() == value.dim() == 4 and query.shape[-1] == key.shape[-1]
    if not fit or key.shape[:3] != value.shape[:3] or len(query) != len(key) or _misfit(query.shape[1], key.shape[1]):
        raise ValueError(
            "attention wants query B×H×T×K, key B×G×S×K and value B×G×S×V, where G divides H, got "
            f"{tuple(query.shape)}, {tuple(key.shape)}, {tuple(value.shape)}"
        )
    same = query.dtype == key.dtype == value.dtype and query.device == key.device == value.device
    if not same and not torch.is_autocast_enabled(query.device.type):
        kinds = ", ".join(f"{x.dtype} on {x.device}" for x in (query, key, value))
        raise ValueError(f"attention wants query, key and value of one type on one device, got {kinds}")


def _check_positions(positions: Tensor, rows: int, num_queries: int) -> None:
    if positions.is_floating_point() or positions.dtype == torch.bool:
        raise ValueError(f"positions are whole numbers, got {positions.dtype}")
    fit = positions.dim() in (1, 2) and positions.shape[-1] == num_queries
    if not fit or (positions.dim() == 2 and len(positions) not in (1, rows)):
        raise ValueError(
            f"positions of {num_queries} queries in {rows} rows are T or B×T, got {tuple(positions.shape)}"
        )


def _misfit(num_heads: int, groups: int) -> bool:
    return num_heads != groups and (not groups or num_heads % groups != 0)

"""AdamW (Loshchilov and Hutter 2019) over float32 master weights.

Where the model computes in bf16, its weights are bf16 too (nothing is cast in the
forward pass), and the optimiser owns the float32 weights they are rounded from
(Micikevicius et al. 2018). A step moves the masters and rounds them once.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

Adjust = Callable[[Mapping[str, Tensor], Mapping[str, Tensor]], None]


class MasterAdamW:
    """AdamW on float32 copies of the trainable parameters of ``model``."""

    def __init__(
        self,
        model: nn.Module,
        *,
        betas: tuple[float, float],
        eps: float,
        weight_decay: float,
        clip: float,
        factors: Mapping[str, float] | None = None,
    ):
        """
        Args:
            model: its parameters that require gradients are optimised; float32 ones in place.
            weight_decay: applied to parameters of two or more dimensions.
            clip: largest gradient norm, 0 for none.
            factors: on the learning rate of single parameters, by name; 1 for the others.
        """
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        self.names = [name for name, _ in named]
        self.parameters = [p for _, p in named]
        self.masters = [p if p.dtype == torch.float32 else p.detach().float() for p in self.parameters]
        self.clip = clip
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, master in zip(self.names, self.masters, strict=True):
            decay, factor = weight_decay if master.dim() >= 2 else 0.0, (factors or {}).get(name, 1.0)
            groups.setdefault((decay, factor), []).append(master)
        settings = [{"params": p, "weight_decay": d, "factor": f} for (d, f), p in groups.items()]
        self.adamw = torch.optim.AdamW(settings, lr=0.0, betas=betas, eps=eps, fused=True)

    @torch.no_grad()
    def add(self, gradients: Sequence[Tensor | None]) -> None:
        """Add float32 gradients, one a parameter, to what the next step consumes."""
        for master, gradient in zip(self.masters, gradients, strict=True):
            if gradient is not None:
                master.grad = gradient if master.grad is None else master.grad.add_(gradient)

    def step(self, rate: float, adjust: Adjust | None = None) -> float:
        """Take one step at learning rate ``rate``; gradients are consumed. Returns their norm before clipping.

        A norm that is not finite leaves everything as it was.

        Args:
            rate: the learning rate.
            adjust: called after the step, before rounding, with the float32 weights, which it may change in place,
                and the (clipped) gradients, both by parameter name.
        """
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                if parameter.grad is not None:
                    master.grad = parameter.grad.float()
                parameter.grad = None
        norm = torch.nn.utils.get_total_norm([m.grad for m in self.masters if m.grad is not None])
        size = float(norm)
        if math.isfinite(size):
            if self.clip and size + 1e-6 > self.clip:  # else clipping would be a pass over memory that multiplies by 1
                torch.nn.utils.clip_grads_with_norm_(self.masters, self.clip, norm)
            for group in self.adamw.param_groups:
                group["lr"] = rate * group["factor"]
            self.adamw.step()
            if adjust is not None:
                masters = dict(zip(self.names, self.masters, strict=True))
                adjust(self.weights(), {name: m.grad for name, m in masters.items() if m.grad is not None})
            self._round()
        self.adamw.zero_grad(set_to_none=True)
        return size

    @torch.no_grad()
    def _round(self) -> None:
        """Round the masters into the parameters, where these are of another precision."""
        for parameter, master in zip(self.parameters, self.masters, strict=True):
            if parameter is not master:
                parameter.copy_(master)

    @torch.no_grad()
    def publish(self, weights: Mapping[str, Tensor]) -> None:
        """Copy ``weights`` into the model's parameters; float32 parameters are the masters themselves."""
        for name, parameter in self.named_parameters():
            parameter.copy_(weights[name])

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """The model's parameters that are optimised."""
        return zip(self.names, self.parameters, strict=True)

    def weights(self) -> dict[str, Tensor]:
        """The float32 weights by parameter name."""
        return {name: master.detach() for name, master in zip(self.names, self.masters, strict=True)}

    def state_dict(self) -> dict[str, Tensor]:
        """Moments and step counts by parameter name."""
        state = {}
        for name, master in zip(self.names, self.masters, strict=True):
            for key, value in self.adamw.state[master].items():
                state[f"{key}.{name}"] = value
        return state

    @torch.no_grad()
    def load_state_dict(self, weights: dict[str, Tensor], state: dict[str, Tensor]) -> None:
        """Restore masters and moments; tensors are copied, never shared."""
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(weights[name])
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"{key}.{name}" in state]
            entries = {key: state[f"{key}.{name}"].to(master.device, copy=True) for key in keys}
            if entries:
                self.adamw.state[master] = entries
        self._round()


class MovingAverage:
    """Exponential moving average of the weights (Polyak and Juditsky 1992), quicker over the first steps."""

    def __init__(self, weights: dict[str, Tensor], decay: float):
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in weights.items()}

    @torch.no_grad()
    def update(self, weights: dict[str, Tensor], step: int) -> None:
        """Move towards ``weights`` after optimiser step ``step``."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in self.values.items():
            value.lerp_(weights[name], 1 - decay)

    @torch.no_grad()
    def load_state_dict(self, values: dict[str, Tensor]) -> None:
        """Go on from another's average; tensors are copied, never shared."""
        for name, value in self.values.items():
            value.copy_(values[name])

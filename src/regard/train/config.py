"""How to train, as a frozen dataclass."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from regard.base.errors import ConfigError


@dataclass(frozen=True)
class ScheduleConfig:
    """The learning rate over time."""

    kind: Literal["inverse_sqrt", "cosine", "constant"] = "inverse_sqrt"
    """After the warm-up: ∝ step^-½ (Vaswani et al. 2017), half a cosine to the last step, or constant."""
    peak: float = 1e-3
    """Learning rate at the end of the warm-up."""
    warmup: int = 1000
    """Steps of linear increase from 0."""
    cooldown: int = 0
    """Last steps during which the rate falls linearly to 0, on top of ``kind``; needs ``steps``."""
    minimum: float = 0.0
    """Where the cosine ends."""

    def __post_init__(self) -> None:
        if not 0 < self.peak < math.inf:
            raise ConfigError(f"peak is {self.peak}; a learning rate is positive.")
        _check_range(self, warmup=(0, math.inf), cooldown=(0, math.inf), minimum=(0, self.peak))
        if self.minimum and self.kind != "cosine":
            raise ConfigError(f"minimum is where the cosine ends; it has no effect with kind: {self.kind}.")
        if self.minimum and self.cooldown:
            raise ConfigError("with cooldown the rate ends at 0, whatever the minimum; set one of the two.")


@dataclass(frozen=True)
class StoppingConfig:
    """When validation says that it is enough."""

    metric: str = "loss"
    """What to watch: loss (lower is better), bleu or chrf (higher is better)."""
    patience: int = 0
    """Validations without improvement before stopping; 0 never stops early."""
    min_delta: float = 0.0
    """Improvement smaller than this does not count."""

    def __post_init__(self) -> None:
        _check_range(self, patience=(0, math.inf), min_delta=(0, math.inf))
        if self.min_delta and not self.patience:
            raise ConfigError("min_delta has no effect without patience.")


@dataclass(frozen=True)
class PrivacyConfig:
    """Differential privacy: how much single examples may show in the weights (:mod:`regard.train.privacy`)."""

    examples: int
    """Examples of a step on average, in place of ``tokens``; large lots learn most for their price."""
    epsilon: float = 0.0
    """Budget ε of the whole run; the noise that keeps to it is worked out. Needs ``steps``. 0: ``noise`` is given."""
    noise: float = 0.0
    """σ, standard deviation of the noise in units of ``clip``; 0: worked out from ``epsilon``."""
    delta: float = 1e-5
    """δ: chance that the promise does not hold; well below one over the number of examples."""
    clip: float = 1.0
    """C, largest norm of the gradient of one example."""

    def __post_init__(self) -> None:
        _check_range(self, examples=(1, math.inf), epsilon=(0, math.inf), noise=(0, math.inf))
        if bool(self.epsilon) == bool(self.noise):
            raise ConfigError("privacy: give one of epsilon (the budget) and noise.")
        if not 0 < self.delta < 1:
            raise ConfigError(f"delta is {self.delta}; it must lie between 0 and 1.")
        if not 0 < self.clip < math.inf:
            raise ConfigError(f"clip is {self.clip}; it must be positive.")


@dataclass(frozen=True)
class TrainConfig:
    """Everything the trainer needs to know."""

    steps: int = 0
    """Optimiser steps to take; 0 for no limit (then ``minutes`` or ``epochs`` must be set)."""
    minutes: float = 0.0
    """Stop after this many minutes of training, validation and checkpoints not counted; 0 for no limit."""
    epochs: int = 0
    """Stop after this many passes over the data; 0 for no limit."""
    tokens: int = 4096
    """Real target pieces in a micro-batch."""
    accumulate: int = 1
    """Micro-batches per optimiser step and process; the loss is normalised by the tokens of all of them."""
    label_smoothing: float = 0.1
    """ε of label smoothing."""
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """bf16 keeps float32 masters of bf16 weights; auto takes it where the hardware multiplies bf16."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    threads: int = 0
    """CPU threads of each process; 0 shares all cores between the processes of this machine."""
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    """The learning rate."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averaging."""
    eps: float = 1e-9
    """AdamW's ε."""
    weight_decay: float = 0.0
    """Decoupled weight decay (Loshchilov and Hutter 2019), on matrices only."""
    clip: float = 1.0
    """Largest gradient norm; 0 for no clipping."""
    privacy: PrivacyConfig | None = None
    """Differential privacy (extra regard[private]); none by default."""
    ema: float = 0.0
    """Decay of the exponential moving average of the weights, e.g. 0.999; 0 for none. Validation judges the average."""
    compile: bool = False
    """torch.compile the model (pays on a GPU; measured slower on two CPU cores)."""
    validate_every: int = 1000
    """Steps between validations; 0 for none."""
    checkpoint_every: int = 1000
    """Steps between checkpoints; one is also written at the end and on Ctrl-C or SIGTERM."""
    keep_last: int = 1
    """Checkpoints to keep, newest first; their weights can be averaged."""
    keep_best: int = 0
    """Weights to keep of the best validations by ``stopping.metric``."""
    final: Literal["last", "average_last", "average_best", "ema"] = "last"
    """Which weights become the model: the last, the mean of the kept last or best, or the moving average."""
    stopping: StoppingConfig = field(default_factory=StoppingConfig)
    """Early stopping."""
    log_every: int = 50
    """Steps between progress lines."""
    seed: int = 1
    """Seed of initialisation, order and dropout."""
    tensorboard: bool = True
    """Write TensorBoard events."""
    wandb: str = ""
    """Weights & Biases project to report to (extra regard[wandb]); empty for none."""

    def __post_init__(self) -> None:
        positive, natural = (1, math.inf), (0, math.inf)
        _check_range(self, tokens=positive, accumulate=positive, log_every=positive, checkpoint_every=positive)
        _check_range(self, steps=natural, minutes=natural, epochs=natural, threads=natural, seed=natural)
        _check_range(self, validate_every=natural, keep_best=natural, weight_decay=natural, clip=natural)
        if not (self.steps or self.minutes or self.epochs):
            raise ConfigError("training needs an end: set steps, minutes or epochs.")
        if (self.schedule.kind == "cosine" or self.schedule.cooldown) and not self.steps:
            raise ConfigError("schedule cosine and cooldown need to know the last step: set steps.")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas are {self.betas}; both lie in [0, 1).")
        if not 0 < self.eps < math.inf:
            raise ConfigError(f"eps is {self.eps}; it must be positive.")
        if not 0 <= self.label_smoothing < 1:
            raise ConfigError(f"label_smoothing lies in [0, 1), got {self.label_smoothing}.")
        if not 0.0 <= self.ema < 1.0:
            raise ConfigError(f"ema is a decay in [0, 1), got {self.ema}.")
        if self.privacy and self.accumulate > 1:
            raise ConfigError("accumulate has no effect with privacy: a step takes privacy.examples.")
        if self.privacy and self.privacy.epsilon and not self.steps:
            raise ConfigError("privacy.epsilon is the budget of a run of known length: set steps.")
        self._check_final()

    def _check_final(self) -> None:
        if self.keep_last < 1:
            raise ConfigError("keep_last must be at least 1: the newest checkpoint is what a run resumes from.")
        if (self.keep_best or self.stopping.patience) and not self.validate_every:
            raise ConfigError("keep_best and stopping.patience need validate_every.")
        if self.final == "ema" and not self.ema:
            raise ConfigError("final: ema needs ema, e.g. ema: 0.999.")
        if self.final == "average_last" and self.keep_last < 2:
            raise ConfigError("final: average_last needs keep_last of at least 2.")
        if self.final == "average_best" and not self.keep_best:
            raise ConfigError("final: average_best needs keep_best.")


def _check_range(config: Any, **ranges: tuple[float, float]) -> None:
    for name, (least, most) in ranges.items():
        value = getattr(config, name)
        if not (least <= value <= most and math.isfinite(value)):
            limit = f"at least {least:g}" + (f" and at most {most:g}" if math.isfinite(most) else "")
            raise ConfigError(f"{name} is {value}; it must be {limit}.")

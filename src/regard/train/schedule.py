"""The learning rate at each step."""

import math

from regard.train.config import ScheduleConfig


def learning_rate(step: int, config: ScheduleConfig, steps: int) -> float:
    """The rate of optimiser step ``step`` (counted from 1) in a run of ``steps`` (0 if unknown).

    Linear warm-up to ``peak``; then ∝ 1/√step (Vaswani et al. 2017, equation 3), a
    cosine to ``minimum`` (Loshchilov and Hutter 2017), or constant. The cool-down
    multiplies that by a line that would reach 0 one step after the last.
    """
    if step <= config.warmup:
        rate = config.peak * step / config.warmup
    elif config.kind == "inverse_sqrt":
        rate = config.peak * math.sqrt(max(config.warmup, 1) / step)
    elif config.kind == "cosine":
        progress = min(1.0, (step - config.warmup) / max(1, steps - config.warmup))
        rate = config.minimum + (config.peak - config.minimum) * 0.5 * (1 + math.cos(math.pi * progress))
    else:
        rate = config.peak
    cooldown = min(config.cooldown, steps)
    if cooldown and step > steps - cooldown:
        rate *= max(0.0, (steps - step + 1) / (cooldown + 1))
    return rate

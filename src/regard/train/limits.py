"""How long a run lasts: steps, minutes and passes over the data, whichever comes first."""

from regard.train.config import TrainConfig


def reached(config: TrainConfig, *, steps: int, minutes: float, epochs: float) -> str:
    """Which limit a run has come to, in words; empty where it has come to none."""
    if config.steps and steps >= config.steps:
        return f"all {config.steps:,} steps are taken (train.steps)"
    if config.minutes and minutes >= config.minutes:
        return f"{config.minutes:g} minutes have passed (train.minutes)"
    if config.epochs and epochs >= config.epochs:
        return f"the data was seen {config.epochs} times (train.epochs)"
    return ""


def remaining(config: TrainConfig, *, steps: int, seconds: float, epochs: float) -> tuple[float, float]:
    """Share of the run that is done and seconds that are left, by the limit that will be met first."""
    shares = [0.0]
    if config.steps:
        shares.append(steps / config.steps)
    if config.minutes:
        shares.append(seconds / 60 / config.minutes)
    if config.epochs:
        shares.append(epochs / config.epochs)
    share = max(shares)
    return share, seconds * (1 / share - 1) if 0 < share < 1 else 0.0

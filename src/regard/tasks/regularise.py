"""The section ``regularise`` of a preset: losses that make a model robust, and rounding that it should bear."""

import math
from dataclasses import dataclass

from regard.base.errors import ConfigError
from regard.model.objective import Adversarial, CrossEntropy, Objective, RDrop


@dataclass(frozen=True)
class RegulariseConfig:
    """What training asks of a model beside the right pieces. What is drawn on the data stands under ``data``."""

    r_drop: float = 0.0
    """α of R-Drop (Wu et al. 2021): two passes with other dropout masks should say the same. Such as 1 for tuning
    and 5 from random weights; doubles the work of a step."""
    adversarial: float = 0.0
    """Half of the loss at embeddings moved this far to where it grows fastest (Miyato et al. 2017), such as 1; doubles
    the work of a step."""
    int8: bool = False
    """Compute as the native engine does in int8, so that the weights bear its rounding (quantisation-aware training);
    goes with ``storage: int8``."""

    def __post_init__(self) -> None:
        for name in ("r_drop", "adversarial"):
            value = getattr(self, name)
            if not 0 <= value < math.inf:
                raise ConfigError(f"{name} is {value}; it cannot be negative.")

    def objective(self, inner: Objective) -> Objective:
        """The loss of a batch, given what it would be without this section."""
        if self.r_drop:
            assert isinstance(inner, CrossEntropy), "the preset has looked at what goes together"
            inner = RDrop(inner.label_smoothing, self.r_drop)
        return Adversarial(inner, self.adversarial) if self.adversarial else inner

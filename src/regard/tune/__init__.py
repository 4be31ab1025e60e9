"""Floor 3: methods that change a model in place and learn from little data.

An adapter is a few weights beside those of a model, which stay as they are. A model carries any number of them; each
can be switched off, weighed, chosen for single sentences of a batch, and saved as a folder of its own.

::

    attach(model, Lora(rank=8), "law")  # train what parameters_of(model, "law") gives
    weigh(model, {"law": 0.5})  # half of it
    merge(model)  # or part of the weights for good
"""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.tune.adalora import AdaLora as AdaLora
    from regard.tune.adalora import RankAllocator as RankAllocator
    from regard.tune.adapters import adapters_of as adapters_of
    from regard.tune.adapters import attach as attach
    from regard.tune.adapters import can_merge as can_merge
    from regard.tune.adapters import detach as detach
    from regard.tune.adapters import merge as merge
    from regard.tune.adapters import parameters_of as parameters_of
    from regard.tune.adapters import weigh as weigh
    from regard.tune.bias import Bias as Bias
    from regard.tune.bottleneck import Houlsby as Houlsby
    from regard.tune.bottleneck import Pfeiffer as Pfeiffer
    from regard.tune.folder import load_adapter as load_adapter
    from regard.tune.folder import save_adapter as save_adapter
    from regard.tune.lora import Lora as Lora
    from regard.tune.prefix import PrefixTuning as PrefixTuning
    from regard.tune.prompt import PromptTuning as PromptTuning

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "AdaLora": "adalora",
        "Bias": "bias",
        "Houlsby": "bottleneck",
        "Lora": "lora",
        "Pfeiffer": "bottleneck",
        "PrefixTuning": "prefix",
        "PromptTuning": "prompt",
        "RankAllocator": "adalora",
        "adapters_of": "adapters",
        "attach": "adapters",
        "can_merge": "adapters",
        "detach": "adapters",
        "load_adapter": "folder",
        "merge": "adapters",
        "parameters_of": "adapters",
        "save_adapter": "folder",
        "weigh": "adapters",
    },
)

"""Floor 3: search over a model. A request goes in, hypotheses come out."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.decode.engine import TorchEngine as TorchEngine
    from regard.decode.native_engine import NativeEngine as NativeEngine
    from regard.decode.request import Hypothesis as Hypothesis
    from regard.decode.request import Options as Options
    from regard.decode.request import Request as Request
    from regard.decode.request import Result as Result

__getattr__, __dir__, __all__ = lazy(
    __name__,
    {
        "Hypothesis": "request",
        "NativeEngine": "native_engine",
        "Options": "request",
        "Request": "request",
        "Result": "request",
        "TorchEngine": "engine",
    },
)

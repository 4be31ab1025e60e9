"""Floor 6: the translation server: an engine behind a queue, a store, three dialects of HTTP and a web page."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.serve.app import create_app as create_app
    from regard.serve.settings import Settings as Settings

__getattr__, __dir__, __all__ = lazy(__name__, {"Settings": "settings", "create_app": "app"})

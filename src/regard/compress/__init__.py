"""Floor 5: models made smaller, and models from and for other programs."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.compress.exporting import export_model as export_model
    from regard.compress.importing import import_model as import_model
    from regard.compress.quantise import compress_model as compress_model

__getattr__, __dir__, __all__ = lazy(
    __name__, {"compress_model": "quantise", "export_model": "exporting", "import_model": "importing"}
)

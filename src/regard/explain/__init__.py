"""Floor 5: attention seen: pictures and figures of what a model looked at."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.explain.alignment import Panel as Panel
    from regard.explain.alignment import alignment_svg as alignment_svg
    from regard.explain.alignment import panels as panels

__getattr__, __dir__, __all__ = lazy(
    __name__, {"Panel": "alignment", "alignment_svg": "alignment", "panels": "alignment"}
)

"""Floor 4: what joins tokenisers, models, search and training to do a job; each task is one file."""

from typing import TYPE_CHECKING

from regard.base.lazy import lazy

if TYPE_CHECKING:
    from regard.tasks.translated import Translation as Translation
    from regard.tasks.translation import Translator as Translator

__getattr__, __dir__, __all__ = lazy(__name__, {"Translation": "translated", "Translator": "translation"})

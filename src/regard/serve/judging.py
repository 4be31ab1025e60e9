"""What the model thinks of translations that people wrote: how fluent they are, and whether they lead back."""

from typing import TYPE_CHECKING

from regard.serve.dispatch import Dispatcher
from regard.serve.errors import ServeError

if TYPE_CHECKING:
    from regard.tasks.fluency import Fluency

_SECONDS = 5.0


class Judge:
    """Asks the engine, if it has the time; what it cannot judge is not held against anybody."""

    def __init__(self, dispatcher: Dispatcher):
        self._dispatcher = dispatcher

    def fluency(self, text: str, translation: str, source: str, target: str) -> "Fluency | None":
        """How probable the model finds a translation.

        Returns:
            None where a side is empty or too long, where the model lacks the direction, or where the engine is not
            there or too busy.
        """
        from regard.tasks.fluency import fluency, say

        translator = self._dispatcher.translator
        if translator is None or (source, target) not in translator.directions:
            return None
        prepared = say(translator, text, translation, source, target)
        if prepared is None:
            return None
        try:
            job = self._dispatcher.submit(prepared, {0: prepared.requests[0]}, seconds=_SECONDS)
            return fluency(prepared, self._dispatcher.wait(job)[0], translation)
        except ServeError:
            return None

    def way_back(self, text: str, translation: str, source: str, target: str) -> float | None:
        """How probable the source is, as a translation of its translation: mean natural-log probability of a piece."""
        back = self.fluency(translation, text, target, source)
        return back.score if back else None

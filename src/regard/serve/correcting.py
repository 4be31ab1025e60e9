"""Corrections as they come in: what speaks against using one."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from regard.serve import filtering

if TYPE_CHECKING:
    from regard.serve.server import Server

#: Natural-log probability a piece of the source, given the correction. Below the first figure, and by the second below
#: what it is given the machine's translation, a correction is held back; where there is none of the machine's, below
#: the third. So are none of 600 good translations, and nine of ten of those of another sentence (docs/log.md).
_IMPROBABLE, _WORSE, _VERY_IMPROBABLE = -4.0, 2.0, -5.0


@dataclass(frozen=True)
class Corrected:
    """A source, what the machine made of it, and what a person made of that."""

    source: str
    target: str
    source_text: str
    machine_text: str
    text: str


def reasons_against(server: "Server", made: Corrected) -> list[str]:
    """Why a correction is not to be used until a person says so; empty where it is.

    To be called outside of a transaction: the engine is asked.
    """
    reasons = filtering.reasons_against(made.source_text, made.text, made.target, server.directions.codes)
    if not reasons and leads_elsewhere(server, made):
        reasons.append("round_trip")
    return reasons


def leads_elsewhere(server: "Server", made: Corrected) -> bool:
    """Whether the model, given the correction, finds the source improbable: more so by far than given the machine's."""
    back = server.judge.way_back(made.source_text, made.text, made.source, made.target)
    if back is None or back > _IMPROBABLE:
        return False
    machine = made.machine_text.strip()
    before = server.judge.way_back(made.source_text, machine, made.source, made.target) if machine else None
    return back < _VERY_IMPROBABLE if before is None else back < before - _WORSE

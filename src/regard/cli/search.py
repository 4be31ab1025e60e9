"""What the verbs that translate share: which model runs where, and how it searches."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from tyro.conf import UseAppendAction

from regard.base.errors import ConfigError

if TYPE_CHECKING:
    from regard.tasks.translation import Translator


@dataclass(frozen=True)
class ModelOptions:
    """Model and machine."""

    model: UseAppendAction[tuple[Path, ...]] = ()
    """Model folder; the model that ships with Regard by default. Given several times, an ensemble."""
    adapter: UseAppendAction[tuple[str, ...]] = ()
    """Adapter folder, made by regard tune for this model. Several are added up; FOLDER=0.5 takes half of one."""
    engine: Literal["auto", "native", "torch"] = "auto"
    """native (C++, on the CPU) or torch (any model on any device); auto takes the native one where it can."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    precision: Literal["auto", "fp32", "bf16", "int8"] = "auto"
    """Number format of the arithmetic; auto takes what is fastest here. int8: native engine; bf16: torch."""
    threads: int | None = None
    """CPU threads; as many as are of use by default."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}; it must be at least 1.")

    def load(self) -> "Translator":
        """Load the model, or the ensemble."""
        from regard.tasks.translation import Translator

        folders, shares = {}, {}
        for number, given in enumerate(self.adapter):
            name = f"adapter{number}"
            folders[name], shares[name] = _share_of(given)
        return Translator.from_pretrained(
            self.model or None,
            adapters=folders,
            shares=shares,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
        )


def _share_of(given: str) -> tuple[str, float]:
    """``FOLDER=0.5`` as folder and share; a folder may have = in its name."""
    folder, equals, share = given.rpartition("=")
    if not equals or Path(given).exists():
        return given, 1.0
    try:
        return folder, float(share)
    except ValueError:
        return given, 1.0


@dataclass(frozen=True)
class SearchOptions:
    """Search. What is left out is as the model's generation.json says, else plain greedy search."""

    beam: int | None = None
    """Hypotheses kept at each step; 1 is greedy search, the fastest."""
    length_penalty: float | None = None
    """Above 0 favours long translations, 1 is usual (Wu et al. 2016)."""
    coverage_penalty: float | None = None
    """Above 0 ranks down what left words of the source unattended."""
    no_repeat_ngram: int | None = None
    """No sequence of this many pieces occurs twice."""
    min_length: int | None = None
    """Least number of pieces of a sentence."""
    max_length: int | None = None
    """Most pieces of a sentence; twice the source and 20 more by default."""
    prefix: str | None = None
    """Every sentence's translation begins with this."""
    ban: tuple[str, ...] = ()
    """Words that must not occur in a translation."""
    sample: bool = False
    """Draw at random instead of searching for the best."""
    temperature: float | None = None
    """With --sample: below 1 is more careful, above 1 more daring."""
    top_k: int | None = None
    """With --sample: draw among this many most probable pieces."""
    top_p: float | None = None
    """With --sample: draw among the fewest pieces that make up this probability."""
    seed: int | None = None
    """With --sample: the same seed draws the same."""

    def __post_init__(self) -> None:
        if not self.sample:
            for name in ("temperature", "top_k", "top_p", "seed"):
                if getattr(self, name) is not None:
                    raise ConfigError(f"--{name.replace('_', '-')} has no effect without --sample.")
        elif self.beam is not None and self.beam > 1:
            raise ConfigError("--sample draws instead of searching; leave --beam out.")

    def options(self) -> dict[str, Any]:
        """What was given, as :meth:`regard.tasks.translation.Translator.translate` takes it."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        given["banned"] = given.pop("ban") or None
        given["sample"] = self.sample or None
        return {name: value for name, value in given.items() if value is not None}

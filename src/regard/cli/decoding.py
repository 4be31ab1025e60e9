"""What the verbs that translate share: which model runs where, and how it searches."""

from dataclasses import dataclass, fields, replace
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
    no_shortlist: bool = False
    """Choose among all pieces although the model has a shortlist (regard shortlist); slower."""

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise ConfigError(f"threads is {self.threads}; it must be at least 1.")

    def adapters(self) -> list[tuple[str, float]]:
        """Folder and share of each adapter."""
        return [_share_of(given) for given in self.adapter]

    def load(self) -> "Translator":
        """Load the model, or the ensemble."""
        from regard.tasks.translation import Translator

        folders, shares = {}, {}
        for number, (folder, share) in enumerate(self.adapters()):
            name = f"adapter{number}"
            folders[name], shares[name] = folder, share
        return Translator.from_pretrained(
            self.model or None,
            adapters=folders,
            shares=shares,
            engine=self.engine,
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            shortlist=not self.no_shortlist,
        )

    def for_given_text(self) -> "ModelOptions":
        """The same to score given text with: the PyTorch engine, and float32 unless bf16 was asked for."""
        return replace(self, engine="torch", precision="bf16" if self.precision == "bf16" else "fp32")

    def identity(self) -> dict[str, Any]:
        """What decides about a translation besides the search: files by their content, not by where they lie."""
        from regard.base.files import digest
        from regard.tasks.translation import shipped_model

        return {
            "model": [digest(Path(folder) / "model.safetensors") for folder in self.model or (shipped_model(),)],
            "adapters": [[digest(Path(f) / "adapter_model.safetensors"), share] for f, share in self.adapters()],
            "engine": self.engine,
            "precision": self.precision,
            "shortlist": not self.no_shortlist,
        }


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
    require: tuple[str, ...] = ()
    """Words that must occur in every translation, as they are written here."""
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
        given["required"] = given.pop("require") or None
        given["sample"] = self.sample or None
        return {name: value for name, value in given.items() if value is not None}

"""Search over hyperparameters with Optuna: runs of one preset with other settings each, bad ones given up early.

``journal.log`` in the output folder is Optuna's and holds all that is known; the run that was at work when the search
was interrupted goes on from its checkpoint. Only the folder of the best run so far is kept.
"""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, RegardError
from regard.base.files import write_atomic
from regard.tasks.preparation import Say
from regard.tasks.preset import Preset
from regard.tasks.translation_training import train
from regard.train.checkpoint import workplace
from regard.train.task import Task

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial, Trial


@dataclass(frozen=True)
class Range:
    """Where a setting is looked for: between two numbers, both included; whole ones where both are."""

    low: float | int
    """Least value."""
    high: float | int
    """Greatest value."""
    log: bool = False
    """Look evenly over orders of magnitude, as for learning rates."""
    step: float | int | None = None
    """Only every so many."""

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ConfigError(
                f"a range goes from a smaller number to a larger one, not from {self.low} to {self.high}."
            )
        if self.log and (self.low <= 0 or self.step is not None):
            raise ConfigError("a range over orders of magnitude begins above 0 and has no step.")


@dataclass(frozen=True)
class SearchConfig:
    """The section ``search`` of a preset."""

    ranges: dict[str, Any] = field(default_factory=dict)
    """By name of a setting, such as train.schedule.peak: a list of values, or a section with low, high, log, step."""
    trials: int = 20
    """Runs to begin, those that are given up included."""
    startup: int = 5
    """First runs, with settings drawn at random and not given up: what the others are compared with."""
    seed: int = 0
    """Seed of the draws."""

    def __post_init__(self) -> None:
        if self.trials < 1 or self.startup < 1:
            raise ConfigError("trials and startup must be at least 1.")
        for name, given in self.ranges.items():
            if not isinstance(given, list):
                from_dict(Range, given, f"ranges.{name}")
            elif len(given) < 2:
                raise ConfigError(f"ranges.{name}: there is nothing to choose from; give two values at least.")


class _GivenUp(Exception):
    """A run that the others were clearly better than."""


class Search:
    """Runs of one preset."""

    def __init__(self, values: Mapping[str, Any], config: SearchConfig, say: Say):
        """
        Args:
            values: the preset, as YAML gives it; its ``output`` becomes the folder of the search.
            config: what to try.
            say: takes what a person should read.

        Raises:
            ConfigError: a setting that is not known, a value that cannot be, or runs that are never validated.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            raise ConfigError("regard search runs in one process; start it without torchrun.")
        if not config.ranges:
            raise ConfigError("there is nothing to search: give ranges, in the preset or by --range.")
        self.values, self.config, self.say = dict(values), config, say
        for name, given in config.ranges.items():  # before anything runs
            for value in given if isinstance(given, list) else (given["low"], given["high"]):
                self._preset({name: value})
        preset = from_dict(Preset, self.values)
        self.output, self.metric = preset.output, preset.train.stopping.metric
        if not preset.train.validate_every or self.metric not in preset.validation.metrics:
            raise ConfigError(
                f"a search compares validations: set data.dev, train.validate_every, and '{self.metric}' "
                "(train.stopping.metric) among validation.metrics."
            )
        self.higher = self.metric in Task.higher_is_better

    def run(self) -> Path | None:
        """Begin, or go on with, the runs; returns the folder, or None when a run was interrupted.

        Raises:
            RegardError: no run came to an end; the message is that of the last.
        """
        study = self._study()
        problem = ""
        with workplace(self.output):
            while trial := self._next(study):
                try:
                    value = self._try(study, trial)
                except RegardError as error:
                    self._tell(study, trial, None, "FAIL")
                    problem = str(error)
                    self.say(f"run {trial.number} failed: {problem}")
                except _GivenUp:
                    self._tell(study, trial, None, "PRUNED")
                    self.say(f"run {trial.number} is given up: the others were better by then")
                else:
                    if value is None:
                        return None
                    self._tell(study, trial, value, "COMPLETE")
                self._tidy(study)
            if not _complete(study):
                raise RegardError(f"no run came to an end. {problem}")
            self._report(study)
        return self.output

    # ---- one run

    def _next(self, study: "Study") -> "Trial | None":
        """The run that was interrupted, else a new one; None when there were enough."""
        from optuna.trial import Trial, TrialState

        for frozen in study.trials:
            if frozen.state == TrialState.RUNNING:
                return Trial(study, frozen._trial_id)
        return study.ask() if len(study.trials) < self.config.trials else None

    def _try(self, study: "Study", trial: "Trial") -> float | None:
        """The best validation of a run; None when it was interrupted."""
        chosen = {name: _suggest(trial, name, given) for name, given in self.config.ranges.items()}
        self.say(f"run {trial.number} of {self.config.trials}: {_show(chosen)}")
        preset = self._preset(chosen, self._folder(trial.number))
        known = dict(study.trials[trial.number].intermediate_values)

        def watch(step: int, metrics: Mapping[str, float]) -> None:
            if step not in known:  # else it was validated before the interruption
                known[step] = metrics[self.metric]
                trial.report(metrics[self.metric], step)
            if trial.should_prune():
                raise _GivenUp

        if train(preset, self.say, on_validation=watch) is None:
            return None
        if not known:
            raise ConfigError("the run ended before its first validation; lower train.validate_every.")
        return max(known.values()) if self.higher else min(known.values())

    def _preset(self, chosen: Mapping[str, Any], output: Path | None = None) -> Preset:
        return from_dict(Preset, self._with(chosen) | ({"output": str(output)} if output else {}))

    def _with(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        return override(self.values, [f"{name}={json.dumps(value)}" for name, value in chosen.items()])

    def _folder(self, number: int) -> Path:
        return self.output / f"run-{number:03}"

    # ---- all of them

    def _study(self) -> "Study":
        try:
            import optuna
            from optuna.storages import JournalStorage
            from optuna.storages.journal import JournalFileBackend
        except ModuleNotFoundError as error:
            raise ConfigError("regard search needs Optuna. Install it: pip install 'regard[search]'.") from error
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.output.mkdir(parents=True, exist_ok=True)
        journal = self.output / "journal.log"
        storage = JournalStorage(JournalFileBackend(str(journal)))
        study = optuna.create_study(
            study_name="regard",
            storage=storage,
            direction="maximize" if self.higher else "minimize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=self.config.startup),
            load_if_exists=True,
        )
        settings = json.loads(json.dumps({"preset": self.values, "ranges": self.config.ranges}))
        if study.user_attrs.get("settings", settings) != settings:
            raise ConfigError(
                f"{self.output} holds a search with other settings; set another output, or remove this folder."
            )
        study.set_user_attr("settings", settings)
        # the draws after an interruption must not be those before it once more
        seed = self.config.seed + len(study.trials)
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=self.config.startup)
        return study

    def _tell(self, study: "Study", trial: "Trial", value: float | None, state: str) -> None:
        from optuna.trial import TrialState

        study.tell(trial, value, TrialState[state])

    def _tidy(self, study: "Study") -> None:
        """Remove the folders of all runs but the best."""
        best = study.best_trial.number if _complete(study) else None
        for trial in study.trials:
            if trial.number != best:
                shutil.rmtree(self._folder(trial.number), ignore_errors=True)

    def _report(self, study: "Study") -> None:
        """Write ``search.tsv``, ``search.png`` and ``best.yaml``, and say what they say."""
        import yaml

        rows = [["run", self.metric, "state", *self.config.ranges]]
        for trial in sorted(study.trials, key=self._rank):
            value = "" if trial.value is None else f"{trial.value:.4f}"
            settings = (_short(trial.params.get(name, "")) for name in self.config.ranges)
            rows.append([str(trial.number), value, trial.state.name.lower(), *settings])
        write_atomic(self.output / "search.tsv", "".join("\t".join(row) + "\n" for row in rows))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            self.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        _draw(study, self.metric, self.higher, self.output / "search.png")
        best = {name: value for name, value in self._with(study.best_params).items() if name != "output"}
        best = {"output": str(self.output / "best"), **best}
        write_atomic(self.output / "best.yaml", yaml.safe_dump(best, sort_keys=False, allow_unicode=True, width=120))
        self.say(f"the best run is {self._folder(study.best_trial.number)}; its settings are {self.output}/best.yaml")

    def _rank(self, trial: "FrozenTrial") -> tuple[bool, float]:
        """The best first, then those without a value."""
        value = 0.0 if trial.value is None else trial.value
        return trial.state.name != "COMPLETE", -value if self.higher else value


def parse_range(text: str) -> tuple[str, Any]:
    """``model.dropout=0..0.3``, ``train.schedule.peak=1e-4..1e-2:log`` or ``model.d_ff=256,512`` as name and range.

    Raises:
        ConfigError: it is none of these.
    """
    name, equals, given = text.partition("=")
    bounds, colon, how = given.partition(":")
    low, dots, high = bounds.partition("..")
    try:
        if not name or not equals:
            raise ValueError
        if not dots:
            return name, [_value(part) for part in given.split(",")]
        found: dict[str, Any] = {"low": _number(low), "high": _number(high)}
        if colon:
            found |= {"log": True} if how == "log" else {"step": _number(how)}
        return name, found
    except ValueError:
        raise ConfigError(
            f"'{text}' is no range; write name=0..0.3, name=1e-4..1e-2:log, name=2..8:2 or name=256,512."
        ) from None


def _number(text: str) -> float | int:
    try:
        return int(text)
    except ValueError:
        return float(text)


def _value(text: str) -> Any:
    import yaml

    try:
        return _number(text)
    except ValueError:
        return yaml.safe_load(text)


def _suggest(trial: "Trial", name: str, given: Any) -> Any:
    if isinstance(given, list):
        return trial.suggest_categorical(name, given)
    chosen = from_dict(Range, given, name)
    suggest = trial.suggest_int if isinstance(chosen.low, int) and isinstance(chosen.high, int) else trial.suggest_float
    more = {} if chosen.step is None else {"step": chosen.step}
    return suggest(name, chosen.low, chosen.high, log=chosen.log, **more)  # type: ignore[arg-type]


def _complete(study: "Study") -> "Sequence[FrozenTrial]":
    return [trial for trial in study.trials if trial.state.name == "COMPLETE"]


def _show(chosen: Mapping[str, Any]) -> str:
    return "  ".join(f"{name}={_short(value)}" for name, value in chosen.items())


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _draw(study: "Study", metric: str, higher: bool, path: Path) -> None:
    """The validations of every run, and what each run came to."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.5), layout="constrained")
    curves, results = figure.subplots(1, 2)
    best = study.best_trial.number
    for trial in study.trials:
        steps = sorted(trial.intermediate_values)
        style = {"color": "C0", "linewidth": 2.5} if trial.number == best else {"color": "0.6", "linewidth": 1}
        curves.plot(steps, [trial.intermediate_values[step] for step in steps], ".-", **style)
    curves.set_xlabel("step")
    curves.set_ylabel(metric)
    curves.set_title(f"validations (blue: run {best})")
    done = _complete(study)
    numbers, values = [t.number for t in done], [t.value for t in done]
    results.plot(numbers, values, "o", color="0.6")
    so_far = [(max if higher else min)(values[: i + 1]) for i in range(len(values))]  # type: ignore[type-var]
    results.step(numbers, so_far, where="post", color="C0")
    results.set_xlabel("run")
    results.set_title("best of each run, and of all so far")
    figure.savefig(path, dpi=120)

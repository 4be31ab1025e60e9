"""The loop: draw → loss → gradients → step → checkpoint, until something says stop."""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.base.device import choose_device, cpu_count, cpu_name, has_fast_bf16, keep_freed_memory
from regard.base.errors import ConfigError, RegardError
from regard.train.blame import blame
from regard.train.checkpoint import Checkpoint, CheckpointFolder
from regard.train.config import TrainConfig
from regard.train.distributed import Processes
from regard.train.finish import choose_weights, move_model, write_model
from regard.train.gradients import Batchwise, GradientSource, OnWorkers
from regard.train.interruption import Abandoned, Interruption
from regard.train.limits import reached, remaining
from regard.train.optimizer import MasterAdamW, MovingAverage
from regard.train.privacy import Private, check_accountant
from regard.train.progress import Reporter
from regard.train.schedule import learning_rate
from regard.train.stopping import EarlyStopping
from regard.train.task import Outcome, Task
from regard.train.workers import Workers


class TrainingError(RegardError):
    """The training cannot go on; the last checkpoint is intact."""


class Trainer:
    """Trains ``model`` on ``task`` into the folder ``output``."""

    def __init__(
        self,
        model: nn.Module,
        task: Task,
        config: TrainConfig,
        output: str | Path,
        *,
        settings: dict[str, Any] | None = None,
        factors: Mapping[str, float] | None = None,
        processes: Processes | None = None,
        on_validation: Callable[[int, Mapping[str, float]], None] | None = None,
    ):
        """
        Args:
            model: called once per micro-batch by ``task.loss``.
            task: what to train on and how to judge.
            config: how to train.
            output: becomes the model folder; ``training/`` in it holds the checkpoints.
            settings: what must not change during the run, kept in the checkpoints.
            factors: on the learning rate of single weights, by name.
            processes: the group that this process has already joined.
            on_validation: told the step and the metrics of each validation; what it raises ends the run.
        """
        check_accountant(config.privacy)
        self.processes = processes or Processes(choose_device(config.device))
        threads = config.threads or max(1, cpu_count() // self.processes.here)
        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        keep_freed_memory()
        self.device = self.processes.device
        self.config, self.task, self.output = config, task, Path(output)
        bf16 = has_fast_bf16(self.device) if config.precision == "auto" else config.precision == "bf16"
        self.model = model.to(self.device, torch.bfloat16 if bf16 else torch.float32)
        self.optimizer = MasterAdamW(
            self.model,
            betas=config.betas,
            eps=config.eps,
            weight_decay=config.weight_decay,
            clip=config.clip,
            factors=factors,
        )
        self.average = MovingAverage(self.optimizer.weights(), config.ema) if config.ema else None
        self.stopping = EarlyStopping(config.stopping, config.stopping.metric in task.higher_is_better)
        self.gradients = self._gradient_source(threads)
        self.checkpoints = CheckpointFolder(self.output / "training")
        self.settings, self.on_validation = settings or {}, on_validation
        self.step_count = 0
        self.tokens_seen = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.best_scores: dict[int, float] = {}
        self._window: list[dict[str, float]] = []  # the steps since the last progress line
        self._validated_step = self._saved_step = 0
        self._interruption = Interruption()
        torch.manual_seed(config.seed + 7919 * self.processes.rank)

    def _gradient_source(self, threads: int) -> GradientSource:
        config, processes = self.config, self.processes
        wrapped = processes.wrap(self.model, leaves_out=self.task.leaves_out)
        forward: Any = torch.compile(wrapped, dynamic=True) if config.compile else wrapped
        if config.privacy is not None:
            if processes.world > 1:
                raise ConfigError("train.privacy works in one process; start it without torchrun.")
            return Private(self.task, forward, self.optimizer, config.privacy, config.steps, self.device)
        if self.device.type == "cpu" and processes.world == 1 and not config.compile:
            return OnWorkers(self.task, forward, self.optimizer, Workers(threads))
        return Batchwise(self.task, forward, self.optimizer, processes)

    # ---- one step

    def step(self) -> dict[str, float]:
        """One optimiser step over ``accumulate`` micro-batches of every process.

        The gradient is that of the mean over all target tokens of the step, however
        they fall into micro-batches and processes.

        Raises:
            TrainingError: the loss or the gradient is not finite.
        """
        began = time.perf_counter()
        world, rank = self.processes.world, self.processes.rank
        plans = [self.task.draw() for _ in range(self.config.accumulate * world)][rank::world]
        self.model.train()
        total, tokens = self.gradients.compute(plans)
        rate = learning_rate(self.step_count + 1, self.config.schedule, self.config.steps)
        norm = self.optimizer.step(rate, self._adjust) if math.isfinite(total) else math.nan
        if not math.isfinite(norm):
            what = "gradient" if math.isfinite(total) else "loss"
            raise TrainingError(
                f"step {self.step_count + 1}: the {what} is not finite. "
                f"{blame(self.task, self.model, plans, self.device)} "
                "Look at these examples, lower train.schedule.peak, or lengthen the warm-up. "
                f"The checkpoints in {self.checkpoints.folder} are as they were."
            )
        self.step_count += 1
        self.tokens_seen += int(tokens)
        if self.average is not None:
            self.average.update(self.optimizer.weights(), self.step_count)
        seconds = time.perf_counter() - began
        self.seconds += seconds
        return {"loss": total / max(tokens, 1), "tokens": tokens, "lr": rate, "grad_norm": norm, "seconds": seconds}

    def _adjust(self, weights: Mapping[str, Tensor], gradients: Mapping[str, Tensor]) -> None:
        self.task.adjust(self.step_count + 1, weights, gradients)

    # ---- the run

    def train(self) -> Path | None:
        """Go on from the newest checkpoint, if there is one, to the end; returns the model folder.

        Returns None when the run was interrupted; calling it again resumes.

        Raises:
            TrainingError: the loss is not finite, or the checkpoint does not belong to this run.
            RegardError: something could not be written.
        """
        try:
            self.processes.first(lambda: move_model(self.output))
            resumed = self.resume()
            reporter = Reporter(
                self.checkpoints.folder, self.config, step=self.step_count, quiet=not self.processes.is_first
            )
            try:
                if resumed:
                    reporter.say(f"resuming after step {self.step_count:,} ({self.tokens_seen:,} target tokens)")
                with self._interruption.listening():
                    end = self._loop(reporter)
                if not end:
                    reporter.say(f"stopped after step {self.step_count:,}; run the same command again to go on")
                    return None
                reporter.say(end)
                self._finish(reporter)
            finally:
                reporter.close()
            return self.output
        finally:
            self.processes.close()
            self.gradients.close()

    def _loop(self, reporter: Reporter) -> str:
        """Train until the end, and return what ended it; empty when the run was interrupted."""
        config, start = self.config, self.step_count
        while True:
            step = self.step_count
            # Here and not after the step: a validation that was given up is made up for when the run goes on.
            if config.validate_every and step % config.validate_every == 0 and self._validated_step != step:
                self._validate(reporter)
            if step % config.checkpoint_every == 0 and self._saved_step != step:
                self.save_checkpoint()
            end = self._end()
            if end or self._is_interrupted():
                break
            self._window.append(self.step())
            regular = self.step_count % config.log_every == 0
            if regular or reporter.is_live:
                values = self._summary()
                seconds, epochs = self.seconds, self.task.epochs
                reporter.progress(
                    values, *remaining(self.config, steps=self.step_count, seconds=seconds, epochs=epochs)
                )
                if regular:
                    self.history.append(values)
                    reporter.record(values)
                    self._window = []
        if self._saved_step != self.step_count:
            self.save_checkpoint()
        if self._is_interrupted():  # asked again: it may have been while the checkpoint was written
            return ""
        return f"finished: {end}" if start < self.step_count else f"nothing is left to train: {end}"

    def _is_interrupted(self) -> bool:
        """Whether any process was asked to stop: the same answer in all of them."""
        return self.processes.sum(float(self._interruption.requested))[0] > 0

    def _end(self) -> str:
        """Why to stop here, the same in all processes; empty to go on."""
        seconds = self.processes.sum(self.seconds)[0] / self.processes.world if self.config.minutes else 0.0
        end = reached(self.config, steps=self.step_count, minutes=seconds / 60, epochs=self.task.epochs)
        return end or self.stopping.verdict()

    def _summary(self) -> dict[str, float]:
        tokens = sum(step["tokens"] for step in self._window)
        return {
            "step": self.step_count,
            "minutes": self.seconds / 60,
            "epoch": self.task.epochs,
            "loss": sum(step["loss"] * step["tokens"] for step in self._window) / max(tokens, 1),
            "lr": self._window[-1]["lr"],
            "grad_norm": self._window[-1]["grad_norm"],
            "tokens_per_second": tokens / sum(step["seconds"] for step in self._window),
        }

    # ---- judging

    def _validate(self, reporter: Reporter) -> None:
        metrics = self.processes.first(lambda: self._judge(self._judged_weights()))
        if metrics is None:
            return
        self._validated_step = self.step_count
        values = {f"valid_{name}": value for name, value in metrics.items()}
        self.history.append({"step": self.step_count, "minutes": self.seconds / 60, **values})
        reporter.record(self.history[-1])
        reporter.say(f"step {self.step_count}  validation: {_show(metrics)}")
        if self.config.stopping.patience:
            self.stopping.update(metrics, self.step_count)
        if self.config.keep_best:
            self._keep_best(self.stopping.score(metrics))
        if self.on_validation is not None:
            self.on_validation(self.step_count, metrics)

    def _judge(self, weights: dict[str, Tensor]) -> dict[str, float] | None:
        """What validation says of ``weights``; None when it was given up because the run is to stop."""
        try:
            with self.holding(weights) as model, self._interruption.abandonable():
                return self.task.validate(model)
        except Abandoned:
            return None

    def _judged_weights(self) -> dict[str, Tensor]:
        return self.optimizer.weights() if self.average is None else self.average.values

    @contextmanager
    def holding(self, weights: dict[str, Tensor]) -> Iterator[nn.Module]:
        """The model in evaluation mode with other weights; afterwards all is as it was, random numbers included."""
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices), torch.no_grad():
            kept = {name: parameter.clone() for name, parameter in self.optimizer.named_parameters()}
            self.optimizer.publish(weights)
            self.model.eval()
            try:
                yield self.model
            finally:
                self.optimizer.publish(kept)

    def _keep_best(self, score: float) -> None:
        ranked = {**self.best_scores, self.step_count: score}
        sign = 1 if self.stopping.higher else -1
        order = sorted(ranked, key=lambda s: -math.inf if math.isnan(ranked[s]) else sign * ranked[s], reverse=True)
        self.best_scores = {s: ranked[s] for s in order[: self.config.keep_best]}
        if self.step_count in self.best_scores:
            weights = self._judged_weights()
            self.processes.first(lambda: self.checkpoints.save_best(self.step_count, weights))

    # ---- the finished model

    def _finish(self, reporter: Reporter) -> None:
        weights, chosen = choose_weights(
            self.config,
            self.step_count,
            self.optimizer.weights(),
            None if self.average is None else self.average.values,
            self.checkpoints,
            sorted(self.best_scores),
        )
        judged = self.config.final == ("last" if self.average is None else "ema")
        if judged and self._validated_step == self.step_count:
            newest = next((r for r in reversed(self.history) if any(n.startswith("valid_") for n in r)), {})
            metrics = {n.removeprefix("valid_"): v for n, v in newest.items() if n.startswith("valid_")}
        elif self.config.validate_every:
            metrics = self.processes.first(lambda: self._judge(weights)) or {}
            reporter.say(f"validation of the model: {_show(metrics)}")
        else:
            metrics = {}
        outcome = Outcome(
            weights,
            chosen,
            metrics,
            self.history,
            steps=self.step_count,
            tokens=self.tokens_seen,
            minutes=self.seconds / 60,
            device=torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else cpu_name(),
            promise=self.gradients.promise(self.step_count),
        )
        self.processes.first(lambda: write_model(self.output, self.task, outcome))

    # ---- stopping and going on

    def save_checkpoint(self) -> None:
        """Write everything that :meth:`resume` needs."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        tensors = {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
        if self.average is not None:
            tensors |= {f"average.{k}": v for k, v in self.average.values.items()}
        tensors |= {f"task.{k}": v for k, v in self.task.tensors().items()}
        tensors |= {f"gradients.{k}": v for k, v in self.gradients.state_dict().items()}
        for kind, own in random.items():
            tensors |= {f"random.{kind}.{rank}": v for rank, v in enumerate(self.processes.gather(own))}
        state = {
            "step": self.step_count,
            "tokens": self.tokens_seen,
            "seconds": self.seconds,
            "stream": self.task.state_dict(),
            "stopping": self.stopping.state_dict(),
            "best": {str(k): v for k, v in self.best_scores.items()},
            "history": self.history,
            "window": self._window,
            "validated": self._validated_step,
            "world": self.processes.world,
            "settings": self.settings,
        }

        def write() -> None:
            self.checkpoints.save(self.step_count, Checkpoint(self.optimizer.weights(), tensors, state))
            self.checkpoints.prune(self.config.keep_last, self.config.checkpoint_every, list(self.best_scores))

        self.processes.first(write)
        self._saved_step = self.step_count

    def resume(self) -> bool:
        """Go to where the newest checkpoint stood; False where there is none.

        Raises:
            TrainingError: the checkpoint is of another number of processes or another model.
        """
        checkpoint = self.checkpoints.load()
        if checkpoint is None:
            return False
        state, tensors = checkpoint.state, checkpoint.tensors
        if state["world"] != self.processes.world:
            raise TrainingError(
                f"the run in {self.output} has {state['world']} processes, this one {self.processes.world}; "
                "start it with as many, or into another output folder."
            )
        own = self.optimizer.weights()
        if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in checkpoint.weights.items()}:
            raise TrainingError(f"the checkpoint in {self.output} is of another model; choose another output folder.")
        self.optimizer.load_state_dict(checkpoint.weights, _section(tensors, "optimizer."))
        if self.average is not None:
            self.average.load_state_dict(_section(tensors, "average.") or checkpoint.weights)
        self.step_count, self.tokens_seen, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.task.load_state_dict(state["stream"])
        self.task.load_tensors(_section(tensors, "task."), self.device)
        self.gradients.load_state_dict(_section(tensors, "gradients."))
        self.stopping.load_state_dict(state["stopping"])
        self.best_scores = {int(k): v for k, v in state["best"].items()}
        self.history = state["history"]
        self._window = state.get("window", [])
        self._validated_step = state.get("validated", self.step_count)
        self._saved_step = self.step_count
        torch.set_rng_state(tensors[f"random.cpu.{self.processes.rank}"])
        name = f"random.cuda.{self.processes.rank}"
        if self.device.type == "cuda" and name in tensors:  # a run may move from a CPU to a GPU
            torch.cuda.set_rng_state(tensors[name], self.device)
        return True


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def _show(metrics: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.3f}" for name, value in metrics.items())

"""The loop: draw → loss → gradients → step → checkpoint, until something says stop."""

import math
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regard.base.device import choose_device, cpu_count, has_fast_bf16, keep_freed_memory
from regard.base.errors import RegardError
from regard.base.files import new_folder
from regard.train.checkpoint import Checkpoint, CheckpointFolder
from regard.train.config import TrainConfig
from regard.train.distributed import Processes
from regard.train.optimizer import MasterAdamW, MovingAverage
from regard.train.progress import Reporter, draw_curve
from regard.train.schedule import learning_rate
from regard.train.stopping import EarlyStopping
from regard.train.task import Task


class TrainingError(RegardError):
    """The training cannot go on; the last checkpoint is intact."""


class Trainer:
    """Trains ``model`` on ``task`` into the folder ``output``."""

    def __init__(
        self, model: nn.Module, task: Task, config: TrainConfig, output: str | Path, *, settings: dict[str, Any] | None = None
    ):
        """
        Args:
            model: called once per micro-batch by ``task.loss``.
            task: what to train on and how to judge.
            config: how to train.
            output: becomes the model folder; ``training/`` in it holds the checkpoints.
            settings: the whole configuration of the run, kept in the checkpoints.
        """
        torch.set_num_threads(config.threads or cpu_count())
        torch.set_flush_denormal(True)
        keep_freed_memory()
        self.processes = Processes(choose_device(config.device))
        self.device = self.processes.device
        self.config, self.task, self.output = config, task, Path(output)
        bf16 = has_fast_bf16(self.device) if config.precision == "auto" else config.precision == "bf16"
        self.model = model.to(self.device, torch.bfloat16 if bf16 else torch.float32)
        self.optimizer = MasterAdamW(
            self.model, betas=config.betas, eps=config.eps, weight_decay=config.weight_decay, clip=config.clip
        )
        self.average = MovingAverage(self.optimizer.weights(), config.ema) if config.ema else None
        self.stopping = EarlyStopping(config.stopping, config.stopping.metric in task.higher_is_better)
        wrapped = self.processes.wrap(self.model)
        self.forward: Any = torch.compile(wrapped, dynamic=True) if config.compile else wrapped
        self.checkpoints = CheckpointFolder(self.output / "training")
        self.settings = settings or {}
        self.step_count = 0
        self.tokens_seen = 0
        self.seconds = 0.0
        self.history: list[dict[str, float]] = []
        self.best_scores: dict[int, float] = {}
        self._interrupted = False
        torch.manual_seed(config.seed + 7919 * self.processes.rank)

    # ---- one step

    def step(self) -> dict[str, float]:
        """One optimiser step over ``accumulate`` micro-batches of every process.

        The gradient is that of the mean over all target tokens of the step, however
        they fall into micro-batches and processes.

        Raises:
            TrainingError: the loss or the gradient is not finite.
        """
        world, rank = self.processes.world, self.processes.rank
        plans = [self.task.draw() for _ in range(self.config.accumulate * world)][rank::world]
        batches = [self.task.batch(plan) for plan in plans]
        (tokens,) = self.processes.sum(sum(batch.num_tokens for batch in batches))
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        self.model.train()
        for i, batch in enumerate(batches):
            last = i == len(batches) - 1
            with nullcontext() if last or world == 1 else self.forward.no_sync():
                loss = self.task.loss(self.forward, batch.to(self.device))
                # DistributedDataParallel averages over processes: undo the division
                (loss * (world / tokens)).backward()
            loss_sum += loss.detach().double()
        (total,) = self.processes.sum(float(loss_sum))
        rate = learning_rate(self.step_count + 1, self.config.schedule, self.config.steps)
        norm = self.optimizer.step(rate) if math.isfinite(total) else math.nan
        if not math.isfinite(norm):
            names = "; ".join(self.task.describe(plan) for plan in plans)
            raise TrainingError(
                f"step {self.step_count + 1}: the {'gradient' if math.isfinite(total) else 'loss'} is not finite. "
                f"The batch was: {names}. The last checkpoint is intact in {self.checkpoints.folder}. "
                "Lower train.schedule.peak, lengthen the warm-up, or look at these lines."
            )
        self.step_count += 1
        self.tokens_seen += int(tokens)
        if self.average is not None:
            self.average.update(self.optimizer.weights(), self.step_count)
        return {"loss": total / tokens, "tokens": tokens, "lr": rate, "grad_norm": norm}

    # ---- the run

    def train(self) -> Path | None:
        """Go on from the newest checkpoint, if there is one, to the end; returns the model folder.

        Returns None when the run was interrupted; calling it again resumes.
        """
        first = self.processes.is_first
        folder = self.output / "training"
        reporter = Reporter(folder, tensorboard=self.config.tensorboard, wandb=self.config.wandb, quiet=not first)
        if self.resume():
            reporter.say(f"resuming after step {self.step_count} ({self.tokens_seen:,} target tokens)")
        try:
            with self._signals():
                self._loop(reporter)
            if self._interrupted:
                reporter.say(f"stopped after step {self.step_count}; run the same command again to go on")
                return None
            self._finish()
            return self.output
        finally:
            reporter.close()
            self.processes.close()

    def _loop(self, reporter: Reporter) -> None:
        config = self.config
        window: list[dict[str, float]] = []
        window_start = time.perf_counter()
        saved = self.step_count
        while not self._done():
            began = time.perf_counter()
            window.append(self.step())
            self.seconds += time.perf_counter() - began
            step = self.step_count
            if step % config.log_every == 0:
                now = time.perf_counter()
                values = self._summary(window, now - window_start)
                self.history.append(values)
                reporter.record(step, values)
                reporter.progress(values, *self._remaining())
                window, window_start = [], now
            if config.validate_every and step % config.validate_every == 0:
                self._validate(reporter)
                window_start = time.perf_counter()
            if step % config.checkpoint_every == 0:
                self.save_checkpoint()
                saved = step
                window_start = time.perf_counter()
        if saved != self.step_count:
            self.save_checkpoint()

    def _done(self) -> bool:
        config = self.config
        (interrupted,) = self.processes.sum(float(self._interrupted)) if self.processes.world > 1 else (self._interrupted,)
        self._interrupted = bool(interrupted)
        return (
            self._interrupted
            or bool(config.steps and self.step_count >= config.steps)
            or bool(config.minutes and self.processes.sum(self.seconds)[0] >= config.minutes * 60 * self.processes.world)
            or bool(config.epochs and self.task.epoch >= config.epochs)
            or self.stopping.exhausted
        )

    def _remaining(self) -> tuple[float, float]:
        shares = [0.0]
        if self.config.steps:
            shares.append(self.step_count / self.config.steps)
        if self.config.minutes:
            shares.append(self.seconds / 60 / self.config.minutes)
        share = max(shares)
        return share, self.seconds * (1 / share - 1) if share else 0.0

    def _summary(self, window: list[dict[str, float]], elapsed: float) -> dict[str, float]:
        tokens = sum(v["tokens"] for v in window)
        return {
            "step": self.step_count,
            "minutes": self.seconds / 60,
            "epoch": float(self.task.epoch),
            "loss": sum(v["loss"] * v["tokens"] for v in window) / tokens,
            "lr": window[-1]["lr"],
            "grad_norm": window[-1]["grad_norm"],
            "tokens_per_second": tokens / elapsed,
        }

    def _validate(self, reporter: Reporter) -> None:
        with self.evaluating() as model:
            metrics = self.task.validate(model) if self.processes.is_first else {}
        metrics = self._broadcast(metrics)
        values = {"step": self.step_count, "minutes": self.seconds / 60, **{f"valid_{k}": v for k, v in metrics.items()}}
        self.history.append(values)
        reporter.record(self.step_count, values)
        reporter.say(f"step {self.step_count}  validation: " + "  ".join(f"{k} {v:.3f}" for k, v in metrics.items()))
        self.stopping.update(metrics, self.step_count)
        if self.config.keep_best:
            self._keep_best(metrics[self.config.stopping.metric])

    def _broadcast(self, metrics: dict[str, float]) -> dict[str, float]:
        if self.processes.world == 1:
            return metrics
        box = [metrics]
        torch.distributed.broadcast_object_list(box, src=0)
        return box[0]

    def _keep_best(self, score: float) -> None:
        ranked = {**self.best_scores, self.step_count: score}
        order = sorted(ranked, key=lambda s: ranked[s], reverse=self.stopping.higher)
        self.best_scores = {s: ranked[s] for s in order[: self.config.keep_best]}
        if self.step_count in self.best_scores and self.processes.is_first:
            self.checkpoints.save_best(self.step_count, self._judged_weights(), self.best_scores)

    def _judged_weights(self) -> dict[str, Tensor]:
        return self.optimizer.weights() if self.average is None else self.average.values

    @contextmanager
    def evaluating(self) -> Iterator[nn.Module]:
        """The model in evaluation mode, holding the moving average where there is one."""
        rng = torch.get_rng_state()
        kept = None
        if self.average is not None:
            kept = [p.detach().clone() for p in self.optimizer.parameters]
            with torch.no_grad():
                torch._foreach_copy_(self.optimizer.parameters, list(self.average.values.values()))
        self.model.eval()
        try:
            with torch.no_grad():
                yield self.model
        finally:
            if kept is not None:
                with torch.no_grad():
                    torch._foreach_copy_(self.optimizer.parameters, kept)
            torch.set_rng_state(rng)

    def _finish(self) -> None:
        if not self.processes.is_first:
            return
        config = self.config
        if config.final == "average_last":
            weights = self.checkpoints.average(self.checkpoints.steps()[-config.keep_last :])
        elif config.final == "average_best" and self.best_scores:
            weights = self.checkpoints.average_best()
        elif config.final == "ema" and self.average is not None:
            weights = self.average.values
        else:
            weights = self.optimizer.weights()
        with new_folder(self.output / ".finished") as temporary:
            self.task.save(temporary, weights, self.history)
            draw_curve(self.history, temporary / "curve.png")
        for file in sorted((self.output / ".finished").iterdir()):
            file.replace(self.output / file.name)
        (self.output / ".finished").rmdir()

    # ---- stopping and going on

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Ctrl-C and SIGTERM end the run after the present step, with a checkpoint; a second Ctrl-C ends it at once."""

        def stop(number: int, frame: object) -> None:
            if self._interrupted and number == signal.SIGINT:
                raise KeyboardInterrupt
            self._interrupted = True

        earlier: dict[int, Callable[..., Any] | int | None] = {}
        try:
            for number in (signal.SIGINT, signal.SIGTERM):
                earlier[number] = signal.signal(number, stop)
        except ValueError:  # not in the main thread: whoever started the thread handles signals
            pass
        try:
            yield
        finally:
            for number, handler in earlier.items():
                signal.signal(number, handler)

    def save_checkpoint(self) -> None:
        """Write everything that :meth:`resume` needs."""
        random = {"cpu": torch.get_rng_state()}
        if self.device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(self.device)
        states = {k: self.processes.gather(v) for k, v in random.items()}
        if self.processes.is_first:
            tensors = {f"optimizer.{k}": v for k, v in self.optimizer.state_dict().items()}
            if self.average is not None:
                tensors |= {f"average.{k}": v for k, v in self.average.values.items()}
            for kind, values in states.items():
                tensors |= {f"random.{kind}.{rank}": v for rank, v in enumerate(values)}
            state = {
                "step": self.step_count,
                "tokens": self.tokens_seen,
                "seconds": self.seconds,
                "stream": self.task.state_dict(),
                "stopping": self.stopping.state_dict(),
                "best": {str(k): v for k, v in self.best_scores.items()},
                "history": self.history,
                "world": self.processes.world,
                "settings": self.settings,
            }
            checkpoint = Checkpoint(self.optimizer.weights(), tensors, state)
            self.checkpoints.save(self.step_count, checkpoint, self.config.keep_last)
        self.processes.wait()

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
            averaged = _section(tensors, "average.") or checkpoint.weights
            self.average.values = {name: averaged[name].to(self.device).clone() for name in self.average.values}
        self.step_count, self.tokens_seen, self.seconds = state["step"], state["tokens"], state["seconds"]
        self.task.load_state_dict(state["stream"])
        self.stopping.load_state_dict(state["stopping"])
        self.best_scores = {int(k): v for k, v in state["best"].items()}
        self.history = state["history"]
        torch.set_rng_state(tensors[f"random.cpu.{self.processes.rank}"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors[f"random.cuda.{self.processes.rank}"], self.device)
        return True


def _section(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}

"""Hugging Face's MarianMTModel, trained in a plain PyTorch loop and by Seq2SeqTrainer."""
# pyright: reportMissingImports=false

import os
import time
from collections.abc import Iterator
from contextlib import nullcontext
from multiprocessing.connection import Connection
from typing import Any

import harness
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from peers.marian import marian_config, marian_weights
from regard.base.device import cpu_count
from regard.data.batch import Batch, pad
from regard.model import Transformer
from regard.tasks.preparation import Prepared
from regard.tasks.preset import Preset
from regard.tasks.translation_training import TranslationTask

IGNORE = -100
WARM_UP = 3
SMOOTHING = 0.1


def regard_model(preset: Preset) -> tuple[TranslationTask, Transformer, float]:
    """The task, the model that all contenders start from, and its loss on a fixed batch (in fp32, without dropout)."""
    task = TranslationTask(preset, Prepared.open(preset))
    torch.manual_seed(preset.train.seed)
    model = Transformer(task.config)
    batch = _fixed_batch(task)
    with torch.no_grad():
        loss = float(model.eval()(batch, SMOOTHING)) / batch.num_tokens
    return task, model.train(), loss


def _fixed_batch(task: TranslationTask) -> Batch:
    return task.batch(np.stack([np.zeros(64, dtype=np.int64), np.arange(64)], axis=1))


def inputs_of(batch: Batch, task: TranslationTask) -> dict[str, Tensor]:
    """A batch as Marian takes it."""
    labels = torch.full(batch.target_inputs.shape, IGNORE)
    flat = labels.view(-1)
    if batch.target_index is None:
        flat.copy_(batch.targets)
    else:
        flat[batch.target_index] = batch.targets
    mask = torch.arange(batch.source.shape[1])[None] < batch.source_lengths[:, None]
    return {
        "input_ids": batch.source,
        "attention_mask": mask.long(),
        "decoder_input_ids": batch.target_inputs,
        "labels": labels,
    }


def build(preset: Preset, task: TranslationTask, model: Transformer) -> tuple[Any, float]:
    """The Marian model with Regard's weights, and its loss on the fixed batch."""
    import transformers
    from transformers import MarianConfig, MarianMTModel

    transformers.logging.set_verbosity_error()
    theirs = MarianMTModel(MarianConfig(**marian_config(model.config)))
    theirs.load_state_dict(marian_weights(model), strict=False)  # the position tables are its own
    theirs.tie_weights()
    batch = _fixed_batch(task)
    with torch.no_grad():
        loss = float(loss_of(theirs.eval(), inputs_of(batch, task))) / batch.num_tokens
    return theirs.train(), loss


def loss_of(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """Summed label-smoothed cross-entropy over PyTorch's own function."""
    fed = {name: value for name, value in inputs.items() if name != "labels"}
    logits = model(**fed, use_cache=False).logits
    return F.cross_entropy(
        logits.flatten(0, 1),
        inputs["labels"].flatten(),
        ignore_index=IGNORE,
        label_smoothing=SMOOTHING,
        reduction="sum",
    )


def plain_contender(connection: Connection, preset: Preset, bf16: bool, attention: str) -> None:
    """A plain loop with fused AdamW; batches are made before the clock starts."""
    harness.prepare_process(preset.train.threads or cpu_count())
    task, ours, _ = regard_model(preset)
    model, loss = build(preset, task, ours)
    config = preset.train
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.schedule.peak, betas=config.betas, eps=config.eps, weight_decay=0.0, fused=True
    )

    def step(inputs: dict[str, Tensor], tokens: int) -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            loss = loss_of(model, inputs) / tokens
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        float(loss.detach())

    def run(steps: int) -> dict[str, float]:
        batches = [task.batch(task.draw()) for _ in range(steps)]
        ready = [(inputs_of(batch, task), batch.num_tokens) for batch in batches]
        began = time.perf_counter()
        for inputs, tokens in ready:
            step(inputs, tokens)
        return {"seconds": time.perf_counter() - began, "tokens": sum(tokens for _, tokens in ready)}

    warm = [task.batch(task.draw()) for _ in range(WARM_UP)]
    attention = set_attention(model, attention, lambda: step(inputs_of(warm[0], task), warm[0].num_tokens))
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    setting = f"{'bf16 autocast' if bf16 else 'fp32'}, {attention}"
    harness.answer(connection, {"parameters": parameters, "loss": loss, "setting": setting}, run)


def set_attention(model: Any, attention: str, step: Any) -> str:
    """Set the attention implementation, with ``best`` the one with which ``step`` takes less time; returns its name."""
    names = ("sdpa", "eager") if attention == "best" else (attention,)
    times: dict[str, float] = {}
    for name in names:
        model.set_attn_implementation(name)
        for _ in range(3):  # the first is slow; of the others the better one counts
            began = time.perf_counter()
            step()
            times[name] = min(time.perf_counter() - began, times.get(name, float("inf")))
    best = min(times, key=times.__getitem__)
    model.set_attn_implementation(best)
    return best


def trainer_contender(connection: Connection, preset: Preset, bf16: bool, attention: str) -> None:
    """Seq2SeqTrainer over a data loader whose sampler yields Regard's batches."""
    harness.prepare_process(preset.train.threads or cpu_count())
    os.environ.setdefault("ACCELERATE_USE_CPU", "true")
    from torch.utils.data import DataLoader, Dataset
    from transformers import Seq2SeqTrainer, Seq2SeqTrainingArguments, TrainerCallback

    task, ours, _ = regard_model(preset)
    model, loss = build(preset, task, ours)
    tokens: list[int] = []
    warm = task.batch(np.stack([np.zeros(256, dtype=np.int64), np.arange(256)], axis=1))

    def trial() -> None:
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            loss_of(model, inputs_of(warm, task)).backward()
        model.zero_grad(set_to_none=True)

    attention = set_attention(model, attention, trial)

    class Examples(Dataset):
        def __getitem__(self, place: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
            return task.parts[place[0]].example(place[1])

        def __len__(self) -> int:
            return sum(len(part.store) for part in task.parts)

    class Plans:
        def __iter__(self) -> Iterator[list[tuple[int, int]]]:
            while True:
                yield [(int(part), int(index)) for part, index in task.draw()]

        def __len__(self) -> int:
            return 1_000_000

    def collate(examples: list[tuple[np.ndarray, np.ndarray]]) -> dict[str, Tensor]:
        c = task.config
        sources = [np.append(source, c.eos_id) for source, _ in examples]
        targets = [np.append(target, c.eos_id) for _, target in examples]
        labels = pad(targets, IGNORE)
        inputs = torch.full_like(labels, c.bos_id)
        inputs[:, 1:] = labels[:, :-1]
        ids = pad(sources, c.pad_id)
        tokens.append(sum(map(len, targets)))
        return {
            "input_ids": ids,
            "attention_mask": (ids != c.pad_id).long(),
            "decoder_input_ids": inputs.masked_fill(inputs == IGNORE, c.pad_id),
            "labels": labels,
        }

    class EqualBatches(Seq2SeqTrainer):
        def get_train_dataloader(self) -> Any:
            loader = DataLoader(Examples(), batch_sampler=Plans(), collate_fn=collate)  # type: ignore[arg-type]
            return self.accelerator.prepare(loader)

    class Turns(TrainerCallback):
        """Holds the loop after each job until the next one comes."""

        until = WARM_UP
        first = 0
        began = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if state.global_step < self.until:
                return control
            if self.first:
                seconds = time.perf_counter() - self.began
                connection.send({"seconds": seconds, "tokens": sum(tokens[self.first : self.until])})
            else:
                parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
                setting = f"{'bf16' if bf16 else 'fp32'}, {attention}"
                connection.send({"parameters": parameters, "loss": loss, "setting": setting})
            job = connection.recv()
            if job is None:
                control.should_training_stop = True
                return control
            self.first, self.until = self.until, self.until + job
            self.began = time.perf_counter()
            return control

    config = preset.train
    arguments = Seq2SeqTrainingArguments(
        output_dir=str(harness.WORK / "training" / "seq2seq_trainer"),
        max_steps=1_000_000,
        use_cpu=True,
        bf16=bf16,
        optim="adamw_torch_fused",
        learning_rate=config.schedule.peak,
        lr_scheduler_type="constant",
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        adam_epsilon=config.eps,
        weight_decay=0.0,
        max_grad_norm=config.clip,
        label_smoothing_factor=SMOOTHING,
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        seed=config.seed,
    )
    trainer = EqualBatches(model=model, args=arguments, train_dataset=Examples(), callbacks=[Turns()])
    trainer.train()

"""JoeyNMT's model and batch, in its trainer's order of work (``TrainManager._train_step``)."""
# pyright: reportMissingImports=false

import time
from contextlib import nullcontext
from multiprocessing.connection import Connection
from types import SimpleNamespace
from typing import Any

import harness
import torch
from torch import Tensor

from peers.hugging_face_training import SMOOTHING, WARM_UP
from regard.base.device import cpu_count
from regard.data.batch import Batch
from regard.model import ModelConfig
from regard.tasks.preparation import Prepared
from regard.tasks.preset import Preset
from regard.tasks.translation_training import TranslationTask

#: JoeyNMT wants the unknown piece first and padding second; Regard has them the other way round.
UNK, PAD, BOS, EOS = 0, 1, 2, 3


def build(config: ModelConfig) -> Any:
    """JoeyNMT's Transformer of the same size, with dropout where Regard and Marian have it."""
    from joeynmt.model import build_model
    from joeynmt.transformer_layers import MultiHeadedAttention, PositionwiseFeedForward
    from joeynmt.vocabulary import Vocabulary

    special = SimpleNamespace(
        unk_token="<unk>", pad_token="<pad>", bos_token="<s>", eos_token="</s>", sep_token=None,
        unk_id=UNK, pad_id=PAD, bos_id=BOS, eos_id=EOS, sep_id=None, lang_tags=[],
    )  # fmt: skip
    vocabulary = Vocabulary([f"piece-{i}" for i in range(4, config.target_vocab_size)], special)
    stack = {
        "type": "transformer",
        "embeddings": {"embedding_dim": config.d_model, "scale": True, "dropout": config.dropout},
        "hidden_size": config.d_model,
        "ff_size": config.d_ff,
        "num_heads": config.num_heads,
        "dropout": config.dropout,
        "layer_norm": "post",
        "activation": "relu",
    }
    settings = {
        "initializer": "xavier_uniform",
        "bias_initializer": "zeros",
        "embed_initializer": "xavier_uniform",
        "tied_embeddings": True,
        "tied_softmax": True,
        "encoder": {**stack, "num_layers": config.encoder_layers},
        "decoder": {**stack, "num_layers": config.decoder_layers},
    }
    model = build_model(settings, vocabulary, vocabulary)
    model.loss_function = ("crossentropy", SMOOTHING)
    for module in model.modules():  # no dropout on attention weights, nor inside the feed-forward layers
        if isinstance(module, MultiHeadedAttention):
            module.dropout.p = 0.0
        elif isinstance(module, PositionwiseFeedForward):
            module.pwff_layer[2].p = 0.0
    return model


def arguments_of(batch: Batch, config: ModelConfig) -> dict[str, Any]:
    """What JoeyNMT's own Batch is made from: ids from BOS to EOS."""
    targets = torch.full((len(batch.source), batch.target_inputs.shape[1] + 1), config.pad_id)
    targets[:, 0] = config.bos_id
    shifted = torch.full(batch.target_inputs.shape, config.pad_id)
    flat = shifted.view(-1)
    if batch.target_index is None:
        flat.copy_(batch.targets)
    else:
        flat[batch.target_index] = batch.targets
    targets[:, 1:] = shifted
    return {
        "src": _swapped(batch.source, config),
        "src_length": batch.source_lengths,
        "src_prompt_mask": None,
        "trg": _swapped(targets, config),
        "trg_prompt_mask": None,
        "indices": torch.arange(len(batch.source)),
        "device": torch.device("cpu"),
        "pad_index": PAD,
        "eos_index": EOS,
        "is_train": True,
    }


def _swapped(ids: Tensor, config: ModelConfig) -> Tensor:
    return torch.where(ids == config.pad_id, PAD, torch.where(ids == PAD, UNK, ids))


def contender(connection: Connection, preset: Preset, bf16: bool) -> None:
    """JoeyNMT in fp32, or under autocast, which its configuration offers with fp16 only."""
    harness.prepare_process(preset.train.threads or cpu_count())
    from joeynmt.batch import Batch as JoeyBatch

    task = TranslationTask(preset, Prepared.open(preset))
    config = preset.train
    torch.manual_seed(config.seed)
    model = build(task.config)
    optimizer = torch.optim.Adam(model.parameters(), lr=config.schedule.peak, betas=config.betas, weight_decay=0.0)

    def step(arguments: dict[str, Any]) -> None:
        model.train()
        batch = JoeyBatch(**arguments)
        batch.sort_by_src_length()
        with torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext():
            loss, _, _, correct = model(return_type="loss", **vars(batch))
        loss = batch.normalize(loss, normalization="tokens")
        correct = batch.normalize(correct, "sum")
        loss.backward()
        loss.item()
        correct.item()
        torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm=config.clip)
        optimizer.step()
        optimizer.zero_grad()

    def run(steps: int) -> dict[str, float]:
        batches = [task.batch(task.draw()) for _ in range(steps)]
        ready = [arguments_of(batch, task.config) for batch in batches]
        began = time.perf_counter()
        for arguments in ready:
            step(arguments)
        return {"seconds": time.perf_counter() - began, "tokens": sum(batch.num_tokens for batch in batches)}

    run(WARM_UP)
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    setting = "bf16 autocast" if bf16 else "fp32"
    harness.answer(connection, {"parameters": parameters, "setting": setting}, run)

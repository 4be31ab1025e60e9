"""The encoder-decoder Transformer (Vaswani et al. 2017): embedder → stack → head."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from regard.attention import (
    Dropout,
    KeyValueCache,
    LearnedPositions,
    Mask,
    SinusoidalPositions,
)
from regard.attention.dropout import UniformNoise
from regard.base.errors import ConfigError
from regard.data.batch import Batch
from regard.model.adapted import Switch
from regard.model.config import ModelConfig
from regard.model.head import vocabulary_loss
from regard.model.layers import (
    DecoderLayer,
    EncoderLayer,
    initialise,
    kept,
    make_caches,
    make_norm,
    make_positions,
    within_window,
)


class Embedder(nn.Module):
    """Pieces to vectors: embedding × √D plus input positions (section 3.4 and 3.5 of the paper)."""

    def __init__(self, vocab_size: int, config: ModelConfig):
        super().__init__()
        self.scale = math.sqrt(config.d_model) if config.scale_embeddings else 1.0
        self.tokens = nn.Embedding(vocab_size, config.d_model, padding_idx=config.pad_id)
        self.positions: SinusoidalPositions | LearnedPositions | None = None
        if config.positions.kind == "sinusoidal":
            self.positions = SinusoidalPositions(config.d_model)
        elif config.positions.kind == "learned":
            self.positions = LearnedPositions(config.d_model, config.max_positions)
        self.norm = make_norm(config) if config.embedding_norm else nn.Identity()
        self.dropout = Dropout(config.dropout)
        self.noise = UniformNoise(config.embedding_noise)

    def forward(self, ids: Tensor, positions: Tensor | int = 0, shift: Tensor | None = None) -> Tensor:
        """B×T ids to B×T×D.

        Args:
            positions: absolute position of the first column, or B×T positions.
            shift: B×T×D, added.
        """
        x = self.tokens(ids)
        if self.positions is None:
            x = x * self.scale
        else:
            if isinstance(positions, int):
                table = self.positions.slice(positions + ids.shape[1], positions)
            else:
                table = self.positions(positions)
            x = torch.add(table, x, alpha=self.scale)
        return self.dropout(self.norm(self.noise(x if shift is None else x + shift)))


class Shifts(NamedTuple):
    """What to add to the embeddings of a batch."""

    source: Tensor
    """B×S×D."""
    target: Tensor
    """B×T×D."""


class DecoderState:
    """What the decoder keeps between steps: its own keys and values, and those of the source."""

    def __init__(self, memories: list[tuple[Tensor, Tensor]], memory_mask: Mask | None, caches: list[KeyValueCache]):
        self.memories = memories
        self.memory_mask = memory_mask
        self.caches = caches

    @property
    def length(self) -> int:
        """Columns decoded so far."""
        return self.caches[0].used


class Transformer(nn.Module):
    """Encoder and decoder stacks over an embedder each, with a (tied) vocabulary head."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if not config.encoder_layers or not config.decoder_layers:
            raise ConfigError(
                "a model that translates has an encoder and a decoder; set encoder_layers and decoder_layers."
            )
        self.config = config
        self.source_embedder = Embedder(config.source_vocab_size, config)
        self.target_embedder = Embedder(config.target_vocab_size, config)
        before, after = make_positions(config, causal=False), make_positions(config, causal=True)
        self.encoder = nn.ModuleList(EncoderLayer(config, next(before)) for _ in range(config.encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(config, next(after)) for _ in range(config.decoder_layers))
        final = config.norm_position == "pre"  # post-norm layers end normalised
        self.encoder_norm = make_norm(config) if final else nn.Identity()
        self.decoder_norm = make_norm(config) if final else nn.Identity()
        self.head = nn.Linear(config.d_model, config.target_vocab_size, bias=config.output_bias)
        self._initialise()
        self.tie_weights()
        #: Which adapters are on, where there are any.
        self.adapters = Switch()
        #: Puts learned vectors in front of the source, set by prompt tuning.
        self.prompt: nn.Module | None = None

    def tie_weights(self) -> None:
        """Make the shared matrices one parameter, as ``config.tie`` says."""
        if self.config.tie in ("all", "decoder"):
            self.head.weight = self.target_embedder.tokens.weight
        if self.config.tie == "all":
            self.source_embedder.tokens.weight = self.target_embedder.tokens.weight

    def _initialise(self) -> None:
        initialise(self, self.config.d_model)

    def encode(self, source: Tensor, lengths: Tensor, shift: Tensor | None = None) -> tuple[Tensor, Mask]:
        """Source ids B×S with their B lengths to the memory B×S×D and its mask; ``shift`` moves the embeddings."""
        mask = Mask.padding(lengths)
        x, seen = self.source_embedder(source, shift=shift), within_window(mask, self.config)
        if self.prompt is not None:
            x, seen = self.prompt(x, seen)
        for layer in kept(self.encoder, self):
            x = layer(x, seen)
        return self.encoder_norm(x[:, -source.shape[1] :]), mask

    def project_memory(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the memory for each decoder layer, computed once a sentence."""
        return [layer.cross_attention.project_memory(memory) for layer in self.decoder]  # type: ignore[union-attr]

    def decode_full(self, inputs: Tensor, memory: Tensor, memory_mask: Mask, shift: Tensor | None = None) -> Tensor:
        """Decoder inputs B×T (shifted right) against the memory: states B×T×D; ``shift`` moves the embeddings."""
        x, causal = self.target_embedder(inputs, shift=shift), within_window(Mask.causal(), self.config)
        for layer in kept(self.decoder, self):
            projected = layer.cross_attention.project_memory(memory)  # type: ignore[union-attr, operator]
            x = layer(x, causal, projected, memory_mask)
        return self.decoder_norm(x)

    def start(self, memory: Tensor, memory_mask: Mask, rows: int, capacity: int) -> DecoderState:
        """A fresh decoding state of ``rows`` rows and ``capacity`` columns.

        Raises:
            ValueError: ``rows`` is not a multiple of the memory's rows.
        """
        if not len(memory) or rows % len(memory):
            raise ValueError(f"{rows} rows cannot share a memory of {len(memory)} rows evenly")
        caches = make_caches(self.config, rows, capacity, like=memory)
        return DecoderState(self.project_memory(memory), memory_mask, caches)

    def decode_step(
        self,
        inputs: Tensor,
        state: DecoderState,
        *,
        positions: Tensor | int | None = None,
        mask: Mask | None = None,
        first: int = 0,
    ) -> Tensor:
        """Decode the next T columns, B×T ids, after those in ``state``: hidden states B×T×D.

        Args:
            positions: position of the first new column (default: the columns so far), or
                B×T positions where rows differ.
            mask: what each row may see among the columns from ``first`` on; default
                causal over all of them. One for rows that joined late must be causal
                itself when T is more than 1.
            first: columns before it belong to no row any more.
        """
        start = state.length if positions is None else positions
        x = self.target_embedder(inputs, start)
        rotations = None  # what rotary positions need; masks count cache columns instead
        if self.config.positions.kind == "rotary":
            rotations = (
                start if isinstance(start, Tensor) else start + torch.arange(inputs.shape[1], device=inputs.device)
            )
        mask = within_window(Mask.causal() if mask is None else mask, self.config)
        for layer, cache, memory in zip(self.decoder, state.caches, state.memories, strict=True):
            x = layer(x, mask, memory, state.memory_mask, positions=rotations, cache=cache, first=first)
        return self.decoder_norm(x)

    def forward(
        self,
        batch: Batch,
        label_smoothing: float = 0.0,
        objective: "Callable[[Transformer, Batch], Tensor] | None" = None,
    ) -> Tensor:
        """The loss of a batch in nats, summed over its ``batch.num_tokens`` target pieces.

        Args:
            batch: sentence pairs.
            label_smoothing: ε of the cross-entropy.
            objective: another loss in its place, such as those of :mod:`regard.model.objective`.
        """
        if objective is not None:
            return objective(self, batch)
        return vocabulary_loss(self, self.states(batch), batch.targets, batch.target_index, label_smoothing)

    def states(self, batch: Batch, shifts: Shifts | None = None) -> Tensor:
        """What the head reads: hidden states B×T×D; ``shifts`` move the embeddings."""
        source_shift, target_shift = shifts or (None, None)
        memory, mask = self.encode(batch.source, batch.source_lengths, source_shift)
        return self.decode_full(batch.target_inputs, memory, mask, target_shift)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states …×D to logits …×W."""
        return self.head(hidden)

    def cross_attention(self, source: Tensor, lengths: Tensor, inputs: Tensor, layer: int = -1) -> Tensor:
        """Cross-attention weights of one decoder layer for given decoder inputs: B×H×T×S.

        Args:
            source: B×S ids.
            lengths: B lengths.
            inputs: B×T decoder inputs.
            layer: which one; negative numbers count from the last.
        """
        memory, memory_mask = self.encode(source, lengths)
        x, causal = self.target_embedder(inputs), within_window(Mask.causal(), self.config)
        projected = self.project_memory(memory)
        index = range(len(self.decoder))[layer]
        for i in range(index):
            x = self.decoder[i](x, causal, projected[i], memory_mask)
        return self.decoder[index].cross_weights(x, causal, projected[index], memory_mask)  # type: ignore[operator]

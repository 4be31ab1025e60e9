"""The encoder-decoder Transformer (Vaswani et al. 2017): embedder → stack → head."""

import math

import torch
from torch import Tensor, nn

from regard.attention import (
    AdaptiveSpan,
    Dropout,
    KeyValueCache,
    LearnedPositions,
    Mask,
    SinusoidalPositions,
)
from regard.attention.dropout import UniformNoise
from regard.data.batch import Batch
from regard.model.adapted import Switch
from regard.model.config import ModelConfig
from regard.model.layers import DecoderLayer, EncoderLayer, make_norm, make_positions
from regard.model.loss import cross_entropy


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
        self.dropout = Dropout(config.dropout)
        self.noise = UniformNoise(config.embedding_noise)

    def forward(self, ids: Tensor, positions: Tensor | int = 0) -> Tensor:
        """B×T ids to B×T×D.

        Args:
            positions: absolute position of the first column, or B×T positions.
        """
        x = self.tokens(ids)
        if self.positions is None:
            return self.dropout(self.noise(x * self.scale))
        if isinstance(positions, int):
            table = self.positions.slice(positions + ids.shape[1], positions)
        else:
            table = self.positions(positions)
        return self.dropout(self.noise(torch.add(table, x, alpha=self.scale)))


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
        """Glorot-uniform matrices (Glorot and Bengio 2010), embeddings of standard deviation D^-½."""
        for name, parameter in self.named_parameters():
            if ".scoring." in name:
                continue  # what scores are made of knows how to begin
            if parameter.dim() < 2:
                if name.endswith("bias"):
                    nn.init.zeros_(parameter)
            elif "embedder" in name or name.startswith("head"):
                nn.init.normal_(parameter, std=self.config.d_model**-0.5)
            else:
                # query, key and value count as parts of one D×3D matrix
                joint = name.split(".")[-2] in ("query", "key", "value")
                nn.init.xavier_uniform_(parameter, gain=2**-0.5 if joint else 1.0)
        for embedder in (self.source_embedder, self.target_embedder):
            with torch.no_grad():
                embedder.tokens.weight[self.config.pad_id].zero_()

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Mask]:
        """Source ids B×S with their B lengths to the memory B×S×D and its mask."""
        mask = Mask.padding(lengths)
        x, seen = self.source_embedder(source), self._within_window(mask)
        if self.prompt is not None:
            x, seen = self.prompt(x, seen)
        for layer in self.encoder:
            x = layer(x, seen)
        return self.encoder_norm(x[:, -source.shape[1] :]), mask

    def _within_window(self, mask: Mask) -> Mask:
        """``mask``, within the window that self-attention has, if it has one."""
        window = self.config.attention.window
        return mask if window is None else mask & Mask.window(window, window)

    def project_memory(self, memory: Tensor) -> list[tuple[Tensor, Tensor]]:
        """Keys and values of the memory for each decoder layer, computed once a sentence."""
        return [layer.cross_attention.project_memory(memory) for layer in self.decoder]  # type: ignore[union-attr]

    def decode_full(self, inputs: Tensor, memory: Tensor, memory_mask: Mask) -> Tensor:
        """Decoder inputs B×T (shifted right) against the memory: hidden states B×T×D."""
        x, causal = self.target_embedder(inputs), self._within_window(Mask.causal())
        for layer, projected in zip(self.decoder, self.project_memory(memory), strict=True):
            x = layer(x, causal, projected, memory_mask)
        return self.decoder_norm(x)

    def start(self, memory: Tensor, memory_mask: Mask, rows: int, capacity: int) -> DecoderState:
        """A fresh decoding state of ``rows`` rows and ``capacity`` columns.

        Raises:
            ValueError: ``rows`` is not a multiple of the memory's rows.
        """
        if not len(memory) or rows % len(memory):
            raise ValueError(f"{rows} rows cannot share a memory of {len(memory)} rows evenly")
        config = self.config
        caches = [
            KeyValueCache.empty(
                rows,
                config.num_kv_heads,
                capacity,
                config.key_width,
                config.value_width,
                dtype=memory.dtype,
                device=memory.device,
                window=config.attention.window,
            )
            for _ in self.decoder
        ]
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
        mask = self._within_window(Mask.causal() if mask is None else mask)
        for layer, cache, memory in zip(self.decoder, state.caches, state.memories, strict=True):
            x = layer(x, mask, memory, state.memory_mask, positions=rotations, cache=cache, first=first)
        return self.decoder_norm(x)

    def forward(self, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of a batch in nats, summed over its ``batch.num_tokens`` target pieces."""
        memory, mask = self.encode(batch.source, batch.source_lengths)
        hidden = self.decode_full(batch.target_inputs, memory, mask)
        hidden = hidden.flatten(0, 1)
        if batch.target_index is not None:  # drop padding before the largest matrix product
            hidden = hidden.index_select(0, batch.target_index)
        loss = cross_entropy(hidden, self.head.weight, batch.targets, label_smoothing, self.head.bias)
        penalty = self.config.attention.span_penalty
        return loss + penalty * batch.num_tokens * self.mean_span() if penalty and self.training else loss

    def mean_span(self) -> Tensor:
        """How many pieces a head of self-attention sees, on average over all that learn it (a section ``max_span``)."""
        return torch.stack([module.loss() for module in self.modules() if isinstance(module, AdaptiveSpan)]).mean()

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
        x, causal = self.target_embedder(inputs), self._within_window(Mask.causal())
        projected = self.project_memory(memory)
        index = range(len(self.decoder))[layer]
        for i in range(index):
            x = self.decoder[i](x, causal, projected[i], memory_mask)
        return self.decoder[index].cross_weights(x, causal, projected[index], memory_mask)  # type: ignore[operator]

"""A decoder without an encoder: a causal language model (GPT-2, Radford et al. 2019)."""

from itertools import repeat

import torch
from torch import Tensor, nn

from regard.attention import KeyValueCache, Mask
from regard.base.errors import ConfigError
from regard.data.batch import TextBatch
from regard.model.config import ModelConfig
from regard.model.head import vocabulary_loss
from regard.model.layers import EncoderLayer, initialise, kept, make_caches, make_norm, make_positions, within_window
from regard.model.transformer import Embedder


class DecoderOnly(nn.Module):
    """The decoder of a :class:`regard.model.Transformer`, by the same names, without its cross-attention."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if config.encoder_layers or not config.decoder_layers:
            raise ConfigError("a causal language model is a decoder alone; set encoder_layers to 0.")
        self.config = config
        self.target_embedder = Embedder(config.target_vocab_size, config)
        positions = make_positions(config, causal=True)
        self.decoder = nn.ModuleList(EncoderLayer(config, next(positions)) for _ in range(config.decoder_layers))
        self.decoder_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(config.d_model, config.target_vocab_size, bias=config.output_bias)
        initialise(self, config.d_model)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make embedding and head one matrix, unless ``config.tie`` is none."""
        if self.config.tie != "none":
            self.head.weight = self.target_embedder.tokens.weight

    def start(self, rows: int, capacity: int) -> list[KeyValueCache]:
        """An empty cache for each layer, with room for ``capacity`` columns."""
        return make_caches(self.config, rows, capacity, like=self.target_embedder.tokens.weight)

    def decode(self, inputs: Tensor, caches: list[KeyValueCache] | None = None) -> Tensor:
        """Ids B×T to hidden states B×T×D; with caches, T columns after those that they hold, which are added."""
        first = caches[0].used if caches else 0
        x, mask = self.target_embedder(inputs, first), within_window(Mask.causal(), self.config)
        rotations = first + torch.arange(inputs.shape[1], device=inputs.device) if caches else None
        for layer, cache in kept(zip(self.decoder, caches or repeat(None)), self):  # noqa: B905 - as many as layers
            x = layer(x, mask, positions=rotations, cache=cache)
        return self.decoder_norm(x)

    def forward(self, batch: TextBatch, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of a batch in nats, summed over its ``batch.num_tokens`` pieces."""
        return vocabulary_loss(self, self.decode(batch.inputs), batch.targets, batch.index, label_smoothing)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states …×D to logits …×W."""
        return self.head(hidden)

"""An encoder with a vocabulary head: a masked language model (BERT, Devlin et al. 2019)."""

from torch import Tensor, nn

from regard.attention import Mask
from regard.base.errors import ConfigError
from regard.data.batch import TextBatch
from regard.model.config import ModelConfig
from regard.model.head import vocabulary_loss
from regard.model.layers import EncoderLayer, initialise, kept, make_norm, make_positions, within_window
from regard.model.transformer import Embedder


class EncoderOnly(nn.Module):
    """The encoder of a :class:`regard.model.Transformer`, by the same names, and a head that is mostly tied."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        if not config.encoder_layers or config.decoder_layers:
            raise ConfigError("a masked language model is an encoder alone; set decoder_layers to 0.")
        self.config = config
        self.source_embedder = Embedder(config.source_vocab_size, config)
        positions = make_positions(config, causal=False)
        self.encoder = nn.ModuleList(EncoderLayer(config, next(positions)) for _ in range(config.encoder_layers))
        self.encoder_norm = make_norm(config) if config.norm_position == "pre" else nn.Identity()
        self.head = nn.Linear(config.d_model, config.source_vocab_size, bias=config.output_bias)
        initialise(self, config.d_model)
        self.tie_weights()

    def tie_weights(self) -> None:
        """Make embedding and head one matrix, unless ``config.tie`` is none."""
        if self.config.tie != "none":
            self.head.weight = self.source_embedder.tokens.weight

    def encode(self, inputs: Tensor, lengths: Tensor) -> Tensor:
        """Ids B×S with their B lengths to hidden states B×S×D."""
        x, mask = self.source_embedder(inputs), within_window(Mask.padding(lengths), self.config)
        for layer in kept(self.encoder, self):
            x = layer(x, mask)
        return self.encoder_norm(x)

    def forward(self, batch: TextBatch, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of a batch in nats, summed over its ``batch.num_tokens`` hidden pieces."""
        hidden = self.encode(batch.inputs, batch.lengths)
        return vocabulary_loss(self, hidden, batch.targets, batch.index, label_smoothing)

    def logits(self, hidden: Tensor) -> Tensor:
        """Hidden states …×D to logits …×W."""
        return self.head(hidden)

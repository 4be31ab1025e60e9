"""What came before the Transformer: a recurrent encoder-decoder with additive attention (Bahdanau et al. 2015).

The baseline of the comparisons. It has the paper's parts (a bidirectional encoder, a decoder of gated units, attention
from the decoder's last state, a maxout layer before the output) and the project's attention: one head of the additive
similarity that any Transformer here may have, too.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from regard.attention import Additive, Dropout, Mask, Scoring, attend
from regard.base.errors import ConfigError
from regard.data.batch import Batch
from regard.model.loss import cross_entropy


@dataclass(frozen=True)
class RecurrentConfig:
    """Sizes of the model."""

    source_vocab_size: int
    """Number of source pieces."""
    target_vocab_size: int
    """W, number of target pieces."""
    embedding: int = 256
    """Width of an embedding; the paper has 620."""
    hidden: int = 512
    """Units of the decoder, and of each direction of the encoder; the paper has 1,000."""
    attention: int = 256
    """K, units of the layer that compares the decoder's state with a source position; the paper has 1,000."""
    dropout: float = 0.2
    """Rate on embeddings and before the output."""
    pad_id: int = 0
    """Padding."""
    bos_id: int = 2
    """First input of the decoder."""
    eos_id: int = 3
    """End of sentence."""

    def __post_init__(self) -> None:
        for name in ("source_vocab_size", "target_vocab_size", "embedding", "hidden", "attention"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.embedding % 2:
            raise ConfigError(f"embedding must be even (the maxout layer takes pairs), got {self.embedding}.")


class RecurrentTranslator(nn.Module):
    """Bidirectional encoder, attention, decoder; trained and validated as the Transformer is."""

    def __init__(self, config: RecurrentConfig):
        super().__init__()
        self.config = config
        width, hidden = config.embedding, config.hidden
        self.source_tokens = nn.Embedding(config.source_vocab_size, width, padding_idx=config.pad_id)
        self.target_tokens = nn.Embedding(config.target_vocab_size, width, padding_idx=config.pad_id)
        self.encoder = nn.GRU(width, hidden, batch_first=True, bidirectional=True)
        self.begin = nn.Linear(hidden, hidden)
        self.query = nn.Linear(hidden, config.attention, bias=False)
        self.key = nn.Linear(2 * hidden, config.attention)
        self.scoring = Scoring(Additive(1, config.attention))
        self.decoder = nn.GRUCell(width + 2 * hidden, hidden)
        self.before_output = nn.Linear(hidden + width + 2 * hidden, 2 * width)
        self.head = nn.Linear(width, config.target_vocab_size, bias=False)
        self.dropout = Dropout(config.dropout)
        for embedding in (self.source_tokens, self.target_tokens):
            nn.init.normal_(embedding.weight, std=width**-0.5)

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor, Tensor, Mask]:
        """Source ids B×S with B lengths to annotations and their keys, the first state and the mask.

        Returns:
            Annotations B×1×S×2n (both directions), keys B×1×S×K, the decoder's first state B×n, the mask.
        """
        x = self.dropout(self.source_tokens(source))
        packed = pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, last = self.encoder(packed)
        annotations = pad_packed_sequence(states, batch_first=True, total_length=source.shape[1])[0]
        start = torch.tanh(self.begin(last[1]))  # the backward direction ends at the first word
        return annotations[:, None], self.key(annotations)[:, None], start, Mask.padding(lengths)

    def step(
        self, embedded: Tensor, state: Tensor, annotations: Tensor, keys: Tensor, mask: Mask
    ) -> tuple[Tensor, Tensor]:
        """One target piece, B×E: the next state B×n, and what the output layer sees, B×E."""
        query = self.query(state)[:, None, None]  # B×1×1×K
        context = attend(query, keys, annotations, mask, self.scoring)[:, 0, 0]  # B×2n
        following = self.decoder(torch.cat([embedded, context], dim=-1), state)
        readout = self.before_output(torch.cat([following, embedded, context], dim=-1))
        return following, self.dropout(readout.unflatten(-1, (-1, 2)).amax(-1))  # maxout

    def forward(self, batch: Batch, label_smoothing: float = 0.0) -> Tensor:
        """The cross-entropy of a batch in nats, summed over its target pieces."""
        annotations, keys, state, mask = self.encode(batch.source, batch.source_lengths)
        outputs = []
        for embedded in self.dropout(self.target_tokens(batch.target_inputs)).unbind(1):
            state, output = self.step(embedded, state, annotations, keys, mask)
            outputs.append(output)
        hidden = torch.stack(outputs, dim=1).flatten(0, 1)
        if batch.target_index is not None:
            hidden = hidden.index_select(0, batch.target_index)
        return cross_entropy(hidden, self.head.weight, batch.targets, label_smoothing)

    @torch.inference_mode()
    def greedy(self, source: Tensor, lengths: Tensor, limit: int) -> list[list[int]]:
        """The best piece at each step, up to the end of the sentence or ``limit`` pieces."""
        annotations, keys, state, mask = self.encode(source, lengths)
        pieces, produced = torch.full((len(source),), self.config.bos_id, device=source.device), []
        ended = torch.zeros_like(pieces, dtype=torch.bool)
        for _ in range(limit):
            state, output = self.step(self.target_tokens(pieces), state, annotations, keys, mask)
            pieces = self.head(output).argmax(-1)
            produced.append(pieces)
            ended |= pieces == self.config.eos_id
            if ended.all():
                break
        rows = torch.stack(produced, dim=1).tolist() if produced else [[] for _ in range(len(source))]
        eos = self.config.eos_id
        return [row[: row.index(eos)] if eos in row else row for row in rows]

"""What a model thinks of text that is given: how probable a translation is, how sure it was, where a sentence lies.

Unlike a translation, which costs a step a piece, this is one pass over whole batches, on the PyTorch engine's models.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from regard.base.errors import ConfigError
from regard.data.batch import collate, pad
from regard.decode.engine import TorchEngine
from regard.model.head import predicting

if TYPE_CHECKING:
    from regard.data.corpus import Pair
    from regard.tasks.translation import Translator

#: Pieces of the longer side × rows of a batch.
_BATCH_PIECES = 2048
#: Pairs with a side of more pieces are not judged.
MAX_PIECES = 512


@dataclass(frozen=True)
class Judgement:
    """What a model thinks of a translation, teacher-forced."""

    log_prob: float
    """Mean natural-log probability of a piece, the end of the sentence included."""
    entropy: float
    """Mean entropy, in nats, of the distributions that the pieces stand in: how unsure the model was there."""


class ForcedDecoder:
    """The models of a translator, asked about text that is given."""

    def __init__(self, translator: "Translator"):
        """
        Args:
            translator: one with the PyTorch engine (``engine="torch"``); several models of it are averaged.

        Raises:
            ConfigError: it has another engine.
        """
        if not isinstance(translator.engine, TorchEngine):
            raise ConfigError("given translations are scored by the PyTorch engine; load the model with engine torch.")
        self._translator, self._engine = translator, translator.engine

    @torch.inference_mode()
    def judge(self, pairs: "Sequence[Pair]", source: str, target: str) -> list[Judgement | None]:
        """What the model thinks of each pair; None where a side is empty or longer than :data:`MAX_PIECES`.

        Args:
            pairs: a sentence and its translation each.
            source: language of the first side.
            target: language of the second side.

        Raises:
            ConfigError: a direction that the model does not have.
        """
        tag, begin = self._translator.tags(*self._translator.check_direction(source, target))
        sources, targets = (
            tokenizer.encode_batch(pair[side] for pair in pairs)
            for side, tokenizer in enumerate(self._translator.tokenizers)
        )
        return self.judge_pieces(sources, targets, tag, begin)

    @torch.inference_mode()
    def judge_pieces(
        self,
        sources: Sequence[list[int]],
        targets: Sequence[list[int]],
        tag: Sequence[int] = (),
        begin: Sequence[int] = (),
    ) -> list[Judgement | None]:
        """The same for pieces, without the end of the sentence.

        Args:
            sources: a list of pieces a sentence.
            targets: those of its translation.
            tag: stands in front of every source.
            begin: stands in front of every translation, and is not judged.
        """
        longest = min([MAX_PIECES, *(m.config.max_positions - 2 for m in self._engine.models if _is_limited(m))])
        fit = [
            i
            for i, (s, t) in enumerate(zip(sources, targets, strict=True))
            if s and t and max(len(s) + len(tag), len(t) + len(begin)) <= longest
        ]
        found: list[Judgement | None] = [None] * len(sources)
        for rows in _batches(fit, [max(len(s), len(t)) for s, t in zip(sources, targets, strict=True)]):
            lengths, skip = [len(begin) + len(targets[i]) + 1 for i in rows], len(begin)
            tables = self._tables([[*tag, *sources[i]] for i in rows], [[*begin, *targets[i]] for i in rows])
            for i, p, e in zip(rows, *(table.split(lengths) for table in tables), strict=True):
                found[i] = Judgement(float(p[skip:].mean()), float(e[skip:].mean()))
        return found

    def _tables(self, sources: list[list[int]], targets: list[list[int]]) -> tuple[Tensor, Tensor]:
        """For all target pieces of a batch, row after row: log-probabilities and entropies."""
        c = self._engine.config
        batch = collate(sources, targets, pad_id=c.pad_id, bos_id=c.bos_id, eos_id=c.eos_id).to(self._engine.device)
        tables = []
        for model in self._engine.models:
            hidden = predicting(model.states(batch), batch.target_index)
            tables.append(model.logits(hidden).float().log_softmax(-1))
        table = torch.stack(tables).logsumexp(0) - np.log(len(tables)) if len(tables) > 1 else tables[0]
        gold = table.gather(1, batch.targets[:, None])[:, 0]
        return gold.cpu(), -(table.exp() * table).sum(-1).cpu()

    @torch.inference_mode()
    def represent(self, texts: Sequence[str], source: str, target: str) -> np.ndarray:
        """Where sentences lie for the model: n×D means of its encoder's output over the pieces.

        Sentences of more than :data:`MAX_PIECES` pieces are cut off there. Of several models, the first is asked.

        Args:
            texts: the sentences.
            source: their language.
            target: a language that the model translates them into.
        """
        model, c = self._engine.models[0], self._engine.config
        limit = min(MAX_PIECES, c.max_positions - 1) if _is_limited(model) else MAX_PIECES
        tag, _ = self._translator.tags(*self._translator.check_direction(source, target))
        encoded = self._translator.tokenizers[0].encode_batch(texts)
        rows_of = [[*[*tag, *ids][:limit], c.eos_id] for ids in encoded]
        found = np.zeros((len(texts), c.d_model), dtype=np.float32)
        for rows in _batches(range(len(texts)), list(map(len, rows_of))):
            lengths = torch.tensor([len(rows_of[i]) for i in rows])
            ids = pad([rows_of[i] for i in rows], c.pad_id).to(self._engine.device)
            memory = model.encode(ids, lengths)[0].float()
            real = (torch.arange(ids.shape[1])[None] < lengths[:, None]).to(memory)
            mean = (memory * real[:, :, None]).sum(1) / real.sum(1, keepdim=True)
            found[rows] = mean.cpu().numpy()
        return found


def _is_limited(model: Any) -> bool:
    """Whether positions are learned, and no more than there are can be used."""
    return model.config.positions.kind == "learned"


def _batches(indices: Sequence[int], lengths: Sequence[int]) -> Iterator[list[int]]:
    """``indices`` in groups of like length."""
    rows: list[int] = []
    for i in sorted(indices, key=lambda i: lengths[i]):
        if rows and (len(rows) + 1) * (lengths[i] + 1) > _BATCH_PIECES:
            yield rows
            rows = []
        rows.append(i)
    if rows:
        yield rows

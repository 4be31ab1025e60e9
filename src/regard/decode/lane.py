"""A running batch: sentences with the same number of rows each, decoded in step.

Sentences join and leave while it runs. All rows write to the same cache column; a
sentence that joined at column c has its first piece there and sees nothing before.
The rows of one sentence share its encoder output.
"""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regard.attention import Mask
from regard.data.batch import pad
from regard.decode.constraints import NEVER, Candidate, Progress, allot, forbid, force
from regard.decode.request import Hypothesis, Request, length_penalty
from regard.decode.sampling import draw
from regard.model import DecoderState, Transformer
from regard.model.adapted import sentences

FIRST_CAPACITY = 64


@dataclass
class Group:
    """One sentence in a lane."""

    number: int
    """The engine's number of the request."""
    request: Request
    start: int
    """Column of its begin-of-sentence piece."""
    limit: int
    """Most pieces."""
    generator: torch.Generator | None = None
    """Source of randomness, when sampling."""
    finished: list[Hypothesis] = field(default_factory=list)
    """Hypotheses that reached the end of the sentence, or the limit."""
    done: bool = False
    """Nothing better can come."""


class Lane:
    """Sentences of ``width`` rows each."""

    def __init__(self, models: list[Transformer], width: int, never: Tensor):
        """
        Args:
            models: packed models whose probabilities are averaged.
            width: rows of each sentence (beam size, or number of samples).
            never: pieces that are never produced.
        """
        self.models, self.width, self.never = models, width, never
        self.config = models[0].config
        self.device = never.device
        self.groups: list[Group] = []
        self.states: list[DecoderState] = []
        self.lengths = torch.empty(0, dtype=torch.long)
        self.column = 0
        self.tokens = torch.empty(0, 0, dtype=torch.long)
        self.log_probs = torch.empty(0, 0)
        self.scores = torch.empty(0)

    # ---- joining and leaving

    def join(self, numbered: list[tuple[int, Request]]) -> None:
        """Encode requests and let them start at the present column."""
        lengths = torch.tensor([len(request.source) for _, request in numbered])
        source = pad([request.source for _, request in numbered], self.config.pad_id).to(self.device)
        if not self.groups:
            self._reset(lengths)
        rows = len(numbered) * self.width
        with sentences([request.adapters for _, request in numbered]):
            for number, model in enumerate(self.models):
                memory, mask = model.encode(source, lengths)
                if len(self.states) < len(self.models):
                    self.states.append(model.start(memory, mask, rows, FIRST_CAPACITY))
                else:
                    self._join_state(self.states[number], model.project_memory(memory), rows)
        if self.groups:
            self.lengths = torch.cat([self.lengths, lengths])
            self._refresh_masks()
        self.tokens = _append_rows(self.tokens, rows, self.config.pad_id, FIRST_CAPACITY)
        self.log_probs = _append_rows(self.log_probs, rows, 0.0, FIRST_CAPACITY)
        self.tokens[-rows:, self.column] = self.config.bos_id
        scores = torch.zeros(len(numbered), self.width)
        if not numbered[0][1].options.sample:
            scores[:, 1:] = NEVER  # the rows of a sentence are equal at first: only one may branch
        self.scores = torch.cat([self.scores, scores.flatten().to(self.scores)])
        for number, request in numbered:
            options = request.options
            generator = torch.Generator(self.device).manual_seed(options.seed) if options.sample else None
            limit = max(options.limit(len(request.source)), len(request.prefix) + options.required_pieces + 1)
            self.groups.append(Group(number, request, self.column, limit, generator))

    def _reset(self, lengths: Tensor) -> None:
        self.states, self.lengths, self.column = [], lengths, 0
        self.tokens = torch.empty(0, FIRST_CAPACITY, dtype=torch.long, device=self.device)
        self.log_probs = torch.empty(0, FIRST_CAPACITY, device=self.device)
        self.scores = torch.empty(0, device=self.device)

    def _join_state(self, state: DecoderState, memories: list[tuple[Tensor, Tensor]], rows: int) -> None:
        for cache in state.caches:
            cache.add_rows(rows)
        state.memories = [
            (_stack_padded(key, new_key), _stack_padded(value, new_value))
            for (key, value), (new_key, new_value) in zip(state.memories, memories, strict=True)
        ]

    def _refresh_masks(self) -> None:
        longest = int(self.lengths.max())
        for state in self.states:
            if state.memories[0][0].shape[2] > longest:
                state.memories = [(key[:, :, :longest], value[:, :, :longest]) for key, value in state.memories]
            state.memory_mask = Mask.padding(self.lengths)

    def remove(self, keep: list[int]) -> None:
        """Keep only the groups at these places; the others cost nothing from here on."""
        self.groups = [self.groups[i] for i in keep]
        if not keep:
            return
        groups = torch.tensor(keep)
        rows = (groups[:, None] * self.width + torch.arange(self.width)).flatten()
        first = self.first
        self.lengths = self.lengths[groups]
        self.tokens, self.log_probs = self.tokens[rows.to(self.device)], self.log_probs[rows.to(self.device)]
        self.scores = self.scores[rows.to(self.device)]
        for state in self.states:
            for cache in state.caches:
                cache.select(rows.to(self.device), first)
            index = groups.to(self.device)
            state.memories = [(key[index], value[index]) for key, value in state.memories]
        self._refresh_masks()

    @property
    def first(self) -> int:
        """The first column that any sentence uses."""
        return min(group.start for group in self.groups)

    def pieces(self, row: int) -> list[int]:
        """What a row has produced so far."""
        return self.tokens[row, self.groups[row // self.width].start + 1 : self.column + 1].tolist()

    # ---- one step

    def step(self) -> list[Group]:
        """Produce the next piece of every row; returns the sentences that are done, and removes them."""
        self._make_room()
        logits = self._logits()
        self._restrict(logits)
        # the probabilities of all pieces, before any rule
        log_sum = torch.logsumexp(logits, dim=-1)
        self._apply_rules(logits)
        if self.groups[0].request.options.sample:
            self._advance_samples(logits, log_sum)
        elif self.width == 1:
            self._advance_greedy(logits, log_sum)
        else:
            self._advance_beams(logits, log_sum)
        self.column += 1
        done = [group for group in self.groups if group.done]
        # Removing moves caches about; a few idle rows are cheaper.
        if done and (len(done) == len(self.groups) or 8 * sum(g.done for g in self.groups) >= len(self.groups)):
            self.remove([i for i, group in enumerate(self.groups) if not group.done])
        return done

    def _logits(self) -> Tensor:
        """Logits of the next piece, rows×W in float32 (log of the mean probability for several models)."""
        inputs = self.tokens[:, self.column : self.column + 1]
        first = self.first
        together = all(group.start == first for group in self.groups)
        positions: Tensor | int
        if together:
            positions, mask = self.column - first, None
        else:
            starts = torch.tensor([g.start for g in self.groups]).repeat_interleave(self.width)
            positions = (self.column - starts)[:, None].to(self.device)
            mask = Mask.since(starts - first)
        found = []
        with sentences([group.request.adapters for group in self.groups]):
            for model, state in zip(self.models, self.states, strict=True):
                hidden = model.decode_step(inputs, state, positions=positions, mask=mask, first=first)
                found.append(model.head(hidden)[:, -1].float())
        if len(found) == 1:
            return found[0]
        return torch.logsumexp(torch.stack([f.log_softmax(-1) for f in found]), dim=0) - math.log(len(found))

    def _restrict(self, logits: Tensor) -> None:
        """Leave only the pieces of those requests that have a vocabulary of their own."""
        for i, group in enumerate(self.groups):
            if group.request.vocabulary is not None:
                rows = logits[i * self.width : (i + 1) * self.width]
                index = torch.tensor(sorted(group.request.vocabulary), device=self.device)
                rows.copy_(torch.full_like(rows, NEVER).index_copy_(1, index, rows[:, index]))

    def _apply_rules(self, logits: Tensor) -> None:
        never = logits[:, self.never]  # a prefix may have pieces that are never produced, such as tags
        logits[:, self.never] = NEVER
        for i, group in enumerate(self.groups):
            options, prefix = group.request.options, group.request.prefix
            produced = self.column - group.start
            if produced < len(prefix):
                rows = slice(i * self.width, (i + 1) * self.width)
                logits[rows, self.never] = never[rows]
                for row in logits[rows]:
                    force(row, prefix[produced])
                continue
            if produced < options.min_length:
                logits[i * self.width : (i + 1) * self.width, self.config.eos_id] = NEVER
            if not options.is_plain:
                for row in range(i * self.width, (i + 1) * self.width):
                    forbid(logits[row], self.pieces(row), options, self.config.eos_id)

    def _advance_greedy(self, logits: Tensor, log_sum: Tensor) -> None:
        best, pieces = logits.max(dim=-1)
        self._write(pieces, best - log_sum)
        self._close_rows(pieces.tolist())

    def _advance_samples(self, logits: Tensor, log_sum: Tensor) -> None:
        drawn = []
        for i, group in enumerate(self.groups):
            rows = logits[i * self.width : (i + 1) * self.width]
            drawn.append(draw(rows, group.request.options, group.generator))
        pieces = torch.cat(drawn)
        chosen = logits.gather(1, pieces[:, None])[:, 0]
        self._write(pieces, chosen - log_sum)
        self._close_rows(pieces.tolist())

    def _advance_beams(self, logits: Tensor, log_sum: Tensor) -> None:
        width, eos = self.width, self.config.eos_id
        # 2·width candidates: even if half of them end the sentence, width go on
        count = min(2 * width, logits.shape[-1])
        best, pieces = logits.topk(count, dim=-1)  # rows × count
        log_probs = best - log_sum[:, None]
        totals = (self.scores[:, None] + log_probs).view(len(self.groups), -1)
        ranked, places = totals.topk(min(2 * width, totals.shape[-1]), dim=-1)  # groups × 2·width
        chosen = pieces.view(len(self.groups), -1).gather(1, places).tolist()
        piece_log_probs = log_probs.view(len(self.groups), -1).gather(1, places).tolist()
        parents, totals_list = (places // count).tolist(), ranked.tolist()
        next_rows, next_pieces, next_log_probs, next_scores = [], [], [], []
        for i, group in enumerate(self.groups):
            going: list[tuple[int, int, float, float]] = []
            candidates = zip(chosen[i], parents[i], piece_log_probs[i], totals_list[i], strict=True)
            if group.request.options.required:
                going = self._advance_required(i, group, logits, log_sum, pieces)
                candidates = ()
            for rank, (piece, parent, log_prob, total) in enumerate(candidates):
                row = i * width + parent
                if piece == eos:
                    if rank < width and total > NEVER and not group.done:
                        self._finish(group, row, [log_prob], finished=True)
                elif len(going) < width:
                    going.append((row, piece, log_prob, total))
            going += [(i * width, self.config.pad_id, 0.0, NEVER)] * (width - len(going))
            for row, piece, log_prob, total in going:
                next_rows.append(row)
                next_pieces.append(piece)
                next_log_probs.append(log_prob)
                next_scores.append(total)
        self._reorder(next_rows)
        self.scores = torch.tensor(next_scores, device=self.device)
        self._write(torch.tensor(next_pieces, device=self.device), torch.tensor(next_log_probs, device=self.device))
        for i, group in enumerate(self.groups):
            if not group.done:
                self._close_beam(i, group, next_scores[i * width : (i + 1) * width])

    def _advance_required(
        self, place: int, group: Group, logits: Tensor, log_sum: Tensor, best: Tensor
    ) -> list[tuple[int, int, float, float]]:
        """The rows (row, piece, log-probability, score) of a sentence with required sequences that go on."""
        options, eos, produced = group.request.options, self.config.eos_id, self.column - group.start
        candidates: list[Candidate] = []
        rows = [r for r in range(place * self.width, (place + 1) * self.width) if self.scores[r] > NEVER]
        for row in [] if group.done else rows:
            before = Progress.of(self.pieces(row), options.required)
            free = produced >= len(group.request.prefix)
            pieces: list[int] = [*best[row].tolist(), *(before.wanted() if free else [])]
            for piece in dict.fromkeys(pieces):
                log_prob = float(logits[row, piece] - log_sum[row])
                count = before.count if piece == eos else before.after(piece).count
                # not what leaves too little room for the rest
                if log_prob > NEVER and produced + 1 + options.required_pieces - count <= group.limit:
                    candidates.append(Candidate(row, piece, log_prob, float(self.scores[row]) + log_prob, count))
        ended, going = allot(candidates, self.width, options.required_pieces, eos)
        for candidate in ended:
            self._finish(group, candidate.row, [candidate.log_prob], finished=True)
        if not going and not group.done:
            for row in [] if group.finished else rows:  # the rules leave nothing: what there is must do
                self._finish(group, row, [], finished=False)
            group.done = True
        return [(c.row, c.piece, c.log_prob, c.total) for c in going]

    def _close_beam(self, place: int, group: Group, scores: list[float]) -> None:
        """Mark a beam as done when nothing that goes on can rank among its ``beam`` finished ones."""
        options, produced = group.request.options, self.column + 1 - group.start
        if produced >= group.limit:
            for j, total in enumerate(scores):
                if total > NEVER:
                    self._finish(group, place * self.width + j, [], finished=False, ahead=1)
            group.done = True
        elif len(group.finished) >= options.beam:
            worst = sorted((h.score for h in group.finished), reverse=True)[options.num_hypotheses - 1]
            # scores only fall, so the best that can come is the present one at the longest length
            best = max(scores) / length_penalty(
                group.limit if options.length_penalty > 0 else produced, options.length_penalty
            )
            group.done = best <= worst or len(group.finished) >= 2 * options.beam

    def _close_rows(self, pieces: list[int]) -> None:
        """Finish rows that stand alone: those at the end of the sentence or at the limit."""
        for i, group in enumerate(self.groups):
            if group.done:
                continue
            produced = self.column + 1 - group.start
            for j in range(self.width):
                row = i * self.width + j
                ended = pieces[row] == self.config.eos_id
                if self.scores[row] > NEVER and (ended or produced >= group.limit):
                    self._finish(group, row, [], finished=ended, ahead=1)
                    self.scores[row] = NEVER
            group.done = len(group.finished) == self.width

    def _finish(self, group: Group, row: int, last: list[float], *, finished: bool, ahead: int = 0) -> None:
        columns = slice(group.start + 1, self.column + 1 + ahead)
        ids, log_probs = self.tokens[row, columns].tolist(), self.log_probs[row, columns].tolist() + last
        if ids and ids[-1] == self.config.eos_id:
            ids = ids[:-1]
        score = sum(log_probs) / length_penalty(len(log_probs), group.request.options.length_penalty)
        group.finished.append(Hypothesis(ids, score, log_probs, finished))

    def _write(self, pieces: Tensor, log_probs: Tensor) -> None:
        self.tokens[:, self.column + 1] = pieces
        self.log_probs[:, self.column + 1] = log_probs

    def _reorder(self, rows: list[int]) -> None:
        if rows == list(range(len(rows))):
            return
        index, first = torch.tensor(rows, device=self.device), self.first
        used = slice(first, self.column + 1)
        self.tokens[:, used] = self.tokens[index, used]
        self.log_probs[:, used] = self.log_probs[index, used]
        for state in self.states:
            for cache in state.caches:
                cache.select(index, first)

    def _make_room(self) -> None:
        """Drop columns that nobody uses, or double the columns, when the next one would not fit."""
        if self.column + 2 <= self.tokens.shape[1]:
            return
        first = self.first
        used = self.column + 1 - first
        capacity = max(FIRST_CAPACITY, 2 * used)
        for name in ("tokens", "log_probs"):
            old = getattr(self, name)
            new = old.new_zeros(len(old), capacity)
            new[:, :used] = old[:, first : self.column + 1]
            setattr(self, name, new)
        for state in self.states:
            for cache in state.caches:
                cache.make_room(first, capacity)
        for group in self.groups:
            group.start -= first
        self.column -= first


def _append_rows(table: Tensor, rows: int, value: float, capacity: int) -> Tensor:
    columns = max(table.shape[1], capacity)
    return torch.cat([table, torch.full((rows, columns), value, dtype=table.dtype, device=table.device)])


def _stack_padded(first: Tensor, second: Tensor) -> Tensor:
    """Stack B×H×S×K and B'×H×S'×K, filling the shorter S up with zeros (the mask hides them)."""
    longest = max(first.shape[2], second.shape[2])
    padded = [torch.nn.functional.pad(t, (0, 0, 0, longest - t.shape[2])) for t in (first, second)]
    return torch.cat(padded)

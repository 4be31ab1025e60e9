"""The PyTorch engine: any model, any device, one step at a time.

``add`` queues a request, ``step`` decodes one piece of everything that runs, ``cancel``
forgets a request. Options belong to the request; requests with the same number of rows
share a running batch (a :class:`Lane`) and join and leave it freely.
"""

import copy
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch

from regard.base.device import choose_device, keep_freed_memory
from regard.base.errors import RegardError, did_you_mean
from regard.data.batch import pad
from regard.decode.choice import Precision
from regard.decode.lane import Lane
from regard.decode.pack import pack
from regard.decode.request import Hypothesis, Request, Result
from regard.decode.shortlist import Shortlist, with_vocabulary
from regard.model import Transformer
from regard.model.adapted import sentences


class TorchEngine:
    """Search over one model, or over the mean of several."""

    def __init__(
        self,
        model: Transformer | Sequence[Transformer],
        *,
        device: str = "auto",
        precision: Precision = "auto",
        max_tokens: int = 4096,
        never: Iterable[int] = (),
        shortlist: Shortlist | None = None,
    ):
        """
        Args:
            model: the model, or several with the same vocabulary, whose probabilities are averaged.
            device: auto, cpu, cuda or cuda:N.
            precision: fp32, bf16, or auto for what is fastest here.
            max_tokens: source pieces × rows in a running batch; a longer request runs alone.
            never: pieces that are never produced, besides padding, begin and unknown.
            shortlist: pieces to translate to, for requests that do not say so themselves. It saves no time here.
        """
        models = [model] if isinstance(model, Transformer) else list(model)
        sizes = {m.config.target_vocab_size for m in models}
        if len(sizes) != 1:
            raise RegardError(
                f"models of an ensemble need the same target vocabulary; these have {sorted(sizes)} pieces."
            )
        keep_freed_memory()
        self.device = choose_device(device)
        self.models = [pack(m, precision, self.device) for m in models]
        self.config = models[0].config
        self.max_tokens = max_tokens
        self.shortlist = shortlist
        pieces = {self.config.pad_id, self.config.bos_id, *never}
        self._never = torch.tensor(sorted(pieces), device=self.device)
        self._waiting: deque[tuple[int, Request]] = deque()
        self._lanes: dict[tuple[int, bool], Lane] = {}
        self._next = 0

    def twin(self) -> "TorchEngine":
        """Another engine over the same weights, with requests of its own."""
        other = copy.copy(self)
        other._waiting, other._lanes, other._next = deque(), {}, 0
        return other

    def add(self, request: Request) -> int:
        """Queue a request and return its number.

        Raises:
            RegardError: the source is empty, a piece is not in the vocabulary, or no model has such an adapter.
        """
        if not request.source:
            raise RegardError("the source of a request is empty; it needs at least the end-of-sentence piece.")
        if max(request.source) >= self.config.source_vocab_size or min(request.source) < 0:
            raise RegardError(f"a source piece lies outside the vocabulary of {self.config.source_vocab_size} pieces.")
        known = {name for model in self.models for name in model.adapters.shares}
        for name in request.adapters or ():
            if name not in known:
                raise RegardError(f"the model has no adapter '{name}'.{did_you_mean(name, known)}")
        wanted = (*(request.vocabulary or ()), *(piece for sequence in request.options.required for piece in sequence))
        if wanted and not 0 <= min(wanted) <= max(wanted) < self.config.target_vocab_size:
            raise RegardError(
                "a required piece, or one of the request's own vocabulary, lies outside the vocabulary of "
                f"{self.config.target_vocab_size} pieces."
            )
        request = with_vocabulary(request, self.shortlist, self.config.eos_id)
        number, self._next = self._next, self._next + 1
        self._waiting.append((number, request))
        return number

    @torch.inference_mode()
    def cancel(self, number: int) -> bool:
        """Forget a request; False where it is not known any more."""
        for entry in self._waiting:
            if entry[0] == number:
                self._waiting.remove(entry)
                return True
        for lane in self._lanes.values():
            for i, group in enumerate(lane.groups):
                if group.number == number:
                    lane.remove([j for j in range(len(lane.groups)) if j != i])
                    return True
        return False

    @property
    def busy(self) -> bool:
        """Whether anything waits or runs."""
        return bool(self._waiting) or any(lane.groups for lane in self._lanes.values())

    @torch.inference_mode()
    def step(self, *, partial: bool = False) -> list[Result]:
        """Admit what fits, decode one piece everywhere and return what is finished.

        Args:
            partial: also return the best hypothesis so far of what still runs.
        """
        self._admit()
        results = []
        for lane in self._lanes.values():
            if not lane.groups:
                continue
            for group in lane.step():
                results.append(Result(group.number, self._rank(group.request, group.finished), finished=True))
            if partial:
                for i, group in enumerate(lane.groups):
                    if not group.done:
                        row = i * lane.width
                        so_far = Hypothesis(lane.pieces(row), float(lane.scores[row]), [], finished=False)
                        results.append(Result(group.number, [so_far], finished=False))
        return results

    def translate(self, requests: Sequence[Request]) -> list[list[Hypothesis]]:
        """Decode all requests and return their hypotheses, best first, in the same order."""
        order = sorted(range(len(requests)), key=lambda i: len(requests[i].source))
        numbers = {self.add(requests[i]): i for i in order}
        found: dict[int, list[Hypothesis]] = {}
        while len(found) < len(numbers):
            for result in self.step():
                found[result.number] = result.hypotheses
        return [found[number] for number in sorted(numbers, key=numbers.__getitem__)]

    def _admit(self) -> None:
        """Let waiting requests join: a whole batch of like ones when a lane has run half empty."""
        if not self._waiting:
            return
        kinds = {(r.options.rows, r.options.sample): None for _, r in self._waiting}
        for kind in kinds:
            lane = self._lanes.setdefault(kind, Lane(self.models, kind[0], self._never))
            load = len(lane.groups) * kind[0] * int(lane.lengths.max()) if lane.groups else 0
            if 2 * load > self.max_tokens:
                continue
            joining: list[tuple[int, Request]] = []
            longest = int(lane.lengths.max()) if lane.groups else 0
            for entry in list(self._waiting):
                options = entry[1].options
                if (options.rows, options.sample) != kind:
                    continue
                longest = max(longest, len(entry[1].source))
                if (joining or lane.groups) and (len(lane.groups) + len(joining) + 1) * kind[
                    0
                ] * longest > self.max_tokens:
                    break
                joining.append(entry)
            if joining:
                taken = {number for number, _ in joining}
                self._waiting = deque(entry for entry in self._waiting if entry[0] not in taken)
                lane.join(joining)

    def _rank(self, request: Request, hypotheses: list[Hypothesis]) -> list[Hypothesis]:
        options = request.options
        if options.alignment or options.coverage_penalty:
            hypotheses = [self._align(request, h) for h in hypotheses]
        hypotheses = sorted(hypotheses, key=lambda h: (h.finished, h.score), reverse=True)
        return hypotheses[: options.num_hypotheses]

    def _align(self, request: Request, hypothesis: Hypothesis) -> Hypothesis:
        """Add the alignment (heads of the last layer averaged over models and heads) and the coverage penalty."""
        source = torch.tensor([request.source], device=self.device)
        inputs = pad([[self.config.bos_id, *hypothesis.ids]], self.config.pad_id).to(self.device)
        lengths = torch.tensor([len(request.source)])
        with sentences([request.adapters]):
            weights = torch.stack([m.cross_attention(source, lengths, inputs)[0].float() for m in self.models])
        table = weights.mean(dim=(0, 1))[: len(hypothesis.ids)]  # T×S, without the end of the sentence
        penalty = 0.0
        if request.options.coverage_penalty and len(table):
            covered = table.sum(0).clamp(min=1e-10, max=1.0)
            penalty = request.options.coverage_penalty * float(covered.log().sum())
        alignment = table.cpu().numpy() if request.options.alignment else None
        return replace(hypothesis, score=hypothesis.score + penalty, alignment=alignment)

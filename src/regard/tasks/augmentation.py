"""What is drawn anew for a pair each time that it is seen: other pieces, typing errors, gaps.

All of it is a function of the seed that is given, so that a run that goes on draws what it would have drawn.
"""

import random
from collections.abc import Sequence

import numpy as np

from regard.base.errors import ConfigError
from regard.data.sampling import SubwordSampler
from regard.data.typos import TypingNoise
from regard.tasks.preparation import Prepared
from regard.tasks.preset import DataConfig

Example = tuple[np.ndarray, np.ndarray]


class Augmentation:
    """Changes examples as the section ``data`` of a preset says."""

    def __init__(self, data: DataConfig, prepared: Prepared):
        """
        Raises:
            ConfigError: typing errors were asked for, and no source is typed letter by letter.
        """
        self.data, self.parts, self.tokenizers = data, prepared.parts, prepared.tokenizers
        alpha = data.subword_alpha
        self._samplers = [SubwordSampler(tokenizer, alpha) for tokenizer in self.tokenizers] if alpha else []
        self._typists: list[TypingNoise] = []
        if data.typing_noise:
            for part, corpus in zip(prepared.parts, prepared.corpora, strict=True):
                self._typists.append(TypingNoise(data.typing_noise, corpus.target if part.reverse else corpus.source))
            if not any(typist.rate for typist in self._typists):
                raise ConfigError("data.typing_noise has no effect: no source language of this run has a keyboard.")

    def __call__(self, plan: np.ndarray, examples: list[Example], seed: int) -> list[Example]:
        """The examples of ``plan`` (n×2, part and index in the part), changed; the same way for the same ``seed``."""
        if self.data.keeps_text:
            examples = self._cut_anew(plan, examples, seed)
        if self.data.word_dropout:
            examples = self._with_gaps(plan, examples, seed)
        return examples

    def _cut_anew(self, plan: np.ndarray, examples: list[Example], seed: int) -> list[Example]:
        """Text with typing errors, in other pieces, where these are asked for."""
        generator = random.Random(seed)
        sources, targets = (
            [self.parts[p].store.text(i, side ^ self.parts[p].reverse) for p, i in plan] for side in (0, 1)
        )
        if self._typists:
            sources = [self._typists[part](text, generator) for (part, _), text in zip(plan, sources, strict=True)]
        sides = [self._pieces(side, texts, seed + side) for side, texts in enumerate((sources, targets))]
        found = []
        for (part, _), example, source, target in zip(plan, examples, *sides, strict=True):
            # Memory and learned positions are limited; what comes out too long stays as the tokenizer cuts it best.
            fits = len(source) and max(len(source), len(target)) <= self.data.max_tokens
            found.append((self.parts[part].with_prefix(source), target) if fits else example)
        return found

    def _pieces(self, side: int, texts: Sequence[str], seed: int) -> list[np.ndarray]:
        if self._samplers:
            return self._samplers[side].sample(texts, seed)
        return [np.asarray(ids) for ids in self.tokenizers[side].encode_batch(texts)]

    def _with_gaps(self, plan: np.ndarray, examples: list[Example], seed: int) -> list[Example]:
        """The examples with some source pieces unknown; never those of a tag."""
        generator = np.random.Generator(np.random.PCG64(seed))
        found = []
        for (part, _), (source, target) in zip(plan, examples, strict=True):
            unknown = generator.random(len(source)) < self.data.word_dropout
            unknown[: len(self.parts[part].prefix)] = False
            found.append((np.where(unknown, self.tokenizers[0].unk_id, source), target))
        return found

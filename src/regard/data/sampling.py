"""Subword regularisation that repeats itself: the same segmentations for the same seed, in any process.

SentencePiece samples as well, but mixes its seed with a number that each process draws anew
(abseil's salt; seen in 0.2.3), so that a training that was stopped could not go on as if it
had not. Here the random numbers are Python's, and SentencePiece only says what there is to
choose from. Pieces never cross a space, so each word is drawn by itself, and the choices of a
word are computed once.
"""

import heapq
import random
from bisect import bisect
from collections.abc import Iterable
from functools import lru_cache
from itertools import accumulate

import numpy as np

from regard.base.errors import ConfigError
from regard.data.tokenizer import UNK, Tokenizer

# Kudo's l. Of a word it is nearly all there is; of a Chinese sentence, which is one word here, the best.
_NBEST = 64
_WORDS = 1 << 14


class SubwordSampler:
    """Draws segmentations of texts."""

    def __init__(self, tokenizer: Tokenizer, alpha: float):
        """
        Args:
            tokenizer: unigram or BPE.
            alpha: for ``unigram`` the exponent of the probabilities (Kudo 2018, section 3.1: 0.1 to
                0.5, smaller is more random); for ``bpe`` the share of merges that are dropped
                (Provilkov et al. 2020: 0.1).

        Raises:
            ConfigError: the tokenizer has one segmentation only, or ``alpha`` is not in 0 to 1.
        """
        kind = tokenizer.config.kind
        if kind not in ("unigram", "bpe"):
            raise ConfigError(f"a '{kind}' tokenizer has one segmentation only; sampling needs unigram or bpe.")
        if not 0 <= alpha <= 1:
            raise ConfigError(f"alpha is {alpha}; it must lie in 0 to 1.")
        self.alpha = alpha
        self._tokenizer, self._processor = tokenizer, tokenizer._processor
        pieces = range(self._processor.get_piece_size())
        self._scores = np.array([self._processor.get_score(i) for i in pieces])
        self._draw = self._draw_unigram
        self._choices = lru_cache(_WORDS)(self._find_choices)
        if kind == "bpe":
            self._draw = self._draw_bpe
            special = (self._processor.is_control, self._processor.is_unknown, self._processor.is_byte)
            self._ids = {self._processor.id_to_piece(i): i for i in pieces if not any(is_so(i) for is_so in special)}

    def sample(self, texts: Iterable[str], seed: int) -> list[np.ndarray]:
        """Return a random segmentation of every text, as int32 ids: the same one for the same seed."""
        generator = random.Random(seed)
        rows = []
        for text in texts:
            words = self._tokenizer._prepare(text).split(" ")
            rows.append(np.frombuffer(b"".join(self._draw(word, generator) for word in words if word), dtype=np.int32))
        return rows

    # ---- unigram

    def _draw_unigram(self, word: str, generator: random.Random) -> bytes:
        segmentations, weights = self._choices(word)
        return segmentations[bisect(weights, generator.random() * weights[-1], 0, len(weights) - 1)]

    def _find_choices(self, word: str) -> tuple[list[bytes], list[float]]:
        """The best segmentations of a word, and the running sum of their weights: P(x)^α."""
        found = self._processor.nbest_encode(word, nbest_size=_NBEST, return_type="numpy")
        starts = [0, *accumulate(map(len, found[:-1]))]
        scores = np.add.reduceat(self._scores[np.concatenate(found)], starts)
        weights = np.exp(self.alpha * (scores - scores.max()))
        return [ids.tobytes() for ids in found], np.cumsum(weights).tolist()

    # ---- BPE

    def _draw_bpe(self, word: str, generator: random.Random) -> bytes:
        """Merge the best pair that is left, unless it is dropped, until there is none."""
        symbols: list[str] = list(f"\u2581{word}")
        after = list(range(1, len(symbols) + 1))
        before = list(range(-1, len(symbols) - 1))
        agenda: list[tuple[float, int, int, str]] = []

        def consider(left: int, right: int) -> None:
            if left >= 0 and right < len(symbols):
                merged = symbols[left] + symbols[right]
                if merged in self._ids:
                    heapq.heappush(agenda, (-self._scores[self._ids[merged]], left, right, merged))

        for i in range(len(symbols) - 1):
            consider(i, i + 1)
        while agenda:
            _, left, right, merged = heapq.heappop(agenda)
            # a symbol of the pair may be part of another one by now
            if not symbols[left] or not symbols[right] or symbols[left] + symbols[right] != merged:
                continue
            if generator.random() < self.alpha:
                continue
            symbols[left], symbols[right] = merged, ""
            after[left] = after[right]
            if after[right] < len(symbols):
                before[after[right]] = left
            consider(before[left], left)
            consider(left, after[left])
        ids: list[int] = []
        for symbol in filter(None, symbols):
            if symbol in self._ids:
                ids.append(self._ids[symbol])
            elif self._tokenizer.config.byte_fallback:
                ids += [self._processor.piece_to_id(f"<0x{byte:02X}>") for byte in symbol.encode()]
            elif ids[-1:] != [UNK]:  # unknown characters in a row are one
                ids.append(UNK)
        return np.array(ids, dtype=np.int32).tobytes()

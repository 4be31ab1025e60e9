"""How text becomes pieces: the settings of a tokenizer, and the ids that all of Regard's own have."""

from dataclasses import dataclass
from typing import Literal

from regard.base.errors import ConfigError

PAD = 0
"""Id that fills a batch up to its longest row."""
UNK = 1
"""Id of an unknown character; with ``byte_fallback`` encoding never produces it."""
BOS = 2
"""Id that starts the decoder."""
EOS = 3
"""Id that ends a sentence."""


@dataclass(frozen=True)
class TokenizerConfig:
    """How text becomes pieces."""

    kind: Literal["unigram", "bpe", "char", "word"] = "unigram"
    """Model: ``unigram`` samples segmentations best; ``char`` and ``word`` are baselines."""
    vocab_size: int = 16000
    """Number of pieces, with specials, tags and the 256 bytes; for ``char`` an upper limit."""
    byte_fallback: bool = True
    """Spell characters outside the vocabulary as UTF-8 bytes. Off, they become UNK and are lost."""
    character_coverage: float = 0.9998
    """Share of the running text whose characters get a piece of their own. Half of the text of
    an English-Chinese corpus is Latin letters, so this keeps 99.9% of its Chinese characters
    (2,100 of 3,100 kinds, measured); the rest, each seen a few times, is spelt in bytes rather
    than given an embedding that is hardly trained."""
    joint: bool = True
    """One tokenizer for both languages; False: the task trains one for each side."""
    segment: Literal["none", "char", "word"] = "none"
    """Split Chinese before learning pieces: every character, words (jieba), or not at all."""
    lowercase: bool = False
    """Lower-case everything; what was upper-case is not restored."""
    normalization: Literal["light", "nfkc", "identity"] = "light"
    """``light``: NFC, full-width letters and digits made ASCII, invisible characters removed;
    Chinese punctuation stays. ``nfkc``: also folds ，？！ to ASCII, so not for Chinese output.
    ``identity``: only white space, control characters and U+2581."""
    split_digits: bool = True
    """Every digit is a piece, so that numbers can be copied digit by digit."""
    max_sentences: int = 1_000_000
    """Texts to learn from; a random sample is drawn where there are more."""
    seed: int = 0
    """Seed of that sample."""

    def __post_init__(self) -> None:
        if self.vocab_size < 8:
            raise ConfigError(f"vocab_size is {self.vocab_size}; it must be at least 8.")
        if not 0.9 <= self.character_coverage <= 1:
            raise ConfigError(f"character_coverage is {self.character_coverage}; it must lie in 0.9 to 1.")
        if self.max_sentences < 1:
            raise ConfigError(f"max_sentences is {self.max_sentences}; it must be positive.")

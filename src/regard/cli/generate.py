"""``regard generate MODEL [PROMPT]``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Let a causal language model go on with a text; what it writes follows the prompt, a text a line."""

    model: Positional[Path]
    """Folder of a model that regard pretrain made with objective: causal."""
    prompt: Positional[str] = ""
    """How the text begins."""
    count: int = 1
    """Texts to draw."""
    max_length: int = 0
    """Most pieces after the prompt; as long as the texts of the training by default."""
    greedy: bool = False
    """Take the most probable piece each time instead of drawing."""
    temperature: float = 1.0
    """Below 1 probable pieces become more probable, above 1 less."""
    top_k: int = 0
    """Draw among so many most probable pieces; 0 for all."""
    top_p: float = 1.0
    """Draw among the fewest pieces that make up this probability."""
    seed: int = 0
    """The same seed writes the same texts."""

    def __post_init__(self) -> None:
        if self.count < 1 or self.max_length < 0:
            raise ConfigError("count must be at least 1, and max_length cannot be negative.")
        if self.greedy and (self.count, self.temperature, self.top_k, self.top_p, self.seed) != (1, 1.0, 0, 1.0, 0):
            raise ConfigError("with greedy there is one text and nothing is drawn; leave the other options out.")


def main(argv: Sequence[str]) -> int:
    """Print the texts."""
    options = parse(Options, argv, prog="regard generate")
    from regard.decode.request import Options as Search
    from regard.tasks.generation import TextGenerator

    search = Search(max_length=options.max_length)
    if not options.greedy:
        search = Search(
            sample=True,
            num_hypotheses=options.count,
            temperature=options.temperature,
            top_k=options.top_k,
            top_p=options.top_p,
            seed=options.seed,
            max_length=options.max_length,
        )
    for text in TextGenerator.from_pretrained(options.model).generate(options.prompt, search):
        print(text)
    return 0

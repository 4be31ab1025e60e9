"""Texts written by a causal language model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from regard.base.errors import DataError, ModelError
from regard.data.tokenizer import Tokenizer
from regard.decode.completion import complete
from regard.decode.request import Hypothesis, Options
from regard.model import DecoderOnly
from regard.model.folder import load_family
from regard.model.reading import load_config


class TextGenerator:
    """A causal model and its tokenizer."""

    def __init__(self, model: DecoderOnly, tokenizer: Tokenizer, task: dict[str, Any]):
        """
        Args:
            model: goes on with pieces.
            tokenizer: makes pieces of text.
            task: the ``task`` section of the model's configuration.
        """
        self.model, self.tokenizer = model.eval(), tokenizer
        #: Most pieces of the texts that the model was trained on.
        self.max_tokens: int = task["max_tokens"]

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "TextGenerator":
        """Load a model folder that ``regard pretrain`` made with the objective ``causal``.

        Raises:
            ModelError: it is missing, damaged, or a model of another kind.
        """
        task = load_config(folder)[1]
        if task.get("objective", {}).get("kind") != "causal":
            what = task.get("objective", {}).get("kind") or task.get("name")
            raise ModelError(
                f"{folder} writes no texts: it is a {what} model. regard pretrain makes one that does, with "
                "objective: causal."
            )
        return cls(load_family(folder, DecoderOnly)[0], Tokenizer.load(folder), task)

    def generate(self, prompt: str = "", options: Options | None = None) -> list[str]:
        """Texts that begin with ``prompt``, on one line each.

        Args:
            prompt: may be empty.
            options: how to choose pieces; by default the most probable one. Without ``max_length``, a text may become
                as long as those that the model was trained on.

        Raises:
            DataError: the prompt, with ``max_length``, is longer than the texts of the training.
            ConfigError: the options ask for what cannot be had.
        """
        prefix = self.tokenizer.encode(prompt)
        return [self.tokenizer.decode([*prefix, *text.ids]) for text in self.complete(prefix, options or Options())]

    def complete(self, prompt: list[int], options: Options) -> list[Hypothesis]:
        """The pieces after those of a prompt; as :meth:`generate`."""
        room = self.max_tokens - len(prompt)
        if room < max(1, options.max_length):
            asked = f" and max_length is {options.max_length}" if options.max_length else ""
            raise DataError(
                f"the prompt has {len(prompt)} pieces{asked}; this model was trained on texts of {self.max_tokens} "
                f"pieces at most. Shorten the {'prompt, or lower max_length' if options.max_length else 'prompt'}."
            )
        options = options if options.max_length else replace(options, max_length=room)
        return complete(self.model, prompt, options, self.tokenizer.never)

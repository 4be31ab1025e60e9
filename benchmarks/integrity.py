"""What stand-ins, checks and polish are worth: the same model on the same text, with and without them.

    python benchmarks/integrity.py dev.eng-deu.tsv --target de

reads pairs of English and another language, a tab between them, and translates both ways. A sentence has a
problem where a placeholder, an address or a number of its source is missing in the translation, or
one that is not in its source stands there.
"""

import random
import sys
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import sacrebleu

from regard import Translator
from regard.cli.arguments import Positional, parse
from regard.data.corpus import read_lines
from regard.tasks.integrity import Mask


@dataclass(frozen=True)
class Options:
    """Measure what keeping placeholders and numbers does to translations."""

    pairs: Positional[Path]
    """English and another language, a tab between them."""
    target: str = "de"
    """The other language."""
    lines: int = 500
    """Pairs to take, at random."""
    beam: int = 1
    """Hypotheses kept at each step."""


def bare() -> AbstractContextManager[object]:
    """Within it, translations are as the model makes them."""
    return patch.multiple(
        "regard.tasks.translation",
        mask=lambda text, numbers=False: Mask(text),
        polish=lambda source, translation, *languages: translation,
        lost_numbers=lambda source, translation: [],
    )


def main(argv: Sequence[str]) -> int:
    """Print a row for each direction and way."""
    options = parse(Options, argv, prog="benchmarks/integrity.py")
    pairs = [line.split("\t")[:2] for line in read_lines(options.pairs) if "\t" in line]
    random.Random(1).shuffle(pairs)
    english, other = zip(*pairs[: options.lines], strict=True)
    translator = Translator.from_pretrained(device="cpu", precision="fp32")
    print("| direction | way | BLEU | chrF | sentences with a problem | of them not repaired | seconds |")
    print("|---|---|---|---|---|---|---|")
    for source, target, texts, references in (
        ("en", options.target, english, other),
        (options.target, "en", other, english),
    ):
        for way in ("bare", "kept"):
            start = time.process_time()
            with bare() if way == "bare" else nullcontext():
                found = translator.translate(texts, source, target, beam=options.beam)
            seconds = time.process_time() - start
            written = [translation.text for translation in found]
            bleu = sacrebleu.corpus_bleu(written, [references], tokenize="zh" if target == "zh" else "13a").score
            chrf = sacrebleu.corpus_chrf(written, [references]).score
            flawed = sum(bool(translation.problems) for translation in found)
            open_ = sum(any(not problem.repaired for problem in translation.problems) for translation in found)
            scores = f"{bleu:.1f} | {chrf:.1f} | {flawed} of {len(found)} | {open_} | {seconds:.1f}"
            print(f"| {source}→{target} | {way} | {scores} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

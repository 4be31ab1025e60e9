"""The ``regard`` command: a table of verbs, and one way for each of them to fail.

This file imports neither torch nor tyro: ``regard --help`` answers at once.
"""

import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from keyword import iskeyword
from typing import NoReturn

from regard import __version__
from regard.base.errors import RegardError, did_you_mean
from regard.base.extras import explaining

VERBS = {
    "demo": "translate a bundled text with the shipped model, in every direction",
    "translate": "translate a file, or standard input, line by line",
    "serve": "start the translation server and its page",
    "keys": "list, add or revoke the server's API keys",
    "learn": "have a running server learn from its corrections",
    "evaluate": "score a model on a test set: BLEU, chrF and TER, with significance",
    "explain": "draw where a translation looked",
    "train": "train a model as a preset says",
    "pretrain": "train a model on text in one language, for others to start from",
    "generate": "let a causal language model go on with a text",
    "tune": "adapt a model to a domain with an adapter",
    "search": "train a preset with many settings and find the best",
    "distill": "train a small model on what larger ones think",
    "backtranslate": "make sentence pairs out of text in one language",
    "filter": "keep the pairs of a corpus that a model takes for translations",
    "select": "choose the sentences whose correction would teach most",
    "extend": "add words to a model's vocabulary",
    "dictionary": "learn a dictionary from parallel text",
    "import": "read a model of Hugging Face, such as opus-mt",
    "export": "write a model for transformers, CTranslate2 or ONNX",
    "compress": "write a smaller copy of a model: int8 or float16",
    "shortlist": "learn which words translate which, to translate faster",
    "doctor": "show what this machine has and which paths Regard takes on it",
}

# Exit statuses, as shells and other tools use them.
FAILED = 1
USAGE = 2
INTERRUPTED = 128 + signal.SIGINT
BROKEN_PIPE = 128 + 13  # SIGPIPE, which Windows does not name


def help_text() -> str:
    """Return what ``regard --help`` prints."""
    width = max(map(len, VERBS))
    lines = [f"  {verb:<{width}}  {text}" for verb, text in VERBS.items()]
    return "\n".join(
        [
            "usage: regard VERB [OPTIONS]",
            "",
            "Translation software that learns from its corrections and shows its reasons.",
            "",
            "verbs:",
            *lines,
            "",
            "options:",
            "  -h, --help     this text; regard VERB --help for a verb's own options",
            "  -V, --version  the version",
        ]
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status; ``argv`` is ``sys.argv[1:]`` by default."""
    verb, *rest = list(sys.argv[1:] if argv is None else argv) or [""]
    if verb == "help":  # regard help train = regard train --help
        verb, *rest = [*rest, "--help"]
    try:
        if verb in ("-h", "--help"):
            print(help_text())
            status = 0
        elif verb in ("-V", "--version"):
            print(f"regard {__version__}")
            status = 0
        elif verb in VERBS:
            run_verb: Callable[[list[str]], int] = import_module(f"regard.cli.{module_of(verb)}").main
            with explaining():  # regard train, where PyTorch is not installed
                status = run_verb(rest)
        elif not verb:
            print(help_text(), file=sys.stderr)
            status = USAGE
        else:
            report(f"'{verb}' is not a verb.{did_you_mean(verb, VERBS)} See regard --help.")
            status = USAGE
        sys.stdout.flush()  # here, so that a closed pipe is noticed below and not at interpreter exit
        return status
    except SystemExit as stop:  # how tyro ends after --help or a usage error
        return exit_status(stop)
    except KeyboardInterrupt:
        report("interrupted.", kind="")
        return INTERRUPTED
    except BrokenPipeError:  # regard translate ... | head
        discard_stdout()
        return BROKEN_PIPE
    except RegardError as error:
        return fail(str(error), error)
    except OSError as error:  # a file that is not there, a full disk
        return fail(f"{error.filename}: {error.strerror}." if error.filename else str(error), error)


def module_of(verb: str) -> str:
    """Return the module below ``regard.cli`` that runs a verb; one that is a Python keyword has an underscore."""
    return f"{verb}_" if iskeyword(verb) else verb


def report(message: str, kind: str = "error: ") -> None:
    """Print one line on standard error."""
    print(f"regard: {kind}{' '.join(message.split())}", file=sys.stderr)


def fail(message: str, error: Exception) -> int:
    """Report an error that a person can act on; with REGARD_DEBUG=1 raise it, for its traceback."""
    if os.environ.get("REGARD_DEBUG", "0") not in ("", "0"):
        raise error
    report(message)
    return FAILED


def exit_status(stop: SystemExit) -> int:
    """Return the status that the interpreter would exit with."""
    if stop.code is None or isinstance(stop.code, int):
        return stop.code or 0
    print(stop.code, file=sys.stderr)
    return FAILED


def discard_stdout() -> None:
    """Send the rest of standard output nowhere, so that the interpreter's last flush cannot fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run() -> NoReturn:
    """Console script: UTF-8 out whatever the locale says, then ``main``."""
    # The threads of numpy's BLAS, which nothing here multiplies with, take a tenth of a second to start.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8")  # type: ignore[union-attr]
    sys.exit(main())

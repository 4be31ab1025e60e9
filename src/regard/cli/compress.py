"""``regard compress runs/mine --int8 --output models/mine``: the same model in less room, or with less in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import UseAppendAction

from regard.base.errors import ConfigError
from regard.cli.arguments import Positional, parse


@dataclass(frozen=True)
class Options:
    """Write a copy of a model that takes less room, on disk and in the engines: rounded, or with parts left out.

    Parts that are left out take what they knew with them: tune the copy (regard tune --method full) afterwards.
    """

    model: Positional[Path]
    """Model folder."""
    output: Path
    """Model folder to write."""
    int8: bool = False
    """Matrices as 8-bit integers with a scale a row: a quarter of the room."""
    float16: bool = False
    """Weights as 16-bit floating-point numbers: half of the room."""
    encoder_layers: str = ""
    """Encoder layers to keep: how many, evenly spaced, or which, counted from 0, such as 0,2,5."""
    decoder_layers: str = ""
    """The same for the decoder."""
    heads: int | None = None
    """Heads of each attention to keep: those that matter most for the pairs of --data."""
    data: UseAppendAction[tuple[Path, ...]] = ()
    """With --heads: sentence pairs (TSV, JSON lines or TMX); some hundreds are enough."""
    source: str = ""
    """Language of the first column of --data, such as en."""
    target: str = ""
    """Language of the second column."""

    def __post_init__(self) -> None:
        if self.int8 and self.float16:
            raise ConfigError("give one of --int8 and --float16.")
        if not (self.int8 or self.float16 or self.prunes):
            raise ConfigError("say what to do: --int8, --float16, --encoder-layers, --decoder-layers or --heads.")
        if (self.heads is not None) != bool(self.data and self.source and self.target):
            raise ConfigError("--heads goes together with --data, --source and --target: what to judge the heads by.")

    @property
    def prunes(self) -> bool:
        """Whether parts are left out."""
        return bool(self.encoder_layers or self.decoder_layers or self.heads is not None)


def main(argv: Sequence[str]) -> int:
    """Compress; 0 when the copy is written."""
    options = parse(Options, argv, prog="regard compress")
    storage = "int8" if options.int8 else "float16" if options.float16 else None
    if options.prunes:
        from regard.compress.pruning import prune_model
        from regard.data.corpus import CorpusConfig, read_pairs

        corpora = [CorpusConfig(options.source, options.target, str(path)) for path in options.data]
        before, after = prune_model(
            options.model,
            options.output,
            encoder=_layers(options.encoder_layers, "--encoder-layers"),
            decoder=_layers(options.decoder_layers, "--decoder-layers"),
            heads=options.heads,
            pairs=[pair for corpus in corpora for pair in read_pairs(corpus)],
            direction=(options.source, options.target) if corpora else None,
            storage=storage,
        )
        print(f"{options.output}: {after:,} parameters, {before:,} before")
    else:
        from regard.compress import compress_model

        assert storage is not None
        before, after = compress_model(options.model, options.output, storage)
        print(f"{options.output}: {after / 1e6:,.1f} MB of weights, {before / 1e6:,.1f} MB before")
    return 0


def _layers(given: str, option: str) -> int | list[int] | None:
    """``3`` as a number of layers, ``0,2,5`` as which."""
    if not given:
        return None
    try:
        numbers = [int(part) for part in given.split(",") if part.strip()]
    except ValueError as error:
        raise ConfigError(f"{option} is '{given}'; write a number such as 3, or layers such as 0,2,5.") from error
    return numbers if "," in given else numbers[0]

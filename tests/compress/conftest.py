"""Models of Hugging Face's Marian kind, made anew: random weights, real SentencePiece files."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
import torch

from regard.compress.exporting import export_model
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.model import ModelConfig, Transformer
from regard.model.folder import save_model
from regard.tasks.translation import Translator

ENGLISH = [
    "The kettle sings and nobody listens.",
    "Who left the garden gate open last night?",
    "Seven geese walked across the frozen pond.",
    "She paints her boat every spring, always blue.",
    "Nobody knows where the old map is kept.",
    "A tall stranger asked for directions to the mill.",
]
FRENCH = [
    "La bouilloire chante et personne n'écoute.",
    "Qui a laissé la barrière du jardin ouverte hier soir ?",
    "Sept oies ont traversé l'étang gelé.",
    "Elle repeint son bateau chaque printemps, toujours en bleu.",
    "Personne ne sait où se trouve la vieille carte.",
    "Un grand inconnu a demandé le chemin du moulin.",
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def train_pieces(texts: list[str], size: int, kind: str = "unigram") -> sentencepiece.SentencePieceProcessor:
    """A SentencePiece model as Marian's are: its own ids for specials, its own normalisation."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts * 3),
        model_writer=model,
        model_type=kind,
        vocab_size=size,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    return sentencepiece.SentencePieceProcessor(model_proto=model.getvalue())


def write_m2m100_files(folder: Path) -> Any:
    """``sentencepiece.bpe.model`` and ``vocab.json``; returns the tokeniser that reads them."""
    transformers = pytest.importorskip("transformers")
    processor = train_pieces(ENGLISH + FRENCH, 130)
    (folder / "sentencepiece.bpe.model").write_bytes(processor.serialized_model_proto())
    pieces = sorted(processor.id_to_piece(i) for i in range(3, processor.vocab_size()))  # not in SentencePiece's order
    numbered = {piece: i for i, piece in enumerate(["<s>", "<pad>", "</s>", "<unk>", *pieces])}
    (folder / "vocab.json").write_text(json.dumps(numbered))
    files = (str(folder / "vocab.json"), str(folder / "sentencepiece.bpe.model"))
    tokenizer = transformers.M2M100Tokenizer(*files, src_lang="en", tgt_lang="fr")
    tokenizer.save_pretrained(folder)
    return tokenizer


def write_marian_files(folder: Path, tags: list[str] = (), *, separate: bool = False) -> tuple[int, int]:  # type: ignore[assignment]
    """``source.spm``, ``target.spm`` and ``vocab.json``; returns the sizes of both vocabularies."""
    sides = {"source": train_pieces(ENGLISH, 90), "target": train_pieces(FRENCH, 90)}
    pieces = {s: [p.id_to_piece(i) for i in range(3, p.vocab_size())] for s, p in sides.items()}
    for side, processor in sides.items():
        (folder / f"{side}.spm").write_bytes(processor.serialized_model_proto())
    if not separate:
        pieces["source"] = sorted({*pieces["source"], *pieces["target"]})  # not in SentencePiece's order
    names = {"source": "vocab.json", "target": "target_vocab.json"}
    sizes = {}
    for side in ("source", "target") if separate else ("source",):
        vocabulary = ["</s>", "<unk>", *pieces[side], *tags, "<pad>"]
        if separate:  # padding and end of sentence have the same ids on both sides
            vocabulary = ["</s>", "<unk>", "<pad>", *pieces[side]]
        (folder / names[side]).write_text(json.dumps({piece: i for i, piece in enumerate(vocabulary)}))
        sizes[side] = len(vocabulary)
    settings = {"source_lang": "en", "target_lang": "fr", "separate_vocabs": separate}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return sizes["source"], sizes.get("target", sizes["source"])


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """A tokenizer of Regard's own."""
    return Tokenizer.train(ENGLISH + FRENCH, TokenizerConfig(vocab_size=380), ["<2de>", "<2en>"])


@pytest.fixture
def write(tokenizer: Tokenizer) -> Callable[..., Path]:
    """Write a model folder of random weights, en→de and de→en."""

    def write(folder: Path, **changes: Any) -> Path:
        size = tokenizer.vocab_size
        values: dict[str, Any] = {"d_model": 24, "d_ff": 40, "num_heads": 4, "encoder_layers": 2, "decoder_layers": 3}
        torch.manual_seed(3)
        model = Transformer(ModelConfig(size, size, **{**values, **changes}))
        scramble(model)
        weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
        task = {"name": "translation", "directions": [["en", "de"], ["de", "en"]], "tagged": True}
        save_model(folder, model.config, weights, task=task)
        tokenizer.save(folder)
        return folder

    return write


@pytest.fixture(scope="session")
def exported(shipped_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Any], Path]:
    """The shipped model in another format, written when first asked for."""
    folder = tmp_path_factory.mktemp("exported")

    def exported(to: Any) -> Path:
        if not (folder / to).exists():
            export_model(shipped_model, to, folder / to)
        return folder / to

    return exported


@pytest.fixture
def search() -> Callable[..., str]:
    """What the engine makes of one sentence, before Regard mends capitals and stops."""

    def search(translator: Translator, text: str, source: str, target: str, **options: Any) -> str:
        prepared = translator.prepare([text], source, target, **options)
        assert prepared.cores == (text,)
        return translator.tokenizers[1].decode(translator.engine.translate(prepared.requests)[0][0].ids)

    return search


@pytest.fixture
def sentences() -> list[tuple[str, str, str]]:
    """Texts for the shipped model, with source and target language."""
    return [
        ("The bread is still warm.", "en", "de"),
        ("Would you like to sit by the window?", "en", "fr"),
        ("The children are playing in the garden.", "en", "zh"),
        ("Wo ist der Bahnhof?", "de", "en"),
        ("Je ne sais pas encore.", "fr", "en"),
        ("我明天去上海。", "zh", "en"),
    ]


def scramble(model: torch.nn.Module) -> None:
    """Weights large enough that mistakes show, norms that are not 1, biases that are not 0."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "embed_positions" in name:
                continue
            if parameter.dim() > 1:
                parameter.copy_(torch.randn_like(parameter) * (0.4 if "proj" in name or "fc" in name else 0.25))
            else:
                parameter.copy_(torch.randn_like(parameter) * 0.3 + (1.0 if name.endswith("norm.weight") else 0.0))


@pytest.fixture
def make_marian(tmp_path: Path) -> Callable[..., tuple[Path, Any]]:
    """Write a folder as ``save_pretrained`` does and return it with the model."""
    transformers = pytest.importorskip("transformers")

    def make(tags: list[str] = (), name: str = "opus-mt-en-fr", **changes: Any) -> tuple[Path, Any]:  # type: ignore[assignment]
        folder = tmp_path / name
        folder.mkdir()
        separate = not changes.get("share_encoder_decoder_embeddings", True)
        source_size, target_size = write_marian_files(folder, list(tags), separate=separate)
        pad = 2 if separate else source_size - 1
        values: dict[str, Any] = {
            "vocab_size": source_size,
            "decoder_vocab_size": target_size,
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 40,
            "activation_function": "swish",
            "scale_embedding": True,
            "pad_token_id": pad,
            "eos_token_id": 0,
            "decoder_start_token_id": pad,
            "forced_eos_token_id": None,
            "max_position_embeddings": 128,
        }
        torch.manual_seed(5)
        model = transformers.MarianMTModel(transformers.MarianConfig(**{**values, **changes})).eval()
        scramble(model)
        model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
        model.generation_config.update(num_beams=3, length_penalty=0.0, bad_words_ids=[[pad]], max_length=60)
        model.save_pretrained(folder)
        return folder, model

    return make


@pytest.fixture
def make_m2m100(tmp_path: Path) -> Callable[..., tuple[Path, Any, Any]]:
    """Write an M2M-100 folder as ``save_pretrained`` does and return it with the model and the tokeniser."""
    transformers = pytest.importorskip("transformers")

    def make(**changes: Any) -> tuple[Path, Any, Any]:
        folder = tmp_path / "m2m100"
        folder.mkdir()
        tokenizer = write_m2m100_files(folder)
        values: dict[str, Any] = {
            "vocab_size": len(tokenizer.encoder) + 100 + 8,
            "d_model": 24,
            "encoder_layers": 2,
            "decoder_layers": 3,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 40,
            "decoder_ffn_dim": 40,
            "max_position_embeddings": 64,
        }
        torch.manual_seed(6)
        model = transformers.M2M100ForConditionalGeneration(transformers.M2M100Config(**{**values, **changes})).eval()
        scramble(model)
        model.save_pretrained(folder)
        return folder, model, tokenizer

    return make


@pytest.fixture
def nllb_files(tmp_path: Path) -> tuple[Path, Any]:
    """A folder with NLLB's ``sentencepiece.bpe.model`` and ``tokenizer.json``, and the tokeniser that reads them."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path / "nllb"
    folder.mkdir()
    processor = train_pieces(ENGLISH + FRENCH, 130, "bpe")
    (folder / "sentencepiece.bpe.model").write_bytes(processor.serialized_model_proto())
    languages = ["deu_Latn", "eng_Latn", "fra_Latn", "zho_Hans"]
    tokenizer = transformers.NllbTokenizer.from_pretrained(folder, extra_special_tokens=languages)
    tokenizer.save_pretrained(folder)
    return folder, tokenizer


@pytest.fixture
def make_bart(tmp_path: Path) -> Callable[[], tuple[Path, Any, Any]]:
    """Write a BART folder as the hub has them and return it with the model and the tokeniser."""
    tokenizers = pytest.importorskip("tokenizers")
    transformers = pytest.importorskip("transformers")

    def make() -> tuple[Path, Any, Any]:
        folder = tmp_path / "bart"
        folder.mkdir()
        pieces = tokenizers.ByteLevelBPETokenizer()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        pieces.train_from_iterator(ENGLISH + FRENCH, 330, 1, show_progress=False, special_tokens=special)
        pieces.save_model(str(folder))
        tokenizer = transformers.BartTokenizer.from_pretrained(folder)
        values = {f"{side}_{name}": 4 for side in ("encoder", "decoder") for name in ("attention_heads", "layers")}
        values |= {f"{side}_ffn_dim": 40 for side in ("encoder", "decoder")}
        torch.manual_seed(7)
        config = transformers.BartConfig(
            vocab_size=pieces.get_vocab_size() + 3,
            d_model=24,
            max_position_embeddings=64,
            forced_bos_token_id=0,
            forced_eos_token_id=None,
            **values,
        )
        model = transformers.BartForConditionalGeneration(config).eval()
        scramble(model)
        for side in (model.model.encoder, model.model.decoder):
            torch.nn.init.normal_(side.embed_positions.weight, std=0.25)
        model.final_logits_bias.copy_(torch.randn_like(model.final_logits_bias))
        model.save_pretrained(folder)
        return folder, model, tokenizer

    return make

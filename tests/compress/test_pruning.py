from pathlib import Path

import pytest
import torch

from regard.attention import MultiHeadAttention
from regard.base.errors import ConfigError, DataError
from regard.compress.pruning import importance, keep_heads, keep_layers, prune_model
from regard.data.batch import Batch, collate
from regard.data.corpus import Pair
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.decode.native_engine import why_not
from regard.model import ModelConfig, Transformer
from regard.model.folder import load_model, save_model
from regard.tasks.translation import Translator

EXACT = {"rtol": 1e-10, "atol": 1e-10}
WORDS = 19
PAIRS = [
    Pair("The kettle sings and nobody listens.", "Der Kessel singt und niemand hört ihm zu."),
    Pair("Who left the garden gate open?", "Wer hat das Gartentor offen gelassen?"),
    Pair("Seven geese walked across the pond.", "Sieben Gänse liefen über den Teich."),
]


def make(**settings: object) -> Transformer:
    torch.manual_seed(1)
    usual = {"d_model": 12, "d_ff": 20, "num_heads": 3, "encoder_layers": 4, "decoder_layers": 3}
    model = Transformer(ModelConfig(WORDS, WORDS, **{**usual, **settings})).double().eval()  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture
def batch() -> Batch:
    return collate([[5, 6, 7, 8], [9, 10], [11, 12]], [[6, 5], [9, 8, 4], [7]], pad_id=0, bos_id=2, eos_id=3)


@pytest.mark.parametrize("position", ["sinusoidal", "t5", "rotary"])
def test_the_layers_that_are_kept_do_what_they_did(batch: Batch, position: str) -> None:
    model, whole = make(position=position), make(position=position)
    keep_layers(model, 2, [0, 2])
    assert (model.config.encoder_layers, model.config.decoder_layers) == (2, 2)
    whole.encoder = torch.nn.ModuleList([whole.encoder[0], whole.encoder[3]])
    whole.decoder = torch.nn.ModuleList([whole.decoder[0], whole.decoder[2]])
    torch.testing.assert_close(model(batch), whole(batch), **EXACT)
    again = Transformer(model.config).double().eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(batch), whole(batch), **EXACT)


def test_a_model_without_its_first_layer_keeps_shared_positions(batch: Batch) -> None:
    model = make(position="t5")
    keep_layers(model, [1, 3], [2])
    again = Transformer(model.config).double().eval()
    own = dict(again.named_parameters())
    assert own.keys() == dict(model.named_parameters()).keys()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            own[name].copy_(parameter)
    torch.testing.assert_close(again(batch), model(batch), **EXACT)


@pytest.mark.parametrize(("wanted", "kept"), [(1, [0]), (2, [0, 3]), (3, [0, 2, 3]), (4, [0, 1, 2, 3])])
def test_layers_are_evenly_spaced(wanted: int, kept: list[int]) -> None:
    model, whole = make(), make()
    keep_layers(model, encoder=wanted)
    for layer, i in zip(model.encoder, kept, strict=True):
        other = dict(whole.encoder[i].named_parameters())
        assert all(torch.equal(p, other[name]) for name, p in layer.named_parameters())


def test_importance_is_the_gradient_of_a_factor(batch: Batch) -> None:
    """By differences: each head of each example scaled up and down a little."""
    model = make(encoder_layers=1, decoder_layers=1)
    found = importance(model, [batch])
    assert set(found) == {"encoder.0.self_attention", "decoder.0.self_attention", "decoder.0.cross_attention"}
    pairs = ([5, 6, 7, 8], [6, 5]), ([9, 10], [9, 8, 4]), ([11, 12], [7])
    singles = [collate([s], [t], pad_id=0, bos_id=2, eos_id=3) for s, t in pairs]
    step = 1e-5
    for name, values in found.items():
        attention = model.get_submodule(name)
        assert isinstance(attention, MultiHeadAttention)
        columns = attention.out.weight.view(12, 3, 4)
        for head in range(3):
            slopes = []
            for single in singles:
                losses = []
                for sign in (1, -1):
                    with torch.no_grad():
                        kept = columns[:, head].clone()
                        columns[:, head] *= 1 + sign * step  # the same as scaling what the head gives
                        losses.append(float(model(single)))
                        columns[:, head] = kept
                slopes.append(abs(losses[0] - losses[1]) / (2 * step))
            assert float(values[head]) == pytest.approx(sum(slopes) / 3, rel=1e-5)


@pytest.mark.parametrize("settings", [{}, {"position": "rotary"}, {"head_dim": 6, "value_dim": 5}, {"bias": False}])
def test_heads_left_out_are_heads_silenced(batch: Batch, settings: dict[str, object]) -> None:
    model, silenced = make(**settings), make(**settings)
    names = [name for name, module in model.named_modules() if isinstance(module, MultiHeadAttention)]
    kept = {name: [[0, 2], [1, 2], [0, 1]][i % 3] for i, name in enumerate(names)}
    before = sum(p.numel() for p in model.parameters())
    keep_heads(model, kept)
    assert sum(p.numel() for p in model.parameters()) < before
    with torch.no_grad():
        for name, heads in kept.items():
            out = silenced.get_submodule(name).out  # type: ignore[union-attr]
            (gone,) = set(range(3)) - set(heads)
            out.weight.view(12, 3, -1)[:, gone] = 0
    torch.testing.assert_close(model(batch), silenced(batch), **EXACT)
    again = Transformer(model.config).double().eval()
    again.load_state_dict(model.state_dict())
    torch.testing.assert_close(again(batch), silenced(batch), **EXACT)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"position": "alibi"}, "numbers of their own"),
        ({"position": "t5"}, "numbers of their own"),
        ({"attention": {"num_kv_heads": 1}}, "share keys"),
    ],
)
def test_heads_that_cannot_be_left_out(settings: dict[str, object], message: str) -> None:
    from regard.model.choices import AttentionConfig

    if "attention" in settings:
        settings = {"attention": AttentionConfig(num_kv_heads=1)}
    model = make(**settings)
    with pytest.raises(ConfigError, match=message):
        keep_heads(model, {n: [0] for n, m in model.named_modules() if isinstance(m, MultiHeadAttention)})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = Tokenizer.train([t for pair in PAIRS for t in pair] * 2, TokenizerConfig(vocab_size=320))
    torch.manual_seed(0)
    config = ModelConfig(tokenizer.vocab_size, tokenizer.vocab_size, d_model=16, d_ff=32, num_heads=4,
                         encoder_layers=3, decoder_layers=2)  # fmt: skip
    weights = {n: p.detach() + 0.3 * torch.randn_like(p) for n, p in Transformer(config).named_parameters()}
    task = {"name": "translation", "directions": [["en", "de"]], "tagged": False}
    save_model(tmp_path / "model", config, weights, task=task)
    tokenizer.save(tmp_path / "model")
    return tmp_path / "model"


def test_a_smaller_model_runs_in_both_engines(folder: Path, tmp_path: Path) -> None:
    before, after = prune_model(folder, tmp_path / "small", encoder=2, heads=3, pairs=PAIRS, direction=("en", "de"))
    assert after < before
    config = load_model(tmp_path / "small")[0].config
    assert (config.encoder_layers, config.decoder_layers, config.num_heads, config.key_width) == (2, 2, 3, 4)
    torch_says = Translator.from_pretrained(tmp_path / "small", engine="torch", precision="fp32")
    text = torch_says.translate(PAIRS[0].source, "en", "de", beam=1, max_length=6).text
    if why_not(config) is None:
        native = Translator.from_pretrained(tmp_path / "small", engine="native", precision="fp32")
        assert native.translate(PAIRS[0].source, "en", "de", beam=1, max_length=6).text == text


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        ({"encoder": 4}, ConfigError, "the encoder has 3 layers; 4 of them cannot be kept"),
        ({"decoder": [1, 0]}, ConfigError, "the decoder's layers to keep are"),
        ({"decoder": []}, ConfigError, "the decoder's layers to keep are"),
        ({"heads": 5, "pairs": PAIRS, "direction": ("en", "de")}, ConfigError, "has 4 heads; 5 of them"),
        ({"heads": 2, "pairs": PAIRS, "direction": ("de", "en")}, ConfigError, "does not translate de→en"),
        ({"heads": 2, "pairs": [], "direction": ("en", "de")}, DataError, "no sentence pairs"),
    ],
)
def test_what_cannot_be(
    folder: Path, tmp_path: Path, wanted: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        prune_model(folder, tmp_path / "small", **wanted)  # type: ignore[arg-type]
    assert not (tmp_path / "small").exists()


def test_pairs_of_no_direction(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no direction was given"):
        prune_model(folder, tmp_path / "small", heads=2, pairs=PAIRS)

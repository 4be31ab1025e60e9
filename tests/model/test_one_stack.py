"""Encoder alone and decoder alone: against PyTorch's encoder and GPT-2, and step by step against all at once."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from regard.attention import SinusoidalPositions
from regard.base.errors import ConfigError
from regard.data.batch import TextBatch, collate_text
from regard.model import DecoderOnly, EncoderOnly, ModelConfig, Transformer
from regard.model.choices import AttentionConfig
from regard.model.folder import load_family, load_model, save_model

EXACT = {"atol": 1e-10, "rtol": 0.0}
W, PAD = 23, 0
SIZES = {"d_model": 12, "d_ff": 20, "num_heads": 3, "dropout": 0.0}


def scale_up(model: nn.Module, factor: float = 2.0) -> None:
    """Norms and biases that are not 1 and 0, and matrices large enough that errors show."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1:
                parameter.mul_(factor)
            elif name.endswith("weight"):
                parameter.copy_(1.0 + 0.5 * torch.randn_like(parameter))
            else:
                parameter.copy_(torch.randn_like(parameter))


def encoder_only(**changes: Any) -> EncoderOnly:
    model = EncoderOnly(ModelConfig(W, W, **{**SIZES, "encoder_layers": 2, "decoder_layers": 0, **changes})).double()
    scale_up(model)
    return model.eval()


def decoder_only(**changes: Any) -> DecoderOnly:
    model = DecoderOnly(ModelConfig(W, W, **{**SIZES, "encoder_layers": 0, "decoder_layers": 2, **changes})).double()
    scale_up(model)
    return model.eval()


def ids(rows: int, length: int) -> Tensor:
    return torch.randint(4, W, (rows, length))


# ---- oracles


@pytest.mark.parametrize("norm_position", ["pre", "post"])
@pytest.mark.filterwarnings("ignore:enable_nested_tensor:UserWarning")
def test_the_encoder_equals_that_of_pytorch(norm_position: str) -> None:
    ours = encoder_only(norm_position=norm_position, activation="gelu", scale_embeddings=False)
    pre = norm_position == "pre"
    layer = nn.TransformerEncoderLayer(12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=pre)
    theirs = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(12) if pre else None).double().train()  # no fast path
    names = {
        "self_attn.out_proj": "self_attention.out",
        "linear1": "feed_forward.up",
        "linear2": "feed_forward.down",
        "norm1": "self_attention_sublayer.norm",
        "norm2": "feed_forward_sublayer.norm",
    }
    own = dict(ours.named_parameters())
    with torch.no_grad():
        for name, parameter in theirs.named_parameters():
            if name.startswith("norm"):
                parameter.copy_(own[f"encoder_{name}"])
                continue
            _, number, rest = name.split(".", 2)
            if "in_proj" in rest:
                kind, here = rest.split("_")[-1], f"encoder.{number}.self_attention"
                parameter.copy_(torch.cat([own[f"{here}.{part}.{kind}"] for part in ("query", "key", "value")]))
            else:
                module, _, kind = rest.rpartition(".")
                parameter.copy_(own[f"encoder.{number}.{names[module]}.{kind}"])
    inputs, lengths = ids(3, 7), torch.tensor([7, 4, 1])
    padded = torch.arange(7)[None] >= lengths[:, None]
    inputs[padded] = PAD
    positions = ours.source_embedder.positions
    assert isinstance(positions, SinusoidalPositions)
    embedded = ours.source_embedder.tokens(inputs) + positions.slice(7)
    with torch.no_grad():
        expected = theirs(embedded, src_key_padding_mask=padded) @ ours.source_embedder.tokens.weight.T
        found = ours.logits(ours.encode(inputs, lengths))
    assert float(expected[~padded].std()) > 1
    torch.testing.assert_close(found[~padded], expected[~padded], **EXACT)


def test_the_decoder_equals_gpt2() -> None:
    gpt2 = pytest.importorskip("transformers.models.gpt2.modeling_gpt2")
    config = gpt2.GPT2Config(
        vocab_size=W,
        n_positions=16,
        n_embd=12,
        n_layer=2,
        n_head=3,
        n_inner=20,
        activation_function="gelu",
        attn_implementation="eager",
    )
    theirs = gpt2.GPT2LMHeadModel(config).double().eval()
    scale_up(theirs, 20.0)  # their matrices start at a standard deviation of 0.02
    ours = decoder_only(position="learned", max_positions=16, activation="gelu", scale_embeddings=False)
    state = dict(theirs.transformer.named_parameters())
    names = {
        "self_attention.out": "attn.c_proj",
        "feed_forward.up": "mlp.c_fc",
        "feed_forward.down": "mlp.c_proj",
        "self_attention_sublayer.norm": "ln_1",
        "feed_forward_sublayer.norm": "ln_2",
    }
    with torch.no_grad():
        for name, parameter in ours.named_parameters():
            if name.startswith("target_embedder.tokens"):
                parameter.copy_(state["wte.weight"])
            elif name.startswith("target_embedder"):
                parameter.copy_(state["wpe.weight"])
            elif name.startswith("decoder_norm"):
                parameter.copy_(state[f"ln_f.{name.split('.')[-1]}"])
            else:
                _, number, rest = name.split(".", 2)
                module, _, kind = rest.rpartition(".")
                part = module.split(".")[-1]
                if part in ("query", "key", "value"):
                    fused = state[f"h.{number}.attn.c_attn.{kind}"]  # D×3D: theirs is input×output
                    index = ("query", "key", "value").index(part)
                    value = fused[..., index * 12 : (index + 1) * 12]
                else:
                    value = state[f"h.{number}.{names[module]}.{kind}"]
                parameter.copy_(value.T if value.dim() == 2 else value)
    inputs = ids(3, 9)
    with torch.no_grad():
        expected = theirs(inputs).logits
        found = ours.logits(ours.decode(inputs))
    assert float(expected.std()) > 1
    torch.testing.assert_close(found, expected, **EXACT)


def text_batch() -> TextBatch:
    """Three rows; what is predicted where is arbitrary."""
    rows = [np.arange(4, 11), np.arange(11, 15), np.arange(15, 17)]
    return collate_text(
        rows,
        [np.array([0, 3]), np.array([2]), np.array([0, 1])],
        [np.array([7, 5]), np.array([9]), np.array([4, 6])],
        pad_id=PAD,
    )


@pytest.mark.parametrize("tie", ["all", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_is_the_cross_entropy_of_what_is_to_be_found(tie: str, smoothing: float) -> None:
    batch = text_batch()
    places = [(0, 0), (0, 3), (1, 2), (2, 0), (2, 1)]
    for model in (encoder_only(tie=tie, output_bias=True), decoder_only(tie=tie, output_bias=True)):
        with torch.no_grad():
            if isinstance(model, EncoderOnly):
                states = model.encode(batch.inputs, batch.lengths)
            else:
                states = model.decode(batch.inputs)
        logits = torch.stack([model.logits(states[place]) for place in places])
        expected = F.cross_entropy(logits, batch.targets, label_smoothing=smoothing, reduction="sum")
        torch.testing.assert_close(model(batch, smoothing).detach(), expected.detach(), **EXACT)


# ---- what a row may see


def test_the_decoder_sees_only_what_came_before_and_the_encoder_all() -> None:
    inputs = ids(1, 8)
    changed = inputs.clone()
    changed[0, 5] = 4 + (changed[0, 5] - 3) % (W - 4)
    decoder, encoder = decoder_only(), encoder_only()
    with torch.no_grad():
        same = (decoder.decode(inputs) - decoder.decode(changed)).abs().amax(-1)[0]
        lengths = torch.tensor([8])
        other = (encoder.encode(inputs, lengths) - encoder.encode(changed, lengths)).abs().amax(-1)[0]
    assert same[:5].max() == 0
    assert same[5:].min() > 1e-3
    assert other.min() > 1e-3


@pytest.mark.parametrize(
    "position", ["sinusoidal", "learned", "rotary", "shaw", "transformer_xl", "t5", "alibi", "none"]
)
@pytest.mark.parametrize("attention", [{}, {"num_kv_heads": 1}, {"window": 3}])
def test_steps_with_a_cache_equal_the_full_pass(position: str, attention: dict[str, Any]) -> None:
    model = decoder_only(position=position, attention=AttentionConfig(**attention), max_positions=32)
    inputs = ids(3, 24)
    with torch.no_grad():
        full = model.decode(inputs)
        caches, found, place = model.start(3, 24), [], 0
        for count in (5, 1, 1, 3, *[1] * 14):
            found.append(model.decode(inputs[:, place : place + count], caches))
            place += count
    torch.testing.assert_close(torch.cat(found, 1), full, **EXACT)


# ---- folders, and what cannot be


def test_a_folder_is_read_back(tmp_path: Path) -> None:
    batch = text_batch()
    for model in (encoder_only(output_bias=True), decoder_only(tie="none", position="t5")):
        model = model.float()
        folder = tmp_path / type(model).__name__
        save_model(folder, model.config, dict(model.named_parameters()), task={"name": "pretraining"})
        again, task = load_family(folder, type(model))
        assert task == {"name": "pretraining"}
        assert again.config == model.config
        assert torch.equal(again(batch), model(batch))
        with pytest.raises(ConfigError, match=f"{folder}: a model that translates has an encoder and a decoder"):
            load_model(folder)
    with pytest.raises(ConfigError, match="a causal language model is a decoder alone"):
        load_family(tmp_path / "EncoderOnly", DecoderOnly)


@pytest.mark.parametrize(
    ("family", "layers", "message"),
    [
        (EncoderOnly, (2, 2), "set decoder_layers to 0"),
        (DecoderOnly, (2, 2), "set encoder_layers to 0"),
        (Transformer, (2, 0), "has an encoder and a decoder"),
        (Transformer, (0, 2), "has an encoder and a decoder"),
    ],
)
def test_a_family_has_its_stacks(family: Any, layers: tuple[int, int], message: str) -> None:
    config = ModelConfig(W, W, **SIZES, encoder_layers=layers[0], decoder_layers=layers[1])
    with pytest.raises(ConfigError, match=message):
        family(config)


def test_layers_are_left_out_in_training_only() -> None:
    torch.manual_seed(0)
    batch = text_batch()
    for model in (encoder_only(layer_drop=0.5), decoder_only(layer_drop=0.5)):
        assert len({float(model(batch).detach()) for _ in range(5)}) == 1
        model.train()
        assert len({float(model(batch).detach()) for _ in range(30)}) == 4  # none, either, or both of the layers

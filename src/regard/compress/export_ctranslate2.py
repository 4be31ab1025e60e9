"""Export to CTranslate2: ``ctranslate2.Translator`` reads the folder.

It takes and gives pieces, so the SentencePiece models lie beside the weights. The tag of
the target language is a piece like any other: ``["<2de>", "▁Good", ...]``. The end of the
sentence is added by CTranslate2.
"""

from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from regard.attention import MultiHeadAttention
from regard.attention.positions import sinusoidal_table
from regard.base.extras import missing
from regard.compress.fields import check_fields
from regard.compress.loading import Loaded
from regard.model import ModelConfig
from regard.model.layers import DecoderLayer, EncoderLayer, FeedForward, Sublayer
from regard.model.transformer import Embedder
from regard.tasks.vocabulary import save_tokenizers

#: Length of the tables of sinusoidal positions that are written.
POSITIONS = 1024


def write(loaded: Loaded, folder: Path) -> None:
    """Write the model, in float32, into ``folder``; CTranslate2 quantises when it loads (``compute_type``).

    Raises:
        MissingExtra: CTranslate2 is not installed.
        ModelError: it cannot express the model.
    """
    try:
        from ctranslate2.specs import common_spec, transformer_spec
    except ImportError as error:
        raise missing("ctranslate2", "this export") from error
    model, config = loaded.model, loaded.model.config
    _check(config)
    activation = {
        "relu": common_spec.Activation.RELU,
        "gelu": common_spec.Activation.GELU,
        "silu": common_spec.Activation.SWISH,
        "swiglu": common_spec.Activation.SWISH,
    }[config.activation]
    rotary = {"rotary_dim": 0, "rotary_interleave": False} if config.position == "rotary" else {}
    shape: dict[str, Any] = {
        "pre_norm": config.norm_position == "pre",
        "activation": activation,
        "ffn_glu": config.activation == "swiglu",
        "rms_norm": config.norm == "rmsnorm",
        "head_dim": config.head_dim,
        **rotary,
    }
    encoder = transformer_spec.TransformerEncoderSpec(config.encoder_layers, config.num_heads, **shape)
    decoder = transformer_spec.TransformerDecoderSpec(config.decoder_layers, config.num_heads, **shape)
    _fill_stack(encoder, encoder.embeddings[0], model.source_embedder, model.encoder, model.encoder_norm, config)
    _fill_stack(decoder, decoder.embeddings, model.target_embedder, model.decoder, model.decoder_norm, config)
    _fill_linear(decoder.projection, model.head)
    spec = transformer_spec.TransformerSpec(encoder, decoder)
    source, target = loaded.tokenizers
    pieces = target.pieces(range(target.vocab_size))
    spec.register_source_vocabulary(source.pieces(range(source.vocab_size)))
    spec.register_target_vocabulary(pieces)
    settings: Any = spec.config
    settings.unk_token = pieces[target.unk_id]
    settings.bos_token = settings.decoder_start_token = pieces[config.bos_id]
    settings.eos_token = pieces[config.eos_id]
    settings.add_source_bos, settings.add_source_eos = False, True
    settings.layer_norm_epsilon = 1e-6 if config.norm == "rmsnorm" else 1e-5
    spec.validate()
    spec.optimize()
    spec.save(str(folder))
    save_tokenizers(folder, loaded.tokenizers)


def _check(config: ModelConfig) -> None:
    choices: dict[str, Any] = {
        "norm": ("layernorm", "rmsnorm"),
        "norm_position": None,
        "activation": ("relu", "gelu", "silu", "swiglu"),
        "position": ("sinusoidal", "learned", "rotary", "none"),
        "tie": None,
        "head_dim": None,
        "value_dim": (None, config.key_width),
        "output_bias": None,
        "scale_embeddings": None,
    }
    check_fields(config, "CTranslate2", choices)


def _fill_stack(
    spec: Any, embeddings: Any, embedder: Embedder, layers: nn.ModuleList, norm: nn.Module, config: ModelConfig
) -> None:
    embeddings.weight = _array(embedder.tokens.weight)
    spec.scale_embeddings = config.scale_embeddings
    if hasattr(spec, "position_encodings"):
        spec.position_encodings.encodings = _positions(embedder, config)
    if hasattr(spec, "layer_norm"):
        _fill_norm(spec.layer_norm, norm)
    for layer_spec, layer in zip(spec.layer, layers, strict=True):
        assert isinstance(layer, EncoderLayer | DecoderLayer)
        _fill_attention(layer_spec.self_attention, layer.self_attention, layer.self_attention_sublayer, (3, 1))
        if isinstance(layer, DecoderLayer):
            _fill_attention(layer_spec.attention, layer.cross_attention, layer.cross_attention_sublayer, (1, 2, 1))
        _fill_norm(layer_spec.ffn.layer_norm, layer.feed_forward_sublayer.norm)
        _fill_feed_forward(layer_spec.ffn, layer.feed_forward)


def _positions(embedder: Embedder, config: ModelConfig) -> np.ndarray:
    """What is added to the embeddings: nothing where positions are rotary or there are none."""
    if config.position == "learned":
        return _array(embedder.positions.table)  # type: ignore[union-attr,arg-type]
    table = sinusoidal_table(POSITIONS, config.d_model)
    return _array(table if config.position == "sinusoidal" else table * 0)


def _fill_attention(spec: Any, attention: MultiHeadAttention, around: Sublayer, grouping: tuple[int, ...]) -> None:
    """Query, key, value and output, as many of them in one product as ``grouping`` says."""
    layers = iter((attention.query, attention.key, attention.value, attention.out))
    for linear, count in zip(spec.linear, grouping, strict=True):
        _fill_linear(linear, *(next(layers) for _ in range(count)))
    _fill_norm(spec.layer_norm, around.norm)


def _fill_feed_forward(spec: Any, layer: FeedForward) -> None:
    if layer.gate is None:
        _fill_linear(spec.linear_0, layer.up)
    else:
        _fill_linear(spec.linear_0, layer.gate)  # the one with the activation
        _fill_linear(spec.linear_0_noact, layer.up)
    _fill_linear(spec.linear_1, layer.down)


def _fill_linear(spec: Any, *layers: nn.Linear) -> None:
    spec.weight = np.concatenate([_array(layer.weight) for layer in layers])
    if layers[0].bias is not None:
        spec.bias = np.concatenate([_array(layer.bias) for layer in layers])


def _fill_norm(spec: Any, norm: nn.Module) -> None:
    spec.gamma = _array(norm.weight)  # type: ignore[arg-type]
    if isinstance(norm, nn.LayerNorm):
        spec.beta = _array(norm.bias)


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().float().numpy()

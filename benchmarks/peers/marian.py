"""The same weights as a Hugging Face Marian model.

Marian has Regard's post-norm Transformer with one difference: its sinusoidal table holds the sines in the first half
of the channels and the cosines in the second, where Regard (as the paper) interleaves them. Permuting the channels of
the residual stream in every weight that reads or writes it gives the same function.
"""
# pyright: reportMissingImports=false

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from regard.model import ModelConfig, Transformer

_ATTENTION = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "out": "out_proj"}
_SUBLAYERS = {
    "self_attention": "self_attn",
    "cross_attention": "encoder_attn",
    "self_attention_sublayer.norm": "self_attn_layer_norm",
    "cross_attention_sublayer.norm": "encoder_attn_layer_norm",
    "feed_forward_sublayer.norm": "final_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
}


def marian_config(config: ModelConfig, *, banned: bool = False) -> dict[str, Any]:
    """The settings of a ``MarianConfig`` of the same shape; ``banned`` leaves out the end of the sentence.

    Raises:
        ValueError: a choice that Marian does not have.
    """
    wanted = {"norm": "layernorm", "norm_position": "post", "position": "sinusoidal", "tie": "all", "bias": True}
    for name, value in wanted.items():
        if getattr(config, name) != value:
            raise ValueError(f"Marian has {name}: {value}, this model {getattr(config, name)}.")
    if config.activation not in ("relu", "gelu") or config.key_width * config.num_heads != config.d_model:
        raise ValueError("Marian has relu or gelu, and heads of width D / H.")
    return {
        "architectures": ["MarianMTModel"],
        "model_type": "marian",
        "vocab_size": config.target_vocab_size,
        "decoder_vocab_size": config.target_vocab_size,
        "max_position_embeddings": config.max_positions,
        "encoder_layers": config.encoder_layers,
        "decoder_layers": config.decoder_layers,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "d_model": config.d_model,
        "activation_function": config.activation,
        "dropout": config.dropout,
        "attention_dropout": config.attention_dropout,
        "activation_dropout": config.activation_dropout,
        "scale_embedding": True,
        "share_encoder_decoder_embeddings": True,
        "tie_word_embeddings": True,
        "pad_token_id": config.pad_id,
        "bos_token_id": None,
        "eos_token_id": None if banned else config.eos_id,
        "forced_eos_token_id": None,
        "decoder_start_token_id": config.bos_id,
    }


def marian_weights(model: Transformer) -> dict[str, Tensor]:
    """The weights under Marian's names, channels permuted; shared ones once."""
    width = model.config.d_model
    order = torch.cat([torch.arange(0, width, 2), torch.arange(1, width, 2)])
    weights = {}
    for name, parameter in model.state_dict().items():
        stack, _, rest = name.partition(".")
        if name == "target_embedder.tokens.weight":
            weights["model.shared.weight"] = parameter[:, order]
        elif stack in ("encoder", "decoder"):
            number, _, rest = rest.partition(".")
            path, _, kind = rest.rpartition(".")  # kind: weight or bias
            weights[f"model.{stack}.layers.{number}.{_marian_name(path)}.{kind}"] = _permute(path, parameter, order)
    return {name: weight.detach().float().contiguous() for name, weight in weights.items()}


def _marian_name(path: str) -> str:
    if path in _SUBLAYERS:
        return _SUBLAYERS[path]
    block, _, projection = path.rpartition(".")
    return f"{_SUBLAYERS[block]}.{_ATTENTION[projection]}"


def _permute(path: str, parameter: Tensor, order: Tensor) -> Tensor:
    """Reorder what belongs to the residual stream: outputs of out, down and norms, inputs of the others."""
    if path.endswith((".out", ".down", ".norm")):
        return parameter[order]
    return parameter[:, order] if parameter.dim() == 2 else parameter


def write_marian(folder: Path, model: Transformer, *, banned: bool = False) -> None:
    """Write a folder for ``MarianMTModel.from_pretrained``.

    Args:
        banned: padding, begin and end of the sentence can never be produced (Marian's own output bias, at no cost).
    """
    config = model.config
    bias = torch.zeros(1, config.target_vocab_size)
    if banned:
        bias[0, [config.pad_id, config.bos_id, config.eos_id]] = -1e9
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(marian_config(config, banned=banned), indent=1), encoding="utf-8")
    weights = {**marian_weights(model), "final_logits_bias": bias}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_marian(folder: Path, *, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> Any:
    """The Hugging Face model in ``folder``, in evaluation mode."""
    import transformers
    from transformers import MarianMTModel

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    return MarianMTModel.from_pretrained(folder, attn_implementation=attention, dtype=dtype).eval()

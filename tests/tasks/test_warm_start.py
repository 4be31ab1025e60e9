"""Translation models that begin as pretrained ones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from regard.base.config import from_dict, override
from regard.base.errors import ConfigError, ModelError
from regard.data.tokenizer import Tokenizer, TokenizerConfig
from regard.model import DecoderOnly, EncoderOnly, ModelConfig, Transformer
from regard.model.folder import load_model, save_model
from regard.tasks.preset import Preset
from regard.tasks.translation_training import train
from regard.tasks.vocabulary import load_tokenizers
from regard.tasks.warm_start import carry_over, start_stack

from .conftest import sentences

pytestmark = pytest.mark.usefixtures("_as_it_was")

SIZES: dict[str, Any] = {"d_model": 16, "d_ff": 32, "num_heads": 2}
FAMILIES: dict[str, Any] = {"masked": EncoderOnly, "causal": DecoderOnly, "denoising": Transformer}
LAYERS = {"masked": (1, 0), "causal": (0, 1), "denoising": (1, 1)}


def pretrained(folder: Path, kind: str, *, texts: int = 60, vocab_size: int = 310, **settings: Any) -> Path:
    """A model folder as pretraining leaves it, with random weights."""
    lines = [line for pair in sentences(texts, 5) for line in pair]
    tokenizer = Tokenizer.train(lines, TokenizerConfig(vocab_size=vocab_size), ["<mask>"])
    layers = dict(zip(("encoder_layers", "decoder_layers"), LAYERS[kind], strict=True))
    torch.manual_seed(len(kind))
    config = ModelConfig(tokenizer.vocab_size, tokenizer.vocab_size, **{**SIZES, **layers, **settings})
    model = FAMILIES[kind](config)
    weights = {name: weight.detach() + 0.1 * torch.randn_like(weight) for name, weight in model.named_parameters()}
    save_model(folder, config, weights, task={"name": "pretraining", "objective": {"kind": kind}})
    tokenizer.save(folder)
    return folder


def weights_of(folder: Path) -> dict[str, Tensor]:
    from regard.model.folder import load_weights

    return load_weights(folder / "model.safetensors")


def run(settings: dict[str, Any], *changes: str) -> tuple[Path, list[str]]:
    """A training of one step that changes next to nothing."""
    still = ["train.schedule.peak=1e-12", "train.steps=1", "train.validate_every=0", "model={}"]
    said: list[str] = []
    folder = train(from_dict(Preset, override(settings, [*still, *changes])), said.append)
    assert folder is not None
    return folder, [line for line in said if line.startswith("start.")]


def test_rows_are_carried_over_by_piece() -> None:
    rows = torch.tensor([[0.0, 0.0], [2.0, 4.0], [4.0, 8.0]])
    found, shared = carry_over(rows, ["<pad>", "▁a", "b"], ["<pad>", "b", "▁a", "new", "▁b"])
    assert shared == 3
    assert found.tolist() == [[0, 0], [4, 8], [2, 4], [2, 4], [2, 4]]
    numbers, _ = carry_over(torch.tensor([1.0, 3.0]), ["x", "y"], ["z", "y"])
    assert numbers.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("encoder", "decoder"), [("masked", "causal"), ("causal", "masked"), ("denoising", "denoising")]
)
def test_stacks_are_copied_exactly_and_vocabularies_mapped(
    settings: dict[str, Any], tmp_path: Path, encoder: str, decoder: str
) -> None:
    folders = {side: pretrained(tmp_path / f"{side}-{kind}", kind) for side, kind in (("e", encoder), ("d", decoder))}
    changes = [f"start={{encoder: {folders['e']}, decoder: {folders['d']}}}", "model.tie=decoder"]
    model, said = run(settings, *changes, "model.encoder_layers=1", "model.decoder_layers=1")
    ours = weights_of(model)
    tokenizer = load_tokenizers(model)[0]
    new = tokenizer.pieces(range(tokenizer.vocab_size))
    for side, short, kind, parts in (
        ("encoder", "e", encoder, ("source_embedder", "encoder")),
        ("decoder", "d", decoder, ("target_embedder", "decoder")),
    ):
        theirs = weights_of(folders[short])
        stack = side if kind == "denoising" else "encoder" if kind == "masked" else "decoder"
        embedding = next(
            n
            for n in (
                f"{'source' if stack == 'encoder' else 'target'}_embedder.tokens.weight",
                "source_embedder.tokens.weight",
            )
            if n in theirs
        )
        old_tokenizer = Tokenizer.load(folders[short])
        old = {piece: i for i, piece in enumerate(old_tokenizer.pieces(range(old_tokenizer.vocab_size)))}
        copied = 0
        for name, weight in ours.items():
            if name.split(".")[0] == parts[1] or name.startswith(f"{side}_norm"):
                source = name.replace(side, stack, 1)
                if source in theirs:
                    torch.testing.assert_close(weight, theirs[source], rtol=0, atol=1e-9)
                    copied += 1
                else:
                    assert "cross_attention" in name
                    assert kind != "denoising"
        rows = ours[f"{parts[0]}.tokens.weight"]
        shared = [piece for piece in new if piece in old]
        assert 0 < len(shared) < len(new)
        for i, piece in enumerate(new):
            wanted = theirs[embedding][old[piece]] if piece in old else theirs[embedding].mean(0)
            torch.testing.assert_close(rows[i], wanted, rtol=0, atol=1e-6)
        line = next(line for line in said if line.startswith(f"start.{side}: {copied} weights of {folders[short]}"))
        counts = f"{len(shared)} of {len(new)} pieces were in its vocabulary, {len(new) - len(shared)} new ones"
        assert counts in line
        assert ("cross-attention are new" in line) == (side == "decoder" and kind != "denoising")


def test_the_vocabulary_can_be_taken_over(settings: dict[str, Any], tmp_path: Path) -> None:
    """Then every piece is in common, and a tied embedding is that of the encoder."""
    base = pretrained(tmp_path / "masked", "masked")
    changes = ["tokenizer={}", f"start={{encoder: {base}, decoder: {base}, vocabulary: {base}}}"]
    model, said = run(settings, *changes)
    loaded, task = load_model(model)
    assert not task["tagged"]  # a mark of the pretraining is no language
    assert load_tokenizers(model)[0].sentencepiece_model() == Tokenizer.load(base).sentencepiece_model()
    torch.testing.assert_close(
        loaded.head.weight.detach(), weights_of(base)["source_embedder.tokens.weight"], rtol=0, atol=1e-9
    )
    assert "310 of 310 pieces were in its vocabulary, 0 new ones" in said[0]
    assert "the embedding is that of the encoder" in said[1]
    assert loaded.config.encoder_layers == loaded.config.decoder_layers == 1


def test_the_settings_of_the_stacks_are_taken_over(settings: dict[str, Any], tmp_path: Path) -> None:
    base = pretrained(tmp_path / "masked", "masked", norm_position="post", activation="gelu", position="rotary")
    preset = from_dict(Preset, override(settings, [f"start.encoder={base}", "model={decoder_layers: 2}"]))
    config = preset.model_config(9, 9)
    assert (config.norm_position, config.activation, config.position) == ("post", "gelu", "rotary")
    assert (config.d_model, config.encoder_layers, config.decoder_layers) == (16, 1, 2)


def test_a_frozen_encoder_is_in_the_model(settings: dict[str, Any], tmp_path: Path) -> None:
    base = pretrained(tmp_path / "masked", "masked")
    start = f"start={{encoder: {base}, rates: {{'encoder*': 0, 'source_embedder*': 0}}}}"
    model, _ = run(settings, start, "model.tie=decoder", "train.schedule.peak=0.1", "model.decoder_layers=1")
    ours, theirs = weights_of(model), weights_of(base)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("encoder."))
    load_model(model)


# ---- what does not fit


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["model.num_heads=4"], "start.encoder: to begin as .*masked, model.num_heads is 4 and must be 2"),
        (
            ["model.d_ff=48", "model.encoder_layers=2"],
            "model.d_ff is 48 and must be 32; model.encoder_layers is 2 and must be 1",
        ),
        (["model.position=rotary"], "model.position is 'rotary' and must be 'sinusoidal'"),
        (["start.model=x"], "model brings everything"),
        (["start={rates: {'encoder*': 0}}"], "it is empty; set model, or encoder, decoder or vocabulary"),
        (["start.vocabulary=x"], "start.vocabulary is the vocabulary; leave the section tokenizer out"),
        (["tune={method: lora}"], "tune makes an adapter for a trained model; say which: start.model"),
        (["start.decoder=nowhere"], "nowhere is not a model folder"),
        (["model.decoder_layers=0"], "a translation model needs both stacks"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    settings: dict[str, Any], tmp_path: Path, changes: list[str], message: str
) -> None:
    base = pretrained(tmp_path / "masked", "masked")
    values = override(settings, ["model={}", f"start.encoder={base}", *changes])
    with pytest.raises((ConfigError, ModelError), match=message):
        from_dict(Preset, values)


def test_a_model_of_several_directions_needs_language_tags(settings: dict[str, Any], tmp_path: Path) -> None:
    base = pretrained(tmp_path / "masked", "masked")
    changes = ["tokenizer={}", f"start={{encoder: {base}, vocabulary: {base}}}", "data.train.0.both_directions=true"]
    with pytest.raises(ConfigError, match="translates in one direction; this preset has 2"):
        run(settings, *changes)


def test_weights_of_another_shape_are_named(tmp_path: Path) -> None:
    base = pretrained(tmp_path / "masked", "masked")
    model = Transformer(ModelConfig(9, 9, **{**SIZES, "d_ff": 48}, encoder_layers=1, decoder_layers=1))
    with pytest.raises(ModelError, match=r"'encoder.0.feed_forward.up.weight' is \(32, 16\), and \(48, 16\) is needed"):
        start_stack(model, "encoder", base, Tokenizer.load(base))
    deep = Transformer(ModelConfig(9, 9, **SIZES, encoder_layers=2, decoder_layers=1))
    with pytest.raises(ModelError, match=r"cannot become the encoder: it has no weight 'encoder.1"):
        start_stack(deep, "encoder", base, Tokenizer.load(base))

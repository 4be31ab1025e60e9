"""The kinds of encoder-decoder at Hugging Face that are Regard's Transformer under other names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from regard.base.errors import ModelError


@dataclass(frozen=True)
class Family:
    """A kind of model, and what it is made of."""

    kind: str
    """Its ``model_type`` there."""
    architecture: str
    """The class that holds it."""
    norm_position: Literal["pre", "post"]
    """Where it normalises."""
    position: Literal["sinusoidal", "learned"] = "sinusoidal"
    """Its positions here. Those of M2M-100 are sines too, but others than ours: they become a table like BART's."""
    embedding_norm: bool = False
    """Whether it normalises embeddings."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    """What its configuration class fills in where a file has no such setting (transformers 5.23), beside the common."""

    @property
    def name(self) -> str:
        """What people call it."""
        return self.architecture.removesuffix("ForConditionalGeneration").removesuffix("MTModel")

    def complete(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings of a file, with those that it leaves out.

        Raises:
            ModelError: it names a structure that models of this kind do not have.
        """
        pre = self.norm_position == "pre"
        expected = {  # old configurations name these
            "normalize_before": pre,
            "add_final_layer_norm": pre,
            "normalize_embedding": self.embedding_norm,
            "static_position_embeddings": self.kind != "bart",
        }
        for name, value in expected.items():
            if values.get(name, value) != value:
                raise ModelError(f"{name} is {values[name]} here, which Regard does not read for a {self.kind} model.")
        complete = {**_DEFAULTS, **self.defaults, **values}
        complete.setdefault("decoder_start_token_id", complete["pad_token_id"])
        return complete


_DEFAULTS: dict[str, Any] = {
    "vocab_size": 50265,
    "d_model": 1024,
    **{f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 12), ("ffn_dim", 4096))},
    **{f"{side}_attention_heads": 16 for side in ("encoder", "decoder")},
    "max_position_embeddings": 1024,
    "activation_function": "gelu",
    "tie_word_embeddings": True,
    "share_encoder_decoder_embeddings": True,
    "scale_embedding": False,
    "dropout": 0.1,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "pad_token_id": 0,
    "eos_token_id": 1,
}
_FAIRSEQ = {"bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
_M2M100 = {"vocab_size": 128112, "activation_function": "relu", "scale_embedding": True, "attention_dropout": 0.1}

MARIAN = Family("marian", "MarianMTModel", "post", defaults={"pad_token_id": 58100, "eos_token_id": 0})
PEGASUS = Family("pegasus", "PegasusForConditionalGeneration", "pre")
M2M100 = Family("m2m_100", "M2M100ForConditionalGeneration", "pre", "learned", defaults={**_FAIRSEQ, **_M2M100})
BART = Family("bart", "BartForConditionalGeneration", "post", "learned", embedding_norm=True, defaults=_FAIRSEQ)
FAMILIES = (MARIAN, PEGASUS, M2M100, BART)


def family_of(kind: Any) -> Family:
    """The family of a ``model_type``.

    Raises:
        ModelError: it is none of those that Regard reads.
    """
    for family in FAMILIES:
        if family.kind == kind:
            return family
    known = ", ".join(family.kind for family in FAMILIES)
    raise ModelError(f"this is a model of type '{kind}'; Regard imports {known}.")

"""Export to Hugging Face: a folder that ``AutoModelForSeq2SeqLM`` and ``AutoTokenizer`` read.

The target language is named in front of the text, as in ``>>de<< Good morning.``
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from regard.base.files import write_atomic
from regard.compress.hugging_face import write_config, write_weights
from regard.compress.loading import Loaded
from regard.compress.marian_files import write_tokenizers


def write(loaded: Loaded, folder: Path) -> None:
    """Write the model into ``folder``.

    Raises:
        ModelError: no architecture of Hugging Face fits; the message names the setting.
    """
    config = loaded.model.config
    values = write_config(config)
    weights = {name: parameter.detach() for name, parameter in loaded.model.named_parameters()}
    write_tokenizers(folder, loaded.tokenizers, config)
    write_atomic(folder / "generation_config.json", _json(_search(loaded)))
    write_atomic(folder / "model.safetensors", save(write_weights(weights, config), {"format": "pt"}))
    write_atomic(folder / "config.json", _json(values))


def _search(loaded: Loaded) -> dict[str, Any]:
    """Their options of search; what Regard never produces is suppressed, and no translation is empty."""
    config, search = loaded.model.config, loaded.search
    return {
        "pad_token_id": config.pad_id,
        "bos_token_id": config.bos_id,
        "eos_token_id": config.eos_id,
        "decoder_start_token_id": config.bos_id,
        "suppress_tokens": loaded.never,
        "num_beams": search.get("beam", 1),
        "length_penalty": search.get("length_penalty", 1.0),
        "no_repeat_ngram_size": search.get("no_repeat_ngram", 0),
        "min_length": max(1, search.get("min_length", 0)) + 1,  # theirs counts the begin
        "max_length": 512,
    }


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=2, ensure_ascii=False) + "\n"

from pathlib import Path
from typing import Any

import pytest
import torch

from regard import __version__
from regard.base.config import from_dict, override
from regard.model import ModelConfig
from regard.tasks.card import Recipe, write_card
from regard.tasks.preset import Preset
from regard.train.task import Outcome

CONFIG = ModelConfig(300, 300, d_model=16, d_ff=32, num_heads=2, encoder_layers=1, decoder_layers=1)


def outcome(**changes: Any) -> Outcome:
    values: dict[str, Any] = {
        "weights": {"a": torch.zeros(1000, 2), "b": torch.zeros(34)},
        "chosen": "moving average (decay 0.99) at step 6",
        "metrics": {"loss": 1.25, "bleu": 31.5},
        "history": [
            {"step": 2, "minutes": 0.1, "loss": 3.0},
            {"step": 3, "minutes": 0.2, "valid_loss": 2.0, "valid_bleu": 20.0},
            {"step": 6, "minutes": 0.4, "valid_loss": 1.5},
        ],
        "steps": 6,
        "tokens": 123_456,
        "minutes": 12.34,
        "device": "some processor",
    }
    return Outcome(**{**values, **changes})


@pytest.fixture
def card(tmp_path: Path, settings: dict[str, Any]) -> Any:
    def write(*changes: str, result: Outcome | None = None, **options: Any) -> str:
        preset = from_dict(Preset, override(settings, changes))
        write_card(tmp_path / "README.md", preset, CONFIG, result or outcome(), **options)
        return (tmp_path / "README.md").read_text(encoding="utf-8")

    return write


def test_what_a_card_says(card: Any) -> None:
    text = card(
        "validation.metrics=[loss, bleu]",
        "train.ema=0.99",
        "storage=int8",
        "data.train.0.weight=0.5",
        "data.train.0.both_directions=true",
        "description=For cats. Data CC0 by its authors.",
        counts=[1234],
        signatures={"bleu": "nrefs:1|case:mixed|tok:13a"},
        recipe=Recipe("regard train presets/x.yaml train.steps=6", "output: runs/x\n"),
    )
    assert text.startswith("# Translation model: en→de, de→en\n\nFor cats. Data CC0 by its authors.\n")
    for line in (
        "| parameters | 2,034 |",
        "| weights | moving average (decay 0.99) at step 6, stored as int8 |",
        "| training | 6 steps, 123,456 target pieces, 12.3 minutes |",
        f"| made with | regard {__version__}, PyTorch {torch.__version__}, some processor |",
        "| loss | 1.250 | – |",
        "| bleu | 31.500 | nrefs:1\\|case:mixed\\|tok:13a |",
        "BLEU and chrF on the first 200 sentences of each set and direction, beam 1.",
        "During the training, of the moving average of the weights at that step:",
        "| step | minutes | loss | bleu |",
        "| 3 | 0.2 | 2.000 | 20.000 |",
        "| 6 | 0.4 | 1.500 |  |",
        "![training curve](curve.png)",
        "regard train presets/x.yaml train.steps=6",
        "```yaml\noutput: runs/x\n```",
    ):
        assert line in text
    assert "train.tsv | en–de, both ways | 0.5 | 1,234 |" in text


def test_what_was_not_said_or_measured_is_admitted(card: Any) -> None:
    text = card(result=outcome(metrics={}, history=[]))
    assert "No description was given: what the licences of its data demand is not known" in text
    assert "The model was not validated." in text
    assert "not counted" in text
    assert '"d_model": 16' in text  # every setting, where nobody says how the run was started


def test_no_path_of_this_machine(card: Any, tmp_path: Path) -> None:
    text = card(counts=[1], recipe=Recipe("regard train x.yaml", "output: runs/x"))
    assert str(tmp_path) not in text


def test_without_translations_there_is_no_word_of_them(card: Any) -> None:
    text = card(result=outcome(metrics={"loss": 1.25}))
    assert "BLEU" not in text.replace("sacreBLEU signature", "")
    assert "The loss is in nats a target piece" in text
    assert "of the weights at that step" in text

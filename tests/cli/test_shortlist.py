from pathlib import Path

import pytest

from regard.cli.main import main as regard


def test_a_shortlist_is_learnt_and_added_to(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    model = tmp_path / "model"
    shutil.copytree(tiny_model, model)
    corpus = tmp_path / "pairs.tsv"
    corpus.write_text("A cup of tea.\tEine Tasse Tee.\nThe tea is cold.\tDer Tee ist kalt.\n", encoding="utf-8")
    direction = ["--source", "en", "--target", "de"]
    assert regard(["shortlist", str(model), "--data", str(corpus), *direction]) == 0
    out, err = capsys.readouterr()
    assert "shortlist.safetensors: 0." in out
    assert "en→de: 2 pairs" in err
    assert (model / "shortlist.safetensors").exists()
    assert regard(["shortlist", str(model), "--data", str(tmp_path / "none.tsv"), *direction]) == 1
    assert "none.tsv" in capsys.readouterr().err

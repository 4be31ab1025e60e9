"""What docs/interoperability.md shows works: each Python block reads the shipped model, exported to ``out``."""

import re
from pathlib import Path
from typing import Any

import pytest

PROGRAMS = {"hf": "transformers", "ctranslate2": "ctranslate2", "onnx": "onnxruntime"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Recommended. pip install sacremoses")
@pytest.mark.parametrize("to", PROGRAMS)
def test_the_examples_run(
    root: Path,
    tmp_path: Path,
    exported: Any,
    to: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip(PROGRAMS[to])
    text = (root / "docs" / "interoperability.md").read_text(encoding="utf-8")
    blocks = re.findall("```python\n(.*?)```", text, re.DOTALL)
    (block,) = [block for block in blocks if re.search(rf"(import|from) .*\b{PROGRAMS[to]}\b", block)]
    (tmp_path / "out").symlink_to(exported(to))
    monkeypatch.chdir(tmp_path)
    exec(compile(block, to, "exec"), {})
    assert "Brot" in capsys.readouterr().out

"""The pages about attention show the code as it is, and a picture of each variant."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import regard.attention

PAGES = ["similarities", "normalisers", "positions", "masks", "kernels", "README", "README.zh"]


@pytest.fixture(scope="module")
def build(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("build_attention_pages", root / "docs" / "attention" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", PAGES)
def test_code_and_pictures_are_there(page: str, root: Path, build: ModuleType) -> None:
    """``python docs/attention/build.py`` renews them."""
    file = root / "docs" / "attention" / f"{page}.md"
    text = file.read_text(encoding="utf-8")
    assert build.renew(text) == text
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (file.parent / link).exists(), link


def test_code_without_its_docstring(build: ModuleType) -> None:
    assert build.code("normalisers.softmax") == (
        "def softmax(scores: Tensor) -> Tensor:\n    return torch.softmax(scores, dim=-1)"
    )
    text = "<!-- code: normalisers.softmax -->\n```python\nold\n```\nand more"
    assert build.renew(text) == text.replace("old", build.code("normalisers.softmax"))


def test_every_variant_has_its_section(root: Path) -> None:
    text = "".join((root / "docs" / "attention" / f"{page}.md").read_text(encoding="utf-8") for page in PAGES)
    elsewhere = {"Dropout", "reference_attention", "attend"}
    missing = [name for name in regard.attention.__all__ if name not in text and name not in elsewhere]
    assert not missing
    for kind in ("causal", "padding", "window", "prefix", "documents", "since", "boolean"):
        assert f"Mask.{kind}(" in text
    for page in PAGES[:4]:
        sections = re.split(
            r"^##+ ", (root / "docs" / "attention" / f"{page}.md").read_text(encoding="utf-8"), flags=re.M
        )
        pictured = [section for section in sections[1:] if ".png)" in section]
        assert len(pictured) >= 4

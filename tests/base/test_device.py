import pytest
import torch

from regard.base import device
from regard.base.errors import ConfigError


def test_at_least_one_core_may_be_used() -> None:
    assert device.cpu_count() >= 1


def test_the_processor_has_a_name() -> None:
    assert device.cpu_name()


def test_auto_is_a_device_that_works() -> None:
    chosen = device.choose_device("auto")
    assert chosen.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert torch.ones(2, device=chosen).sum().item() == 2


def test_a_device_by_name() -> None:
    assert device.choose_device("cpu") == torch.device("cpu")


def test_an_unknown_device_is_named() -> None:
    with pytest.raises(ConfigError, match=r"'abacus' is not a device\. Use auto, cpu"):
        device.choose_device("abacus")


def test_a_missing_gpu_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device.choose_device("auto").type == "cpu"
    with pytest.raises(ConfigError, match="finds no GPU"):
        device.choose_device("cuda:0")


@pytest.mark.parametrize(
    ("flags", "fast"),
    [({"avx2", "fma"}, False), ({"avx512f", "avx512_vnni"}, False), ({"avx512f", "avx512_bf16"}, True), (set(), False)],
)
def test_bf16_needs_its_instructions(monkeypatch: pytest.MonkeyPatch, flags: set[str], fast: bool) -> None:
    monkeypatch.setattr(device, "cpu_flags", lambda: frozenset(flags))
    assert device.cpu_has_fast_bf16() is fast
    assert device.has_fast_bf16(torch.device("cpu")) is fast


@pytest.mark.gpu
def test_a_gpu_says_whether_it_has_bf16() -> None:
    assert isinstance(device.has_fast_bf16(torch.device("cuda")), bool)


def test_a_gpu_is_found_without_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.exists", lambda path: path == "/dev/nvidia0")
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0+cpu")
    assert not device.has_gpu()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.13.0")
    assert device.has_gpu()
    monkeypatch.setattr("os.path.exists", lambda path: False)
    assert not device.has_gpu()

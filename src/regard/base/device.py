"""Which device, how many threads and which precision this machine is best used with."""

import os
import platform
from functools import cache
from typing import TYPE_CHECKING

from regard.base.errors import ConfigError

if TYPE_CHECKING:
    import torch


def cpu_count() -> int:
    """Number of cores this process may use (the affinity mask, not the machine's total)."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS or Windows
        return os.cpu_count() or 1


@cache
def cpu_flags() -> frozenset[str]:
    """Instruction set names as Linux reports them; empty where it cannot be read."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith(("flags", "Features")):
                    return frozenset(line.split(":", 1)[1].split())
    except OSError:
        pass
    return frozenset()


def cpu_name() -> str:
    """The processor's own name, for benchmark tables."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_has_fast_bf16() -> bool:
    """True where bf16 matrix products run in hardware (AVX-512 BF16, AMX or ARM BF16)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16", "bf16"})


def has_gpu() -> bool:
    """Whether PyTorch would find an NVIDIA GPU, found out without importing it."""
    if not any(os.path.exists(path) for path in ("/dev/nvidia0", "/dev/dxg")):
        return False
    from importlib import metadata

    try:
        return not metadata.version("torch").endswith("+cpu")
    except metadata.PackageNotFoundError:
        return False


def choose_device(name: str = "auto") -> "torch.device":
    """Return the device called ``name``; ``auto`` is a GPU where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"'{name}' is not a device. Use auto, cpu, cuda or cuda:N.") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "device 'cuda' was asked for, but PyTorch finds no GPU. Use --device cpu, or see regard doctor."
        )
    return device


def has_fast_bf16(device: "torch.device") -> bool:
    """True where bf16 matrix products beat fp32 on ``device``."""
    import torch

    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and cpu_has_fast_bf16()


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed memory instead of handing it back to the system; True if it could.

    Training allocates and frees the same large tensors at every step. By default glibc
    maps and unmaps each, and the page faults cost up to half of the time of the largest
    operations (output projection of 4,096 tokens: 206 ms against 112). Threads share one
    heap: those that glibc makes for each thread are given back in any case. Call it
    before the threads start.
    """
    import ctypes

    if platform.system() != "Linux":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):  # another C library
        return False
    trim_threshold, mmap_threshold, arena_max = -1, -3, -8  # M_TRIM_THRESHOLD and so on of <malloc.h>
    settings = ((mmap_threshold, 1 << 30), (trim_threshold, (1 << 31) - 1), (arena_max, 1))
    results = [mallopt(name, value) for name, value in settings]  # each of them, whatever comes of another
    return all(results)

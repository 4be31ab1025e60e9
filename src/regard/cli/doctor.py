"""``regard doctor``: what this machine has, and which paths Regard takes on it and why.

Every check stands alone: the command is for the day something is broken, so nothing that is
missing may keep it from reporting the rest.
"""

import json
import os
import platform
import struct
import time
from dataclasses import dataclass
from importlib import metadata
from importlib.resources import files
from pathlib import Path
from typing import Any

from regard import __version__
from regard.base.device import choose_device, cpu_count, cpu_flags, cpu_name, has_fast_bf16
from regard.base.errors import RegardError
from regard.base.extras import EXTRAS, is_installed
from regard.cli.arguments import parse

# The instruction sets that decide how fast a matrix product is, slowest first.
INSTRUCTION_SETS = (
    *("avx2", "fma", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve"),
)

GIB = 1024**3
MIB = 1024**2


@dataclass(frozen=True)
class Options:
    """What this machine has, and which paths Regard takes on it and why."""

    json: bool = False
    """Print one JSON object instead of text."""


def main(argv: list[str]) -> int:
    """Print the report; the status is 1 where something needs a person."""
    options = parse(Options, argv, prog="regard doctor")
    report = examine()
    print(json.dumps(report, indent=2, ensure_ascii=False) if options.json else as_text(report))
    return 1 if report["problems"] else 0


def examine() -> dict[str, Any]:
    """Return everything the report says, ready for JSON."""
    problems: list[str] = []
    torch_facts, paths = examine_torch(problems)
    return {
        "regard": __version__,
        "machine": examine_machine(),
        "torch": torch_facts,
        "paths": paths,
        "extras": {name: installed_version(name) for name in EXTRAS},
        "model": examine_model(shipped_model(), problems),
        "data": examine_data(),
        "problems": problems,
    }


def examine_machine() -> dict[str, Any]:
    """Processor, memory, system and Python."""
    total, available = memory()
    flags = cpu_flags()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
        "cpu": cpu_name(),
        "cores": cpu_count(),
        "cores_of_machine": os.cpu_count(),
        "instruction_sets": [name for name in INSTRUCTION_SETS if name in flags],
        "memory_gib": round(total / GIB, 1) if total else None,
        "memory_available_gib": round(available / GIB, 1) if available else None,
    }


def memory() -> tuple[int | None, int | None]:
    """Bytes of memory that this process may use, and those that are free; None where unknown."""
    total = available = None
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        sizes = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
        total, available = sizes["MemTotal"], sizes["MemAvailable"]
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit != "max":  # a container may use less than the machine has
            used = int(Path("/sys/fs/cgroup/memory.current").read_text(encoding="ascii"))
            total, available = min(total, int(limit)), min(available, max(int(limit) - used, 0))
    except (OSError, KeyError, ValueError, IndexError):
        if total is None and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
            total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return total, available


def examine_torch(problems: list[str]) -> tuple[dict[str, Any], list[dict[str, str]]]:
    """PyTorch's own facts, and the paths chosen from them."""
    engine = engine_path()
    if not is_installed("torch"):
        if engine["choice"] == "PyTorch":
            engine["choice"] = "none"
            problems.append(
                f"Nothing can translate here: {engine['why']}, and PyTorch is not installed. "
                "Get it with: pip install 'regard[train]'."
            )
        return {"version": None, "installed": False, "threads": None, "gpus": []}, [engine]
    try:
        import torch
    except Exception as error:  # a broken library raises OSError
        problems.append(f"PyTorch cannot be imported ({one_line(error)}). Install it again: pip install torch.")
        return {"version": None, "installed": True, "threads": None, "gpus": []}, [engine]
    gpus = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(index)
        gpus.append({"name": properties.name, "memory_gib": round(properties.total_memory / GIB, 1)})
    facts = {"version": torch.__version__, "installed": True, "threads": torch.get_num_threads(), "gpus": gpus}
    device = choose_device()
    paths = [
        path("device", str(device), f"PyTorch finds {gpus[0]['name']}" if gpus else no_gpu_reason(torch.__version__)),
        precision_path(has_fast_bf16(device), device.type),
        threads_path(torch.get_num_threads()),
        kernels_path(),
        engine,
    ]
    return facts, paths


def path(what: str, choice: str, why: str) -> dict[str, str]:
    """One choice and its reason."""
    return {"what": what, "choice": choice, "why": why}


def engine_path() -> dict[str, str]:
    """What translates here when nothing else is asked for."""
    from regard.decode.choice import choose_engine
    from regard.decode.native_engine import default_threads, instruction_set

    try:
        choice = choose_engine()
        if choice.native:
            threads = default_threads()
            detail = f"{instruction_set()}, {threads} thread" + ("s" if threads > 1 else "")
            return path("engine", "native int8", f"{choice.why}; {detail}")
    except RegardError as error:  # REGARD_ISA names what this processor lacks
        return path("engine", "PyTorch", one_line(error))
    return path("engine", "PyTorch", choice.why)


def no_gpu_reason(version: str) -> str:
    """Say whether there is no GPU or a PyTorch that could not use one."""
    if version.endswith("+cpu"):
        return "this is PyTorch's CPU build, which sees no GPU"
    return "PyTorch finds no GPU"


def precision_path(fast_bf16: bool, device_type: str) -> dict[str, str]:
    """The precision that training takes when a preset leaves the choice open."""
    if fast_bf16:
        return path("precision", "bf16", "bf16 matrix products run in hardware here")
    if device_type == "cpu":
        return path("precision", "fp32", "no AVX-512 BF16, AMX or ARM BF16 here, so bf16 would be slower")
    return path("precision", "fp32", "this GPU has no bf16 in hardware")


def kernels_path() -> dict[str, str]:
    """Whether training on the CPU takes the compiled kernels."""
    from regard.base.kernels import training_kernels

    if training_kernels() is not None:
        return path("training", "compiled", "attention and loss on the CPU, in bf16 layer norm too; AVX-512")
    return path("training", "PyTorch", "the compiled kernels were not built, or this processor has no AVX-512")


def threads_path(threads: int) -> dict[str, str]:
    """How many threads PyTorch runs a matrix product on."""
    forced = os.environ.get("OMP_NUM_THREADS")
    cores = cpu_count()
    if forced:
        why = f"OMP_NUM_THREADS={forced}"
    elif threads == cores:
        why = "one for each core this process may use"
    else:
        why = f"PyTorch's choice for {cores} cores; set OMP_NUM_THREADS to change it"
    return path("threads", str(threads), why)


def installed_version(name: str) -> str | None:
    """Version of an installed distribution; None where it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def shipped_model() -> Path:
    """Folder of the model that comes with the package."""
    return Path(str(files("regard") / "assets" / "model"))


def examine_model(folder: Path, problems: list[str]) -> dict[str, Any]:
    """Facts about the model in ``folder``, and whether it loads."""
    facts: dict[str, Any] = {"folder": str(folder), "loads": False}
    if not (folder / "config.json").is_file():
        problems.append(
            f"The shipped model is not in {folder}. Install Regard again, or give --model DIR to every verb."
        )
        return facts
    try:
        facts["size_mib"] = round(sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / MIB, 1)
        facts["parameters"] = count_parameters(folder / "model.safetensors")
        start = time.perf_counter()
        from regard.tasks.translation import Translator

        translator = Translator.from_pretrained(folder)
        facts["load_seconds"] = round(time.perf_counter() - start, 2)
        facts["directions"] = directions_of(translator)
        facts["loads"] = True
    except Exception as error:  # whatever is wrong with it is what the report is for
        facts["problem"] = one_line(error)
        problems.append(f"The shipped model does not load: {facts['problem']}")
    return facts


def count_parameters(weights: Path) -> int:
    """Number of weights in a safetensors file, from its header alone (8 bytes of length, then JSON)."""
    with open(weights, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    header.pop("__metadata__", None)
    total = 0
    for tensor in header.values():
        size = 1
        for dimension in tensor["shape"]:
            size *= dimension
        total += size
    return total


def directions_of(translator: object) -> list[str]:
    """Directions such as ``en-de`` that a translator offers; empty where it does not say."""
    directions = getattr(translator, "directions", ())
    return [item if isinstance(item, str) else "-".join(item) for item in directions]


def examine_data() -> dict[str, Any]:
    """Where REGARD_DATA points, which presets and some tests read."""
    value = os.environ.get("REGARD_DATA")
    return {"REGARD_DATA": value, "exists": bool(value) and Path(value).is_dir()}


def one_line(error: BaseException) -> str:
    """An error as one line."""
    return " ".join(str(error).split()) or type(error).__name__


def as_text(report: dict[str, Any]) -> str:
    """Lay the report out for reading."""
    machine, torch_facts, model, data = (report[name] for name in ("machine", "torch", "model", "data"))
    cores = f"{machine['cores']}"
    if machine["cores_of_machine"] not in (None, machine["cores"]):
        cores += f" of {machine['cores_of_machine']}"
    memory_text = "unknown"
    if machine["memory_gib"]:
        memory_text = f"{machine['memory_gib']} GiB"
        if machine["memory_available_gib"]:
            memory_text += f", {machine['memory_available_gib']} free"
    gpus = [f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in torch_facts["gpus"]]
    sections = {
        "This machine": [
            ("system", machine["system"]),
            ("processor", machine["cpu"]),
            ("cores", cores),
            ("instructions", " ".join(machine["instruction_sets"]) or "unknown"),
            ("memory", memory_text),
            ("GPU", ", ".join(gpus) or "none that PyTorch can use"),
            ("Python", machine["python"]),
            ("PyTorch", torch_facts["version"] or ("not usable" if torch_facts["installed"] else "not installed")),
        ],
        "Paths taken": [(p["what"], f"{p['choice']}  ({p['why']})") for p in report["paths"]],
        "Shipped model": model_lines(model),
        "Optional parts": [
            (name, report["extras"][name] or f"not installed  ({purpose}: pip install 'regard[{extra}]')")
            for name, (extra, purpose) in EXTRAS.items()
        ],
        "Data": [("REGARD_DATA", data_text(data))],
    }
    lines = [f"Regard {report['regard']}"]
    for title, rows in sections.items():
        lines += ["", title, *(f"  {name:<15} {value}" for name, value in rows)]
    lines += ["", *([f"Problem: {problem}" for problem in report["problems"]] or ["Everything needed is there."])]
    return "\n".join(lines)


def model_lines(model: dict[str, Any]) -> list[tuple[str, str]]:
    """Rows about the model."""
    rows = [("folder", model["folder"])]
    if "size_mib" in model:
        parameters = f", {model['parameters'] / 1e6:.1f} million weights" if "parameters" in model else ""
        rows.append(("size", f"{model['size_mib']} MiB{parameters}"))
    if model.get("directions"):
        rows.append(("directions", " ".join(model["directions"])))
    rows.append(("loads", f"yes, in {model['load_seconds']} s" if model["loads"] else "no"))
    return rows


def data_text(data: dict[str, Any]) -> str:
    """What is said about REGARD_DATA."""
    if not data["REGARD_DATA"]:
        return "not set; only presets and tests that read corpora need it"
    return data["REGARD_DATA"] if data["exists"] else f"{data['REGARD_DATA']} (there is no such folder)"

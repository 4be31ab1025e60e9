"""What setuptools must be told in Python: the C++ parts. Everything else stands in pyproject.toml.

Every folder ``src/regard/ROOM/native`` becomes the module ``regard.ROOM._native``, made of all its ``*.cpp``. A part
is optional: where there is no compiler the installation succeeds without it, and Regard takes another path
(``regard doctor`` says which). ``REGARD_NO_NATIVE=1`` leaves them out on purpose; ``REGARD_SANITIZE=address,undefined``
builds them with the compiler's sanitizers.

No file is compiled for this machine's processor. A source file that needs an instruction set names it itself, around
its own functions, and is called only where the processor has it.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup

ROOT = Path(__file__).parent


def extension(folder: Path) -> Extension:
    """The extension module made of the C++ files in ``folder``."""
    import pybind11

    compile_args = ["/std:c++17", "/O2"]
    link_args: list[str] = []
    if sys.platform != "win32":
        compile_args = ["-std=c++17", "-O3", "-g0", "-fvisibility=hidden", "-fno-math-errno", "-pthread"]
        link_args = ["-pthread"]
        if sanitizers := os.environ.get("REGARD_SANITIZE"):
            checks = [f"-fsanitize={sanitizers}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1"]
            compile_args += [*checks, "-O1"]  # above it the checks in unrolled loops take minutes to compile
            link_args.append(f"-fsanitize={sanitizers}")
    return Extension(
        f"regard.{folder.parent.name}._native",
        [str(path.relative_to(ROOT)) for path in sorted(folder.glob("*.cpp"))],
        include_dirs=[pybind11.get_include()],
        depends=[str(path.relative_to(ROOT)) for path in sorted(folder.glob("*.h"))],
        language="c++",
        extra_compile_args=compile_args,
        extra_link_args=link_args,
        optional=True,
    )


def extensions() -> list[Extension]:
    """One for each room that has C++ parts; none where they were declined or pybind11 is missing."""
    if os.environ.get("REGARD_NO_NATIVE") == "1":
        return []
    try:
        from pybind11.setup_helpers import ParallelCompile

        ParallelCompile().install()  # a file on each core
        return [extension(folder) for folder in sorted((ROOT / "src" / "regard").glob("*/native"))]
    except ImportError:
        print("pybind11 is not installed: Regard is built without its C++ parts.", file=sys.stderr)
        return []


setup(ext_modules=extensions())

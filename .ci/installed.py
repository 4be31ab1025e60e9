"""Check a plain installation: run this with its Python, from a folder outside the checkout.

python .ci/installed.py CHECKOUT
"""

import sys
from importlib.metadata import version
from pathlib import Path

import regard


def main() -> int:
    checkout = Path(sys.argv[1]).resolve()
    package = Path(regard.__file__).parent
    if package.is_relative_to(checkout / "src"):
        print(f"regard came from {package}, not from an installation", file=sys.stderr)
        return 1
    if version("regard") != regard.__version__:
        print(f"metadata says {version('regard')}, the package {regard.__version__}", file=sys.stderr)
        return 1
    source = checkout / "src" / "regard"
    not_data = {"__pycache__", "native"}  # C++ sources are built, not installed
    expected = {
        file.relative_to(source)
        for file in source.rglob("*")
        if file.is_file() and not not_data & set(file.parts) and not file.name.startswith("_native.")
    }
    missing = sorted(str(file) for file in expected if not (package / file).is_file())
    if missing:
        print("not installed: " + ", ".join(missing), file=sys.stderr)
        return 1
    print(f"all {len(expected)} files are installed")
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Install Regard in an environment of its own, as a person would, and see that it translates there.

python .ci/fresh.py SOURCE                      a wheel or a folder: the native engine, and no PyTorch
python .ci/fresh.py SOURCE --without-compiler   a folder, where nothing compiles: PyTorch, of regard[train]

The second borrows its dependencies from the environment of this Python. Neither sees the checkout.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MIB = 1024**2


def run(*command: str | Path, folder: Path, text: str = "", **variables: str) -> str:
    """Run a command in ``folder`` and return what it prints; an error ends this program."""
    environment = {**os.environ, "XDG_CACHE_HOME": str(folder / "cache"), **variables}
    environment.pop("PYTHONPATH", None)
    return subprocess.run(command, cwd=folder, env=environment, input=text, stdout=-1, text=True, check=True).stdout


def install(source: str, folder: Path, *, without_compiler: bool) -> Path:
    """Make the environment and return the folder of its programs."""
    run(sys.executable, "-m", "venv", "venv", folder=folder)
    programs = folder / "venv" / "bin"
    variables = {}
    if without_compiler:
        here = run(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=folder)
        Path(here.strip(), "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        variables = {"CC": "false", "CXX": "false"}
        source += "[train]"
    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-cache-dir")
    run(programs / "python", *pip, "--constraint", ROOT / "constraints.txt", source, folder=folder, **variables)
    return programs


def main() -> int:
    parser = argparse.ArgumentParser(description="Install Regard in an environment of its own and translate.")
    parser.add_argument("source", type=Path, help="a wheel, or a folder with the sources")
    parser.add_argument("--without-compiler", action="store_true", help="let nothing compile; PyTorch takes over")
    options = parser.parse_args()
    (ROOT / ".cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fresh-", dir=ROOT / ".cache") as name:
        folder = Path(name)
        source = options.source.resolve()
        if source.is_dir():  # a copy: what an earlier installation compiled there would be taken over
            source = shutil.copytree(source, folder / "source", ignore=shutil.ignore_patterns(".*", "build"))
        programs = install(str(source), folder, without_compiler=options.without_compiler)
        print(run(programs / "python", ROOT / ".ci" / "installed.py", ROOT, folder=folder), end="")
        print(run(programs / "regard", "doctor", folder=folder))
        report = json.loads(run(programs / "regard", "doctor", "--json", folder=folder))
        (engine,) = (path["choice"] for path in report["paths"] if path["what"] == "engine")
        wanted = ("PyTorch", True) if options.without_compiler else ("native int8", False)
        if (engine, report["torch"]["version"] is not None) != wanted:
            print(f"the engine is {engine}, PyTorch {report['torch']['version']}", file=sys.stderr)
            return 1
        translate = ("translate", "--source", "en", "--target", "de")
        answer = run(programs / "regard", *translate, folder=folder, text="Good morning.\n")
        size = sum(file.stat().st_size for file in (folder / "venv").rglob("*") if file.is_file()) / MIB
        print(f"Good morning. → {answer.strip()}   ({size:.0f} MiB in all)")
        return 0 if answer.strip() else 1


if __name__ == "__main__":
    sys.exit(main())

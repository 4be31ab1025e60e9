"""What lies in the package is what the sources build."""

import shutil
import subprocess

import pytest


def test_the_page_in_the_package_is_what_its_sources_build(root):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not (root / "web" / "node_modules" / "esbuild").is_dir():
        pytest.skip("the page's build tools are not installed (npm ci --prefix web)")
    for command in (["node_modules/typescript/bin/tsc", "--noEmit"], ["build.mjs", "--check"]):
        done = subprocess.run(
            [node, *command], cwd=root / "web", capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

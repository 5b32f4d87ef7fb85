"""The light install is type-checked for the systems on which no test runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIGHT = """if True:
    import sys
    import tumbao.pipeline.classify, tumbao.pipeline.cli, tumbao.pipeline.failures, tumbao.serving.server.api
    print(*(name for name in sys.modules if name.startswith("tumbao.")))
"""


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_what_classifies_uses_nothing_that_the_platform_lacks(platform: str) -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True, cwd=ROOT)
    modules = [part for name in done.stdout.split() for part in ("-m", name)]
    command = [sys.executable, "-m", "mypy", "--platform", platform, "--cache-dir", f".mypy_cache/{platform}"]
    command += ["--follow-imports", "silent", *modules]  # not what is imported for type checkers only
    checked = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert checked.returncode == 0, checked.stdout

"""Both lanes ask for what setup.py asks for, their locks have hashes, and `make` chooses by glibc and Python."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LANES = {"tfx-1.16": "3.10", "tfx-1.21": "3.12"}
"""The lanes, with a Python of each."""


def listed(file: Path) -> set[Requirement]:
    """Read the requirements of a .in file and of those that it includes."""
    found: set[Requirement] = set()
    for line in file.read_text().splitlines():
        if line.startswith("-r "):
            found |= listed(file.parent / line[3:])
        elif wanted := line.partition(" #")[0].partition("#")[0].strip():
            found.add(Requirement(wanted))
    return found


@pytest.fixture(scope="module")
def required(tmp_path_factory: pytest.TempPathFactory) -> list[Requirement]:
    """Read what setup.py requires, with the extras as markers."""
    folder = tmp_path_factory.mktemp("metadata")
    code = (
        "import runpy, setuptools\n"
        "def setup(install_requires, extras_require, **others):\n"
        "    print(*install_requires, sep='\\n')\n"
        "    for extra in extras_require.values(): print(*extra, sep='\\n')\n"
        "setuptools.setup = setup\n"
        f"runpy.run_path({str(ROOT / 'setup.py')!r})"
    )
    done = subprocess.run([os.sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
    return list(map(Requirement, done.stdout.splitlines()))

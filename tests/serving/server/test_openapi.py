from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx


def test_schemathesis_finds_nothing(client: httpx.Client, tmp_path: Path) -> None:
    """Run all checks except the one that expects a result for any bytes."""
    options = ["--phases", "coverage,fuzzing", "--max-examples", "5", "--seed", "1", "--no-color"]
    checks = ["--checks", "all", "--exclude-checks", "positive_data_acceptance"]
    address = f"{client.base_url}/openapi.json"
    done = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "run", address, *options, *checks],
        capture_output=True,
        text=True,
        cwd=tmp_path,  # where it keeps notes
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "8 selected / 8 total" in done.stdout

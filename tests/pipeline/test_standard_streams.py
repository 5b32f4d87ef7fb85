"""Whatever becomes of standard output and error, and whatever the locale: UTF-8, one sentence or none, no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TUMBAO = f"{sys.executable} -c 'from tumbao.pipeline.cli import main; main()'"
COMMANDS = ["--version", "--help", "runs --workspace ws", "report --workspace ws", "classify a.mp3 --model pushed"]


@pytest.fixture(scope="module")
def folder(pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with a model, a workspace and a file that is no song."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "pushed").symlink_to(pushed)
    (folder / "a.mp3").write_text("no song")
    run = folder / "ws" / "runs" / "20260101-000000"
    (run / "report").mkdir(parents=True)
    (run / "report" / "index.html").touch()
    (run / "run.json").write_text('{"run": "20260101-000000", "started": "", "outcome": "pushed"}')
    return folder


def shell(folder: Path, command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env={**os.environ, **environment}, capture_output=True, check=False
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_an_output_that_takes_nothing_ends_with_a_sentence_or_quietly(folder: Path, command: str) -> None:
    done = shell(
        folder,
        f"{TUMBAO} {command} >/dev/full; echo $?; {TUMBAO} {command} >&-; echo $?; "
        f"{TUMBAO} {command} | true; echo ${{PIPESTATUS[0]}}",
    )
    assert done.stdout.split() == [b"1", b"1", b"141"]
    assert done.stderr.decode().splitlines() == [
        "error: standard output cannot be written: No space left on device",
        "error: standard output cannot be written: Bad file descriptor",
    ]


def test_standard_error_may_be_full_or_closed(folder: Path) -> None:
    song = "classify a.mp3 ws/runs/*/run.json --model pushed"
    for stream in ("2>/dev/full", "2>&-"):
        done = shell(folder, f"{TUMBAO} {song} --json {stream}")
        assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert shell(folder, f"{TUMBAO} report --workspace nowhere 2>/dev/full").returncode == 1


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii:strict"}],
)
def test_output_is_utf8_whatever_the_locale(folder: Path, environment: dict[str, str]) -> None:
    done = shell(folder, f"{TUMBAO} classify música$'\\xf1' --model pushed", **environment)
    assert done.stderr.decode() == "error: No such file or folder: música\\udcf1\n"
    done = shell(folder, f"cp a.mp3 ñ$'\\xf1'.mp3; {TUMBAO} classify ñ*.mp3 --model pushed", **environment)
    assert "\nñ\u201bF1.mp3\n" in done.stdout.decode()

"""Standard streams that are full, closed or a terminal, in any locale: UTF-8, one message or none, no traceback."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tumbao.pipeline import standard_streams
from tumbao.pipeline.standard_streams import error_stream, redirect_output

TUMBAO = f"{sys.executable} -c 'from tumbao.pipeline.cli import main; main()'"
COMMANDS = ["--version", "--help", "runs --workspace ws", "report --workspace ws", "classify a.mp3 --model pushed"]


@pytest.fixture(scope="module")
def folder(pushed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
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
def test_a_full_or_closed_output_ends_with_one_message_or_silently(folder: Path, command: str) -> None:
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


def test_a_full_or_closed_standard_error_is_ignored(folder: Path) -> None:
    song = "classify a.mp3 ws/runs/*/run.json --model pushed"
    for stream in ("2>/dev/full", "2>&-"):
        done = shell(folder, f"{TUMBAO} {song} --json {stream}")
        assert (done.returncode, len(done.stdout.splitlines())) == (1, 2)
    assert shell(folder, f"{TUMBAO} report --workspace nowhere 2>/dev/full").returncode == 2


@pytest.mark.parametrize(
    "environment",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONIOENCODING": "ascii:strict"}],
)
def test_output_is_utf_8_in_every_locale(folder: Path, environment: dict[str, str]) -> None:
    done = shell(folder, f"{TUMBAO} classify música$'\\xf1' --model pushed", **environment)
    assert done.stderr.decode() == "error: No such file or folder: música\\udcf1\n"
    done = shell(folder, f"cp a.mp3 ñ$'\\xf1'.mp3; {TUMBAO} classify ñ*.mp3 --model pushed", **environment)
    assert "\nñ\u201bF1.mp3\n" in done.stdout.decode()


def test_an_interrupted_write_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(standard_streams._Stream):
        def write(self, content: Any) -> int:
            super().write(content)
            raise KeyboardInterrupt

    reader, writer = os.pipe()
    with monkeypatch.context() as patch:
        patch.setattr(standard_streams, "_Stream", Interrupted)
        stream = error_stream(writer, closes=False)
    with pytest.raises(KeyboardInterrupt):
        stream.write("▸ AudioExampleGen\n")
    with pytest.raises(KeyboardInterrupt):
        print("Interrupted.", file=stream, flush=True)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:
        assert pipe.read() == "▸ AudioExampleGen\nInterrupted.\n"


def test_a_redirected_terminal_remains_a_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = pty.openpty()
    former = os.dup(2)
    with capfd.disabled(), os.fdopen(theirs, "w") as terminal:
        os.dup2(terminal.fileno(), 2)  # standard error is the terminal
        try:
            with os.fdopen(2, "w", closefd=False) as stderr:
                console = Console(file=stderr)
                assert console.is_terminal
                with redirect_output(tmp_path / "log.txt", console) as quiet:
                    os.write(2, b"output of a library")
                    assert quiet.is_terminal
                    assert quiet.width == console.width
                    quiet.print("a message")
        finally:
            os.dup2(former, 2)
            os.close(former)
    shown = os.read(ours, 1_000).decode()
    os.close(ours)
    assert shown.strip() == "a message"
    assert (tmp_path / "log.txt").read_text() == "output of a library"


@pytest.mark.parametrize("quiet", [False, True])
def test_streams_that_are_not_redirected_are_unchanged(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], quiet: bool
) -> None:
    with redirect_output(tmp_path / "log.txt", Console(stderr=True, quiet=quiet), (2,)) as console:
        os.write(1, b"a result")
        os.write(2, b"output of a library")
        console.print("a message")
    os.write(2, b"afterwards")
    assert capfd.readouterr() == ("a result", "afterwards" if quiet else "a message\nafterwards")
    assert (tmp_path / "log.txt").read_text() == "output of a library"

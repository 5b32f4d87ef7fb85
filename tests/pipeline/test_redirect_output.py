"""The terminal stays a terminal while libraries talk to the log."""

from __future__ import annotations

import os
import pty
from pathlib import Path

import pytest
from rich.console import Console

from tumbao.pipeline.redirect_output import noise_to


def test_a_terminal_stays_one_while_noise_goes_to_the_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = pty.openpty()
    kept = os.dup(2)
    with capfd.disabled(), os.fdopen(theirs, "w") as terminal:
        os.dup2(terminal.fileno(), 2)  # standard error is the terminal, as when a person runs it
        try:
            with os.fdopen(2, "w", closefd=False) as stderr:
                console = Console(file=stderr)
                assert console.is_terminal
                with noise_to(tmp_path / "log.txt", console) as quiet:
                    os.write(2, b"noise of a library")
                    assert quiet.is_terminal
                    assert quiet.width == console.width
                    quiet.print("a word to the person")
        finally:
            os.dup2(kept, 2)
            os.close(kept)
    said = os.read(ours, 1_000).decode()
    os.close(ours)
    assert "a word to the person" in said
    assert "noise" not in said
    assert (tmp_path / "log.txt").read_text() == "noise of a library"


def test_what_is_no_noise_stays_where_it_goes(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with noise_to(tmp_path / "log.txt", Console(stderr=True), (2,)) as quiet:
        os.write(1, b"a result")
        os.write(2, b"noise of a library")
        quiet.print("a word to the person")
    os.write(2, b"afterwards")
    assert capfd.readouterr() == ("a result", "a word to the person\nafterwards")
    assert (tmp_path / "log.txt").read_text() == "noise of a library"

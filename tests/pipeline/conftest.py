"""The command line, called in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tumbao.pipeline import cli

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def tumbao(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Call the command in an empty folder: tumbao(*arguments) -> exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tumbao", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capfd.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return end.value.code or 0, printed.out, printed.err  # type: ignore[return-value] # always an int

    return call

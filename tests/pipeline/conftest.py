"""The command line, called in this process, and models."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tumbao.pipeline import cli
from tumbao.serving.model_info import ASSETS_FOLDER, ModelInfo

Call = Callable[..., tuple[int, str, str]]


def changed_model(pushed: Path, folder: Path, **fields: Any) -> Path:
    """Copy the tiny model to a new folder, with other values in `model.json`."""
    assets = shutil.copytree(pushed / "1" / ASSETS_FOLDER, folder)
    dataclasses.replace(ModelInfo.read(assets), **fields).write(assets)
    return assets


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

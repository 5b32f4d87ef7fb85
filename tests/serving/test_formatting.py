"""Formats of numbers and names for readers, and the frequency axis of mel images."""

from __future__ import annotations

import io

import librosa
import numpy as np
import pytest
from rich.markup import escape
from rich.table import Table
from typer.testing import CliRunner

from tumbao.pipeline.cli import app
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.formatting import TerminalConsole, clock, decimal, duration, megabytes, percent
from tumbao.serving.page import height_of


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (185, "3 min 05 s"), (4_800, "1 h 20 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text.replace(" ", "\N{NO-BREAK SPACE}")


def test_numbers() -> None:
    assert (percent(0.8754), percent(float("nan"))) == ("87.5\N{NO-BREAK SPACE}%", "–")
    assert (decimal(0.87546, 4), decimal(None), decimal(float("nan"))) == ("0.8755", "–", "–")
    assert megabytes(36_249_000) == "36.2\N{NO-BREAK SPACE}MB"
    assert [clock(seconds) for seconds in (0, 59.6, 185, 3_600)] == ["0:00", "1:00", "3:05", "1:00:00"]


def test_heights_of_frequencies_are_librosas_bands() -> None:
    spec = MelSpec()
    centres = librosa.mel_frequencies(n_mels=spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)[1:-1]
    np.testing.assert_allclose([height_of(hz, spec) for hz in centres], (np.arange(128) + 0.5) / 128, atol=1e-9)


NAME = "a\x1b[2Jb\rc\nd\u2028e\x9b1m.mp3"
SHOWN = r"a\x1b[2Jb\rc\nd\u2028e\x9b1m.mp3"


@pytest.mark.parametrize("color", [True, False])
def test_names_stay_on_one_line_of_texts_and_tables(color: bool) -> None:
    out = io.StringIO()
    console = TerminalConsole(file=out, force_terminal=color, width=120)
    ProgressDisplay(console).say(f"[bold]rejected:[/bold] {escape(NAME)}")
    table = Table("song")
    table.add_row(escape(f"b{NAME}"))
    console.print(table)
    shown = out.getvalue()
    assert f"rejected: {SHOWN}" in shown.replace("\x1b[0m", "")
    assert f"│ b{SHOWN} │" in shown
    assert "\x1b[2J" not in shown
    assert ("\x1b[1m" in shown) is color


def test_a_message_keeps_its_list_of_indented_lines() -> None:
    out = io.StringIO()
    TerminalConsole(file=out, width=120).print("Expected songs.\n  rejected: x\ny.mp3\n  rejected: z.mp3")
    assert out.getvalue() == "Expected songs.\n  rejected: x\\ny.mp3\n  rejected: z.mp3\n"


def test_errors_of_commands_show_names_on_one_line() -> None:
    result = CliRunner().invoke(app, ["classify", "--model", "m", "gone\x1b[2J\nfile.mp3"])
    assert result.exit_code == 2
    assert r"gone\x1b[2J\nfile.mp3" in result.output

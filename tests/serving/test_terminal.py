from __future__ import annotations

import io

import pytest
from rich.markup import escape
from rich.table import Table
from typer.testing import CliRunner

from tumbao.pipeline.cli import app
from tumbao.pipeline.progress_display import ProgressDisplay
from tumbao.serving.terminal import TerminalConsole

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

"""Links, paths, commands and options of the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from tumbao.pipeline.cli import app

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "README.es.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_files_of_the_architecture_page_exist() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    named = re.findall(r"`([a-z_]+/[\w/.]*)`", text)
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_to_files_and_headings(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)", text):
        path, _, anchor = target.partition("#")
        if ":" not in target and (path or anchor):
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target


def commands(page: Path) -> list[str]:
    """Return the command lines of `tumbao` in a page's code."""
    text = page.read_text("utf-8").replace("\\\n", " ")
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^    (.+)", text, re.MULTILINE)
    return [line[0] for one in code for line in re.findall(r"((?:^|[ /])tumbao [a-z][a-z-]*( .*)?$)", one.strip())]


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_documented_commands_and_options_exist(page: Path) -> None:
    application = typer.main.get_command(app)
    for line in commands(page):
        _, name, *words = line.split("#")[0].split()
        command = application.commands[name]  # type: ignore[attr-defined]
        options = {option for one in command.get_params(typer.Context(command)) for option in one.opts}
        assert {word.partition("=")[0].strip(",") for word in words if word.startswith("--")} <= options, line

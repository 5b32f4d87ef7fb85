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


def test_the_page_of_features_has_every_command() -> None:
    text = (ROOT / "docs/features.md").read_text("utf-8")
    names = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    assert [name for name in names if not re.search(rf"tumbao {name}\b", text)] == []


def sections(page: Path) -> list[tuple[int, str]]:
    """Split a page at its headings; return the level of each heading, and the text below it."""
    parts = re.split(r"^(#+) .*\n", page.read_text("utf-8"), flags=re.MULTILINE)
    return [(len(level), text) for level, text in zip(parts[1::2], parts[2::2], strict=True)]


def figures(text: str, decimal: str) -> list[str]:
    """Return the numbers of a text, sorted, without those in links' targets."""
    prose = re.sub(r"\]\([^)]*\)", "", text)
    return sorted(number.replace(decimal, ".") for number in re.findall(r"\d+(?:[.,]\d+)*", prose))


def test_both_readmes_have_the_same_headings_commands_links_and_figures() -> None:
    english, spanish = (sections(ROOT / name) for name in ("README.md", "README.es.md"))
    assert [level for level, _ in english] == [level for level, _ in spanish]
    for (_, ours), (_, theirs) in zip(english, spanish, strict=True):
        assert figures(ours, ".") == figures(theirs, ",")
        for pattern in (
            r"\]\(((?!README|#)[^)]+)\)",
            r"^    make \w+",
            r"(?:tumbao|pip|curl) [a-z]+(?= )",
            r"--[a-z-]+",
        ):
            assert sorted(re.findall(pattern, ours, re.MULTILINE)) == sorted(re.findall(pattern, theirs, re.MULTILINE))


def test_the_readme_is_short_and_every_page_can_be_reached_from_it() -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    assert len(text.splitlines()) <= 120
    linked = set(re.findall(r"\]\(docs/(\w[\w-]*\.md)", text))
    assert {page.name for page in (ROOT / "docs").glob("*.md")} == linked

"""Stages of deploy/Dockerfile, and the build context that .dockerignore leaves."""

from __future__ import annotations

import dataclasses
import json
import re
import shlex
import shutil
from pathlib import Path

import tumbao

ROOT = Path(tumbao.__path__[0]).parent


@dataclasses.dataclass(frozen=True)
class Stage:
    """A stage: its base, and its instructions in order."""

    base: str
    instructions: list[tuple[str, str]]

    def all(self, name: str) -> list[str]:
        return [argument for instruction, argument in self.instructions if instruction == name]

    def words(self, name: str) -> list[str]:
        """Return the last instruction with a name as a list of words."""
        found: list[str] = json.loads("[" + self.all(name)[-1].partition("[")[2])
        return found

    def copied(self) -> list[str]:
        lines = [shlex.split(argument) for argument in self.all("COPY")]
        return [source for line in lines if not line[0].startswith("--from=") for source in line[:-1]]


def stages() -> dict[str, Stage]:
    text = re.sub(r"^\s*#.*\n", "", (ROOT / "deploy" / "Dockerfile").read_text("utf-8"), flags=re.MULTILINE)
    found: dict[str, Stage] = {}
    for line in re.sub(r"\s*\\\n\s*", " ", text).splitlines():
        instruction, _, argument = line.strip().partition(" ")
        if instruction == "FROM":
            base, _, name = argument.partition(" AS ")
            found[name] = stage = Stage(base, [])
        elif instruction:
            stage.instructions.append((instruction, argument.strip()))
    return found


def is_sent(path: Path) -> bool:
    """Tell whether a file is in the build context: the last pattern that matches it or a parent decides."""
    parts = path.relative_to(ROOT).parts
    prefixes = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    sent = True
    for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines():
        pattern = line.lstrip("!")
        if pattern and not line.startswith("#"):
            regex = re.escape(pattern).replace(r"\*\*/", "(.*/)?").replace(r"\*", "[^/]*")
            if any(re.fullmatch(regex, prefix) for prefix in prefixes):
                sent = line.startswith("!")
    return sent


def copy_to(folder: Path, stage: Stage) -> None:
    """Copy the files that a stage copies from the repository, links as links."""
    for source in stage.copied():
        path = ROOT / source
        for sent in [path] if path.is_file() else filter(is_sent, path.iterdir()):
            target = folder / sent.relative_to(ROOT)
            if sent.is_dir():
                shutil.copytree(sent, target, symlinks=True, ignore=_not_sent)
            else:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(sent, target)


def _not_sent(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if not is_sent(Path(folder, name))}

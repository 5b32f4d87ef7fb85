"""Continuous training: check a library at intervals, and run the pipeline when it has changed.

New models are compared with the served model on the same test songs, see `frozen_test_set`. The workspace stores the
settings and songs of the last completed run: a failed run is repeated at the next check, and changed settings start a
run as well. Files that are still being written are left to a later check; the others are trained on.
"""

from __future__ import annotations

import dataclasses
import datetime
import json
import re
import signal
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.pipeline import local_runner, run_subprocess
from tumbao.pipeline.config import Config
from tumbao.pipeline.library_snapshot import SETTLED_SECONDS, difference, take_snapshot
from tumbao.pipeline.runs import read_runs
from tumbao.pipeline.signals import Stop
from tumbao.schema.errors import UserError

SEEN_FILE = "watched.json"
"""File in the workspace with settings and songs of the last completed run."""

WAITING = 4
"""Exit code of a check that started no run because all changed files are still being written."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def interval(text: str) -> float:
    """Parse a positive duration such as 90s, 30m, 1.5h or 1d into seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not float(found[1]):
        raise UserError(f"Expected a time such as 90s, 30m, 1h or 1d. Received: {text}")
    return float(found[1]) * _SECONDS[found[2]]


def watch(config: Config, every_seconds: float | None, write: Callable[[str], None]) -> int:
    """Check the library and run where something changed, repeatedly until a signal comes.

    The test songs are kept, unless the library has its own splits; any other split raises a `UserError`. With None in
    `every_seconds`, there is a single check. `write` is called with each line of output.

    Returns the exit code. After a single check: `DONE` if nothing changed, `WAITING` if all changed files are still
    being written, `INTERRUPTED` if a signal ended the run, otherwise the run's exit code. After repeated checks: `DONE`
    after SIGTERM, `INTERRUPTED` after SIGINT, `WRONG_USE` if no run can succeed with these settings.
    """
    if config.method != GIVEN:
        if config.protocol != "song" or config.method not in ("stratified", FIXED):
            raise UserError(
                "Expected --split song or given, and no --split-method: a watched library keeps its test songs. "
                f"Received: {config.protocol}, {config.method}"
            )
        config = config.replace(split={"strategy": FIXED})

    def say(line: str) -> None:
        write(f"{_clock()} {line}")

    waits = 0
    with Stop().listening() as stop:
        while not stop.signal:
            code = _check(config, stop, say)
            if stop.signal or every_seconds is None or code == local_runner.WRONG_USE:
                break
            waits = waits + 1 if code == WAITING else 0
            pause = min(SETTLED_SECONDS * 2 ** min(waits - 1, 20), every_seconds) if waits else every_seconds
            say(f"Next check at {_clock(pause)}.")
            stop.wait(pause)
    if not stop.signal:
        return code
    say(f"Ended by {stop.signal.name}.")
    if every_seconds is None:
        return local_runner.INTERRUPTED if code == local_runner.FAILED else code
    return local_runner.INTERRUPTED if stop.signal == signal.SIGINT else local_runner.DONE


def _check(config: Config, stop: Stop, say: Callable[[str], None]) -> int:
    """Check the library, run if there is a reason, and return an exit code."""
    file = Path(config.root) / SEEN_FILE
    settings = config.model_dump(mode="json")
    try:
        found = take_snapshot(config.data.library, config.data.layout, config.data.genres)
    except (UserError, OSError) as error:
        say(f"Cannot read {config.data.library}: {error}")
        return local_runner.FAILED
    seen = _seen(file)
    growing = {part for part in found.growing if seen.songs.get(part) != found.songs[part]}
    settled = {part: stamp for part, stamp in found.songs.items() if part not in growing}
    reason = _reason(seen, settings, settled, growing)
    wait = (
        f"; {len(growing)} changed within the last minute and wait until they stay the same for a minute"
        if growing
        else ""
    )
    if not reason:
        say(f"Nothing {'else ' if wait else ''}changed among {len(found.songs)} songs{wait}.")
        return WAITING if wait else local_runner.DONE
    say(f"{reason}{wait}. Running.")
    code = _run(config, frozenset(found.growing[part] for part in growing), stop, say)
    if code in (local_runner.DONE, local_runner.NOT_BLESSED):
        try:
            write_whole(file, json.dumps({"settings": settings, "songs": settled}).encode())  # in ASCII: any name
        except OSError as error:
            say(f"Cannot write {file.name}, so the next check runs again: {error}")
    return code


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Settings and songs of the last completed run; if they are unknown, both are empty and `first` has the reason."""

    settings: dict[str, Any]
    songs: dict[str, str]
    first: str = ""


def _seen(file: Path) -> _Seen:
    try:
        seen = json.loads(file.read_text("utf-8"))
        return _Seen(dict(seen["settings"].items()), dict(seen["songs"].items()))
    except FileNotFoundError:
        return _Seen({}, {}, "checked for the first time")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # incomplete, or not written by Tumbao
        return _Seen({}, {}, f"as if checked for the first time: {file} cannot be read")


def _reason(seen: _Seen, settings: dict[str, Any], songs: Mapping[str, str], growing: Collection[str]) -> str:
    """Return the reason to run on the files that are completely written.

    It is empty if the last completed run used the same files and settings.
    """
    if seen.first:
        return f"{len(songs)} songs, {seen.first}" if songs or not growing else ""
    before = {part: stamp for part, stamp in seen.songs.items() if part not in growing}
    if changes := difference(before, songs):
        return f"{len(songs)} songs: {changes}"
    return "Other settings than those of the last run" if seen.settings != settings else ""


def _run(config: Config, growing: frozenset[str], stop: Stop, say: Callable[[str], None]) -> int:
    """Run the pipeline in a process of its own, report the result, and return an exit code."""
    workspace = Path(config.root)
    before = {record.run for record in read_runs(workspace)}
    code = stop.wait_for(run_subprocess.start(config, growing))
    new = [record for record in read_runs(workspace) if record.run not in before]
    if not new:
        say(f"The run did not start: exit code {code}.")
    for record in new:
        accuracy = f", accuracy {record.accuracy:.1%}" if record.accuracy is not None else ""
        end = record.sentence or f"It ended with exit code {code}."
        say(f"Run {record.run}: {record.outcome} after {record.seconds / 60:.1f} min{accuracy}. {end}")
    return code if code >= 0 else local_runner.FAILED


def _clock(seconds: float = 0) -> str:
    """Format the local time in `seconds` from now."""
    then = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
    return then.isoformat(sep=" ", timespec="seconds")

"""Continuous training: look at a library now and then, and run the pipeline when it has changed.

New models are compared with the one that stands on the same test songs, see `fixed_tests`. What the last run that
came to its end had seen is kept in the workspace: a run that failed is tried again at the next look, and other settings
are a reason to run as well. Files that are being written wait for a later look; the others are trained on.
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

from tumbao.components.ingest.catalog import FIXED, GIVEN
from tumbao.components.ingest.whole_folder import write_whole
from tumbao.errors import UserError
from tumbao.pipeline import local, run_apart
from tumbao.pipeline.library_look import SETTLED_SECONDS, difference, look
from tumbao.pipeline.local import LocalRun
from tumbao.pipeline.runs import read_runs
from tumbao.pipeline.stop import Stop

SEEN_FILE = "watched.json"
"""Settings and songs of the last run that came to its end, in the workspace."""

WAITING = 4
"""Exit code of a look that started no run because all changed files are still being written."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def interval(text: str) -> float:
    """Read a time.

    Parameters
    ----------
    text : str
        A number and a unit: seconds, minutes, hours or days.

    Returns
    -------
    seconds : float
        Above 0.

    Raises
    ------
    ValueError
        If it is none.

    Examples
    --------
    >>> interval("90s"), interval("1.5h")
    (90.0, 5400.0)
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not float(found[1]):
        raise UserError(f"Expected a time such as 90s, 30m, 1h or 1d. Received: {text}")
    return float(found[1]) * _SECONDS[found[2]]


def watch(asked: LocalRun, every_seconds: float | None, write: Callable[[str], None]) -> int:
    """Look, run where something changed, wait, and look again, until a signal ends it.

    Parameters
    ----------
    asked : LocalRun
        What to run. Its test songs stay, unless the library brings its own splits.
    every_seconds : float or None
        From one look to the next; None for one look only.
    write : callable
        Told what happens, a line at a time.

    Returns
    -------
    code : int
        After one look `DONE` where nothing was to do, `WAITING` where nothing could be done yet, `INTERRUPTED` where a
        signal made an end of the run, else the run's; of many `DONE` after SIGTERM, `INTERRUPTED` after SIGINT;
        `WRONG_USE` where no run can ever come to its end.

    Raises
    ------
    ValueError
        If another split is asked for: the test songs could not stay.
    """
    if asked.method != GIVEN:
        if asked.protocol != "song" or asked.method not in ("stratified", FIXED):
            raise UserError(
                "Expected --split song or given, and no --split-method: a watched library keeps its test songs. "
                f"Received: {asked.protocol}, {asked.method}"
            )
        asked = dataclasses.replace(asked, method=FIXED)

    def say(line: str) -> None:
        write(f"{_clock()} {line}")

    waits = 0
    with Stop().listening() as stop:
        while not stop.signal:
            code = _look_once(asked, stop, say)
            if stop.signal or every_seconds is None or code == local.WRONG_USE:
                break
            waits = waits + 1 if code == WAITING else 0
            pause = min(SETTLED_SECONDS * 2 ** min(waits - 1, 20), every_seconds) if waits else every_seconds
            say(f"Next look at {_clock(pause)}.")
            stop.wait(pause)
    if not stop.signal:
        return code
    say(f"Ended by {stop.signal.name}.")
    if every_seconds is None:
        return local.INTERRUPTED if code == local.FAILED else code
    return local.INTERRUPTED if stop.signal == signal.SIGINT else local.DONE


def _look_once(asked: LocalRun, stop: Stop, say: Callable[[str], None]) -> int:
    """Look, run if there is a reason, and give an exit code."""
    file = asked.workspace / SEEN_FILE
    settings = json.loads(json.dumps(dataclasses.asdict(asked), default=str))
    del settings["growing"]
    try:
        found = look(str(asked.data), asked.layout, asked.genres)
    except (UserError, OSError) as error:
        say(f"Cannot look at {asked.data}: {error}")
        return local.FAILED
    seen = _seen(file)
    growing = {part for part in found.growing if seen.songs.get(part) != found.songs[part]}
    settled = {part: stamp for part, stamp in found.songs.items() if part not in growing}
    reason = _reason(seen, settings, settled, growing)
    wait = f"; {len(growing)} changed within the last minute and wait until they no longer do" if growing else ""
    if not reason:
        say(f"Nothing {'else ' if wait else ''}changed among {len(found.songs)} songs{wait}.")
        return WAITING if wait else local.DONE
    say(f"{reason}{wait}. Running.")
    asked = dataclasses.replace(asked, growing=frozenset(found.growing[part] for part in growing))
    code = _run(asked, stop, say)
    if code in (local.DONE, local.NOT_BLESSED):
        try:
            write_whole(file, json.dumps({"settings": settings, "songs": settled}).encode())  # in ASCII: any name
        except OSError as error:
            say(f"Cannot keep what was seen, so the next look runs again: {error}")
    return code


@dataclasses.dataclass(frozen=True)
class _Seen:
    """Settings and songs of the last completed run; none, with the reason in `first`, where they are not known."""

    settings: dict[str, Any]
    songs: dict[str, str]
    first: str = ""


def _seen(file: Path) -> _Seen:
    try:
        seen = json.loads(file.read_text("utf-8"))
        return _Seen(dict(seen["settings"].items()), dict(seen["songs"].items()))
    except FileNotFoundError:
        return _Seen({}, {}, "seen for the first time")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # cut short, or written by somebody else
        return _Seen({}, {}, f"as if seen for the first time: {file} cannot be read")


def _reason(seen: _Seen, settings: dict[str, Any], songs: Mapping[str, str], growing: Collection[str]) -> str:
    """Give the reason to run on the files that no longer change; empty if the last completed run used the same."""
    if seen.first:
        return f"{len(songs)} songs, {seen.first}" if songs or not growing else ""
    before = {part: stamp for part, stamp in seen.songs.items() if part not in growing}
    if changes := difference(before, songs):
        return f"{len(songs)} songs: {changes}"
    return "Other settings than those of the last run" if seen.settings != settings else ""


def _run(asked: LocalRun, stop: Stop, say: Callable[[str], None]) -> int:
    """Run to the end, say what came of it, and give an exit code."""
    before = {record.run for record in read_runs(asked.workspace)}
    code = stop.wait_for(run_apart.start(asked))
    new = [record for record in read_runs(asked.workspace) if record.run not in before]
    if not new:
        say(f"The run did not begin: exit code {code}.")
    for record in new:
        accuracy = f", accuracy {record.accuracy:.1%}" if record.accuracy is not None else ""
        end = record.sentence or f"It ended with exit code {code}."
        say(f"Run {record.run}: {record.outcome} after {record.seconds / 60:.1f} min{accuracy}. {end}")
    return code if code >= 0 else local.FAILED


def _clock(seconds: float = 0) -> str:
    """Tell the time, now or in a while."""
    then = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
    return then.isoformat(sep=" ", timespec="seconds")

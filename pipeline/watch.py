"""Continuous training: check a library at intervals, and run the pipeline when it has changed.

New models are compared with the served model on the same test songs, see `frozen_test_set`. The workspace stores the
settings and songs of the last completed run: a failed run is repeated at the next check, and changed settings start a
run as well. Files that are still being written are left to a later check; the others are trained on.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

from tumbao.components.ingest.atomic_write import write_whole
from tumbao.components.ingest.formats import read_library
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.components.ingest.paths import Status, as_path
from tumbao.pipeline import local_runner
from tumbao.pipeline.config import Config
from tumbao.pipeline.runs import read_runs
from tumbao.schema.errors import UserError
from tumbao.trainer.models.registry import AUTO

STATE_FILE = "watched.json"
"""File in the workspace with settings and songs of the last completed run."""

WAITING = 4
"""Exit code of a check that started no run because all changed files are still being written."""

SETTLED_SECONDS = 60.0
"""A file that changed within this time may still be incomplete."""

_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def interval(text: str) -> float:
    """Parse a positive duration such as 90s, 30m, 1.5h or 1d into seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", text)
    if not found or not float(found[1]):
        raise UserError(f"Expected a time such as 90s, 30m, 1h or 1d. Received: {text}")
    return float(found[1]) * _SECONDS[found[2]]


class StopSignal:
    """Records the first SIGINT or SIGTERM in `signal`."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @contextlib.contextmanager
    def handled(self) -> Iterator[StopSignal]:
        """Handle SIGINT and SIGTERM in the main thread, and restore the former handlers at the end."""

        def handle(number: int, frame: FrameType | None) -> None:
            self.signal = self.signal or signal.Signals(number)

        former = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield self
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def wait(self, seconds: float) -> None:
        """Wait for a time in seconds, or until a signal comes, which is noticed within a second."""
        end = time.monotonic() + seconds  # an event's wait would miss a signal that comes as it begins
        while not self.signal and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, 1.0))

    def wait_for(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the leader of a process group, interrupted once if a signal comes; return its exit code."""
        forwarded = False  # a second SIGINT would interrupt the orderly end of a run
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return process.wait(0.2)
            if self.signal and not forwarded:
                os.killpg(process.pid, signal.SIGINT)
                forwarded = True


class Snapshot(NamedTuple):
    """Songs or parts of songs of a library, as they were listed; no audio file is opened."""

    songs: dict[str, str]  # to listed metadata, and size and time of the file
    growing: dict[str, str]  # to the path of the file, which may still be incomplete


def take_snapshot(library: str, layout: str, genres: tuple[str, ...]) -> Snapshot:
    """Take a snapshot of a library here or in a bucket, including entries that are not usable."""
    songs, growing = {}, {}
    for entry in read_library(as_path(library).absolute(), layout, genres).entries:
        stamp, incomplete = _file_stamp(entry.path)
        part = json.dumps((entry.song, entry.path, entry.start_seconds), ensure_ascii=False)
        listed = (entry.genre, entry.subgenre, entry.artist, entry.split, entry.end_seconds)
        songs[part] = f"{json.dumps(listed, ensure_ascii=False)} {stamp}"
        if incomplete:
            growing[part] = entry.path
    return Snapshot(songs, growing)


def _file_stamp(path: str) -> tuple[str, bool]:
    """Return a file's size and time, and whether it may still grow; files in a bucket are always complete."""
    try:
        status = as_path(path).stat()
    except OSError:
        return "missing", False
    # ctime, since a copy may keep the mtime of its source
    incomplete = not isinstance(status, Status) and abs(time.time() - status.st_ctime) < SETTLED_SECONDS
    return f"{status.st_size} {status.st_mtime_ns}", incomplete


def watch(config: Config, every_seconds: float | None, write: Callable[[str], None]) -> int:
    """Check the library and run where something changed, repeatedly until a signal comes; return an exit code."""
    if config.split_strategy != GIVEN:
        if config.split_by not in ("song", AUTO) or config.split_strategy not in ("stratified", FIXED):
            raise UserError(
                "Expected --split-by song or given, and no other --split-method: a watched library keeps its test "
                f"songs. Received: --split-by {config.split_by}, --split-method {config.split_strategy}"
            )
        config = config.replace(split={"by": "song", "strategy": FIXED})

    def say(line: str) -> None:
        write(f"{_clock()} {line}")

    waits = 0
    with StopSignal().handled() as stop:
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


def _check(config: Config, stop: StopSignal, say: Callable[[str], None]) -> int:
    """Check the library, run if files or settings differ from the last completed run, and return an exit code."""
    file = Path(config.root) / STATE_FILE
    settings = config.model_dump(mode="json")
    try:
        found = take_snapshot(config.data.library, config.data.layout, config.data.genres)
    except (UserError, OSError) as error:
        say(f"Cannot read {config.data.library}: {error}")
        return local_runner.FAILED
    last, before, first = _last_run(file)
    growing = {part for part in found.growing if before.get(part) != found.songs[part]}
    settled = {part: stamp for part, stamp in found.songs.items() if part not in growing}
    changes = difference({part: stamp for part, stamp in before.items() if part not in growing}, settled)
    wait = ""
    if growing:
        wait = f"; {len(growing)} changed within the last minute and wait until they stay the same for a minute"
    if first and (settled or not growing):
        reason = f"{len(settled)} songs, {first}"
    elif changes:
        reason = f"{len(settled)} songs: {changes}"
    elif not first and last != settings:
        reason = "Other settings than those of the last run"
    else:
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


def _last_run(file: Path) -> tuple[dict[str, Any], dict[str, str], str]:
    """Return settings and songs of the last completed run; if they are unknown, both are empty, with a reason."""
    try:
        state = json.loads(file.read_bytes())
        return dict(state["settings"].items()), dict(state["songs"].items()), ""
    except FileNotFoundError:
        return {}, {}, "checked for the first time"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # incomplete, or not written by Tumbao
        return {}, {}, f"as if checked for the first time: {file} cannot be read"


def difference(before: Mapping[str, str], now: Mapping[str, str]) -> str:
    """Describe the changes between the songs of two snapshots, such as `2 new, 1 gone, 3 changed`; empty if none."""
    counts = {
        "new": len(now.keys() - before.keys()),
        "gone": len(before.keys() - now.keys()),
        "changed": sum(before[song] != now[song] for song in before.keys() & now.keys()),
    }
    return ", ".join(f"{count} {word}" for word, count in counts.items() if count)


def _run(config: Config, growing: frozenset[str], stop: StopSignal, say: Callable[[str], None]) -> int:
    """Run the pipeline in a process of its own, report the result, and return an exit code."""
    workspace = Path(config.root)
    before = {record.run for record in read_runs(workspace)}
    code = stop.wait_for(local_runner.start_process(config, growing))
    new = [record for record in read_runs(workspace) if record.run not in before]
    if not new:
        say(f"The run did not start: exit code {code}.")
    for record in new:
        accuracy = f", {record.accuracy:.1%} of the test fragments recognised" if record.accuracy is not None else ""
        end = record.sentence or f"It ended with exit code {code}."
        say(f"Run {record.run}: {record.outcome} after {record.seconds / 60:.1f} min{accuracy}. {end}")
    return code if code >= 0 else local_runner.FAILED


def _clock(seconds: float = 0) -> str:
    """Format the local time in `seconds` from now."""
    then = datetime.datetime.now().astimezone() + datetime.timedelta(seconds=seconds)
    return then.isoformat(sep=" ", timespec="seconds")

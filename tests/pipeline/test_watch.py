"""A watched library: a run when something changed, the reason when nothing is done, and an orderly end."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.pipeline.conftest import Call
from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.components.ingest.paths import RemotePath
from tumbao.pipeline import local_runner, watch
from tumbao.pipeline.config import Config, parse
from tumbao.pipeline.local_runner import start_process
from tumbao.pipeline.runs import RunRecord, locked, read_runs
from tumbao.pipeline.watch import SETTLED_SECONDS, WAITING, StopSignal, difference, interval, take_snapshot

GENRES = ("cumbia", "salsa")


def pass_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    moved = SimpleNamespace(time=lambda: time.time() + seconds, monotonic=time.monotonic, sleep=time.sleep)
    monkeypatch.setattr(watch, "time", moved)


@dataclasses.dataclass
class Studio:
    """A watched library; its runs only write their outcome."""

    config: Config
    outcomes: list[str] = dataclasses.field(default_factory=list)
    started: list[Config] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)
    growing: list[frozenset[str]] = dataclasses.field(default_factory=list)
    command: tuple[str, ...] = ()
    processes: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    @property
    def library(self) -> Path:
        return Path(self.config.data.library)

    @property
    def workspace(self) -> Path:
        return Path(self.config.root)

    def start(self, config: Config, growing: frozenset[str]) -> subprocess.Popen[bytes]:
        self.started.append(config)
        self.growing.append(growing)
        outcome = self.outcomes.pop(0) if self.outcomes else "pushed"
        if outcome != "does not begin":
            name = f"20260101-{len(self.started):06}"
            RunRecord(name, "", outcome, f"Because of {name}.", accuracy=0.9).write(self.workspace)
        code = {"failed": 1, "does not begin": 1, "misused": 2, "refused": 3, "running": -9}.get(outcome, 0)
        script = f"kill -{-code} $$" if code < 0 else f"exit {code}"
        self.processes.append(subprocess.Popen(self.command or ("sh", "-c", script), start_new_session=True))
        return self.processes[-1]

    def check(self, **sections: Any) -> int:
        self.lines.clear()
        return watch.watch(self.config.replace(**sections), None, self.lines.append)

    def add(self, name: str) -> None:
        (self.library / "salsa" / name).write_bytes(os.fsencode(name))


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for genre in GENRES:
        (tmp_path / "library" / genre).mkdir(parents=True)
        (tmp_path / "library" / genre / "a.mp3").write_text(genre)
    config = parse(
        {
            "data": {"library": str(tmp_path / "library"), "genres": GENRES},
            "training": {"units": [8]},
            "runner": {"root": str(tmp_path / "workspace")},
            "registry": {"push_to": str(tmp_path / "pushed")},
        }
    )
    studio = Studio(config)
    monkeypatch.setattr(local_runner, "start_process", studio.start)
    pass_time(monkeypatch, 86_400)
    return studio


def test_each_change_starts_one_run(studio: Studio) -> None:
    assert studio.check() == local_runner.DONE
    assert "2 songs, checked for the first time. Running." in studio.lines[0]
    assert (
        "Run 20260101-000001: pushed after 0.0 min, 90.0% of the test fragments recognised. Because of 20260101-000001."
        in studio.lines[1]
    )
    assert studio.check() == local_runner.DONE
    assert [line.partition(" ")[2].partition(" ")[2] for line in studio.lines] == ["Nothing changed among 2 songs."]
    studio.add(os.fsdecode(b"canci\xf3n.mp3"))  # not UTF-8
    studio.check()
    assert "3 songs: 1 new. Running." in studio.lines[0]
    studio.check(training={"units": (16,)})
    assert "Other settings than those of the last run. Running." in studio.lines[0]
    assert len(studio.started) == 3


def test_test_songs_are_frozen_unless_the_library_has_its_own_splits(studio: Studio) -> None:
    studio.check()
    studio.check(split={"by": GIVEN})
    assert [one.split_strategy for one in studio.started] == [FIXED, GIVEN]
    assert studio.started[0].replace(split={"by": "auto", "strategy": None}) == studio.config.replace(
        split={"by": "auto"}
    )


@pytest.mark.parametrize("other", [{"by": "artist"}, {"by": "fragment"}, {"strategy": "stable"}])
def test_other_splits_raise(studio: Studio, other: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"keeps its test songs. Received: .*{next(iter(other.values()))}"):
        studio.check(split=other)
    assert not studio.started


@pytest.mark.parametrize("content", [b"{", b"{}", b"[]", b'{"songs": [], "settings": {}}', b"\xff"])
def test_an_unreadable_state_starts_a_run_and_is_replaced(studio: Studio, content: bytes) -> None:
    file = studio.workspace / watch.STATE_FILE
    file.parent.mkdir()
    file.write_bytes(content)
    assert studio.check() == local_runner.DONE
    assert f"2 songs, as if checked for the first time: {file} cannot be read. Running." in studio.lines[0]
    studio.check()
    assert "Nothing changed among 2 songs." in studio.lines[0]


def test_a_state_that_cannot_be_written_does_not_end_the_watch(studio: Studio) -> None:
    (studio.workspace / watch.STATE_FILE).mkdir(parents=True)
    for _ in range(2):
        assert studio.check() == local_runner.DONE
        assert "Cannot write watched.json, so the next check runs again: " in studio.lines[-1]
    assert len(studio.started) == 2


def test_failed_runs_are_repeated_until_wrong_use(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.outcomes = ["running", "failed", "does not begin", "refused", "misused"]
    assert studio.check() == local_runner.FAILED
    assert "Run 20260101-000001: killed after" in studio.lines[1]
    waits: list[float] = []

    def wait(stop: StopSignal, seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:  # the third run was completed
            studio.add("b.mp3")

    monkeypatch.setattr(StopSignal, "wait", wait)
    assert watch.watch(studio.config, 60, studio.lines.append) == local_runner.WRONG_USE
    said = [line for line in studio.lines[2:] if " Run " in line or "run did" in line]
    outcomes = (
        "2: failed after 0.0 min, 90.0% of the test fragments recognised. Because of",
        "not start: exit code 1.",
        "4: refused",
        "5: misused",
    )
    assert all(outcome in line for outcome, line in zip(outcomes, said, strict=True))
    studio.library.rename(studio.library.with_name("elsewhere"))
    assert studio.check() == local_runner.FAILED
    assert "Cannot read " in studio.lines[0] and "does not exist" in studio.lines[0]


def test_growing_files_wait(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.check()
    pass_time(monkeypatch, 0)
    studio.add("half.mp3")
    os.utime(studio.library / "salsa" / "half.mp3", (1_700_000_000, 1_700_000_000))  # as a copy has
    assert studio.check() == WAITING
    assert len(studio.started) == 1
    assert "Nothing else changed among 3 songs; 1 changed within the last minute and wait" in studio.lines[0]
    pass_time(monkeypatch, SETTLED_SECONDS + 1)
    assert studio.check() == local_runner.DONE
    assert "3 songs: 1 new. Running." in studio.lines[0]


def test_a_file_that_always_grows_does_not_delay_the_others(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = str(studio.library / "salsa" / "radio.mp3")

    def stamp(path: str) -> tuple[str, bool]:
        return (f"{next(sizes)}", True) if path == recorded else former(path)

    sizes, former = itertools.count(), watch._file_stamp
    monkeypatch.setattr(watch, "_file_stamp", stamp)
    studio.add("radio.mp3")
    assert studio.check() == local_runner.DONE
    assert "2 songs, checked for the first time; 1 changed within the last minute" in studio.lines[0]
    assert studio.growing[0] == {recorded}
    assert studio.check() == WAITING
    studio.add("b.mp3")
    studio.outcomes = ["refused"]
    assert studio.check() == local_runner.NOT_BLESSED
    assert "3 songs: 1 new; 1 changed" in studio.lines[0]
    pass_time(monkeypatch, 0)
    assert studio.check() == WAITING  # the other files did not change since, however recently they did before
    assert "1 changed" in studio.lines[0]


def test_pauses_grow_while_all_files_grow(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    pass_time(monkeypatch, 0)
    pauses: list[float] = []

    def wait(stop: StopSignal, seconds: float) -> None:
        pauses.append(seconds)
        stop.signal = signal.SIGTERM if len(pauses) == 5 else None

    monkeypatch.setattr(StopSignal, "wait", wait)
    assert watch.watch(studio.config, 400, studio.lines.append) == local_runner.DONE
    assert (pauses, studio.started) == ([60, 120, 240, 400, 400], [])


def send(number: signal.Signals, when: Callable[[], bool]) -> threading.Thread:
    """Send a signal to this process as soon as a condition holds."""

    def act() -> None:
        while not when():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("when", ["pause", "run", "only run"])
def test_a_signal_ends_the_pause_or_the_run(studio: Studio, number: signal.Signals, when: str) -> None:
    former = signal.getsignal(number)
    studio.command = () if when == "pause" else ("sleep", "60")  # no Python, whose start may lose a signal
    waiting = (lambda: "Next check" in str(studio.lines)) if when == "pause" else lambda: bool(studio.processes)
    sender = send(number, waiting)
    code = watch.watch(studio.config, None if when == "only run" else 3_600, studio.lines.append)
    sender.join()
    orderly = number == signal.SIGTERM and when != "only run"
    assert code == (local_runner.DONE if orderly else local_runner.INTERRUPTED)
    assert (studio.processes[0].returncode == 0) == (studio.workspace / watch.STATE_FILE).exists() == (when == "pause")
    assert f"Ended by {number.name}." in studio.lines[-1]
    assert signal.getsignal(number) is former


def test_a_signal_before_the_run_has_begun_is_an_orderly_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(local_runner, "start_process", start_process)
    sender = send(signal.SIGINT, lambda: any("Running." in line for line in studio.lines))
    assert studio.check() == local_runner.INTERRUPTED
    sender.join()
    assert "Ended by SIGINT." in studio.lines[-1]
    assert capfd.readouterr() == ("", "")


def test_a_signal_is_forwarded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append((group, number)))
    stop, process = StopSignal(), subprocess.Popen(["sleep", "1"])
    stop.signal = signal.SIGTERM
    assert stop.wait_for(process) == 0
    assert sent == [(process.pid, signal.SIGINT)]


def test_intervals_have_units() -> None:
    assert [interval(text) for text in ("90s", "30m", "1.5h", "1d")] == [90, 1_800, 5_400, 86_400]
    for text in ("", "1", "h", "0h", "-1h", "1w", "1 h", "nan"):
        with pytest.raises(ValueError, match="Expected a time such as 90s"):
            interval(text)


def test_the_command_has_the_options_of_a_run(studio: Studio, tumbao: Call) -> None:
    data, workspace = studio.config.data.library, studio.config.root
    options = ["--data", data, "--workspace", workspace, "--genres", "cumbia,salsa", "--seed", "9", "--units", "8,4"]
    code, _, err = tumbao("watch", *options, "--once")
    assert code == 0
    (config,) = studio.started
    assert (config.head.seed, config.head.units, config.push_to) == (9, (8, 4), f"{studio.workspace}/pushed")
    assert "2 songs, checked for the first time" in err
    code, _, err = tumbao("watch", *options, "--every", "soon")
    assert (code, "Received: soon" in err) == (2, True)


def test_a_run_in_a_subprocess_has_the_configuration_and_an_exit_code(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    with locked(studio.workspace):
        assert local_runner.start_process(studio.config).wait() == local_runner.FAILED
    assert f"Another run is active in {studio.workspace}" in capfd.readouterr().err
    assert read_runs(studio.workspace) == []


def songs(library: Path | RemotePath) -> dict[str, str]:
    return dict(take_snapshot(str(library), "auto", GENRES).songs)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda library: shutil.move(library / "salsa/a.mp3", library / "cumbia/c.mp3"), "1 new, 1 gone"),
        (lambda library: (library / "salsa/a.mp3").write_text("SALSA"), "1 changed"),
        (lambda library: (library / "salsa/a.mp3").unlink(), "1 gone"),
        (lambda library: (library / "salsa/ñ.mp3").touch(), "1 new"),
        (lambda library: (library / "salsa/.hidden").touch(), ""),
    ],
    ids=["moved", "replaced", "removed", "added", "hidden"],
)
def test_a_snapshot_shows_every_change(studio: Studio, change: Callable[[Path], object], expected: str) -> None:
    before = songs(studio.library)
    assert len(before) == 2
    change(studio.library)
    assert difference(before, songs(studio.library)) == expected


def test_a_snapshot_shows_changes_in_a_list_and_in_a_bucket(tmp_path: Path) -> None:
    file, bucket = tmp_path / "songs.csv", RemotePath(f"ram://{tmp_path.name}")

    def listed(*rows: str) -> dict[str, str]:
        file.write_text("\n".join(("file_name,genre,song,split,start,end", *rows)))
        return songs(file)

    parts = "x.mp3,salsa,x,,0,9", "x.mp3,salsa,x,,9,20", "y.mp3,salsa,y,test,,"
    before = listed(*parts)
    assert len(before) == 3
    for row in ("y.mp3,salsa,y,train,,", "y.mp3,cumbia,y,test,,"):
        assert difference(before, listed(*parts[:2], row)) == "1 changed"
    (bucket / "salsa" / "a.mp3").write_bytes(b"song")
    found = take_snapshot(str(bucket), "auto", GENRES)
    assert (len(found.songs), found.growing) == (1, {})
    (bucket / "salsa" / "b.mp3").write_bytes(b"another")
    assert difference(found.songs, songs(bucket)) == "1 new"

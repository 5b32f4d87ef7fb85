"""A watched library: a run when something changed, a reason when nothing is done, and an orderly end."""

from __future__ import annotations

import dataclasses
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tumbao.components.ingest.library import FIXED, GIVEN
from tumbao.pipeline import cli, library_snapshot, local_runner, run_subprocess, watch
from tumbao.pipeline.config import Config, parse
from tumbao.pipeline.run_subprocess import start
from tumbao.pipeline.runs import RunRecord, locked, read_runs
from tumbao.pipeline.signals import Stop
from tumbao.pipeline.watch import WAITING, interval


@dataclasses.dataclass
class Studio:
    """A library that is watched, with runs that only write what became of them."""

    config: Config
    outcomes: list[str] = dataclasses.field(default_factory=list)
    started: list[Config] = dataclasses.field(default_factory=list)
    lines: list[str] = dataclasses.field(default_factory=list)
    growing: list[frozenset[str]] = dataclasses.field(default_factory=list)
    script: str = ""
    processes: list[subprocess.Popen[bytes]] = dataclasses.field(default_factory=list)

    @property
    def library(self) -> Path:
        return Path(self.config.data.library)

    @property
    def workspace(self) -> Path:
        return Path(self.config.root)

    def start(self, config: Config, growing: frozenset[str]) -> subprocess.Popen[bytes]:
        """Replace `run_subprocess.start`."""
        self.started.append(config)
        self.growing.append(growing)
        outcome = self.outcomes.pop(0) if self.outcomes else "pushed"
        if outcome != "does not begin":
            name = f"20260101-{len(self.started):06}"
            RunRecord(name, "", outcome, f"Because of {name}.", accuracy=0.9).write(self.workspace)
        code = {"failed": 1, "does not begin": 1, "misused": 2, "refused": 3, "running": -9}.get(outcome, 0)
        script = self.script or (
            f"import os; os.kill(os.getpid(), {-code})" if code < 0 else f"raise SystemExit({code})"
        )
        self.processes.append(subprocess.Popen([sys.executable, "-S", "-c", script], start_new_session=True))
        return self.processes[-1]

    def check(self, **sections: Any) -> int:
        """Check the library once."""
        self.lines.clear()
        return watch.watch(self.config.replace(**sections), None, self.lines.append)

    def add(self, name: str) -> None:
        (self.library / "salsa" / name).write_text(name)


@pytest.fixture
def studio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Studio:
    for genre in ("cumbia", "salsa"):
        (tmp_path / "library" / genre).mkdir(parents=True)
        (tmp_path / "library" / genre / "a.mp3").touch()
    config = parse(
        {
            "data": {"library": str(tmp_path / "library"), "genres": ["cumbia", "salsa"]},
            "training": {"units": [8]},
            "runner": {"root": str(tmp_path / "workspace")},
            "registry": {"push_to": str(tmp_path / "pushed")},
        }
    )
    studio = Studio(config)
    monkeypatch.setattr(run_subprocess, "start", studio.start)
    monkeypatch.setattr(library_snapshot, "time", SimpleNamespace(time=lambda: time.time() + 86_400))
    return studio


def test_a_run_happens_once_for_each_change(studio: Studio) -> None:
    assert studio.check() == local_runner.DONE
    assert "2 songs, checked for the first time. Running." in studio.lines[0]
    assert "Run 20260101-000001: pushed after 0.0 min, accuracy 90.0%. Because of 20260101-000001." in studio.lines[1]
    assert studio.check() == local_runner.DONE
    assert [line.partition(" ")[2].partition(" ")[2] for line in studio.lines] == ["Nothing changed among 2 songs."]
    assert len(studio.started) == 1
    studio.add("b.mp3")
    studio.check()
    assert "3 songs: 1 new. Running." in studio.lines[0]
    assert len(studio.started) == 2


def test_a_name_that_is_not_utf_8_is_remembered_too(studio: Studio) -> None:
    for name in (b"canci\xf3n.mp3", "canción.mp3".encode()):
        (studio.library / "salsa" / os.fsdecode(name)).touch()
    assert studio.check() == local_runner.DONE
    assert studio.check() == local_runner.DONE
    assert "Nothing changed among 4 songs." in studio.lines[0]
    assert len(studio.started) == 1


def test_the_test_songs_stay_but_for_a_librarys_own_splits(studio: Studio) -> None:
    studio.check()
    studio.check(split={"by": GIVEN})
    assert [one.method for one in studio.started] == [FIXED, GIVEN]
    assert studio.started[0].replace(split={"strategy": None}) == studio.config


@pytest.mark.parametrize("other", [{"by": "artist"}, {"by": "fragment"}, {"strategy": "stable"}])
def test_splits_whose_test_songs_cannot_stay_are_refused(studio: Studio, other: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=f"keeps its test songs. Received: .*{next(iter(other.values()))}"):
        studio.check(split=other)
    assert not studio.started


def test_other_settings_are_a_reason_to_run(studio: Studio) -> None:
    studio.check()
    studio.check(training={"units": (16,)})
    assert "Other settings than those of the last run. Running." in studio.lines[0]


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b'{"songs": [], "settings": {}}', b"\xff"])
def test_a_memory_that_cannot_be_read_is_a_reason_to_run_and_written_anew(studio: Studio, content: bytes) -> None:
    file = studio.workspace / watch.SEEN_FILE
    file.parent.mkdir()
    file.write_bytes(content)
    assert studio.check() == local_runner.DONE
    assert f"2 songs, as if checked for the first time: {file} cannot be read. Running." in studio.lines[0]
    studio.check()
    assert "Nothing changed among 2 songs." in studio.lines[0]


def test_a_memory_that_cannot_be_written_does_not_end_the_watch(studio: Studio) -> None:
    (studio.workspace / watch.SEEN_FILE).mkdir(parents=True)
    for _ in range(2):
        assert studio.check() == local_runner.DONE
        assert "Cannot write watched.json, so the next check runs again: " in studio.lines[-1]
    assert len(studio.started) == 2


@pytest.mark.parametrize(
    ("outcome", "code", "said"),
    [
        ("failed", 1, "Run 20260101-000001: failed after 0.0 min, accuracy 90.0%. Because of"),
        ("running", 1, "Run 20260101-000001: killed after"),
        ("does not begin", 1, "The run did not start: exit code 1."),
    ],
)
def test_a_run_that_failed_is_tried_again_at_the_next_look(studio: Studio, outcome: str, code: int, said: str) -> None:
    studio.outcomes = [outcome, "refused"]
    assert studio.check() == code
    assert said in studio.lines[1]
    assert studio.check() == local_runner.NOT_BLESSED
    assert "Run 20260101-000002: refused" in studio.lines[1]
    assert studio.check() == local_runner.DONE
    assert len(studio.started) == 2


def test_a_file_on_its_way_is_waited_for(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
    studio.check()
    monkeypatch.setattr(library_snapshot, "time", time)
    studio.add("half.mp3")
    assert studio.check() == WAITING
    assert len(studio.started) == 1
    assert "Nothing else changed among 3 songs; 1 changed within the last minute and wait" in studio.lines[0]
    monkeypatch.setattr(library_snapshot, "time", SimpleNamespace(time=lambda: time.time() + 61))
    assert studio.check() == local_runner.DONE
    assert "3 songs: 1 new. Running." in studio.lines[0]


def test_a_program_that_always_writes_does_not_keep_the_others_from_training(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded = str(studio.library / "salsa" / "radio.mp3")

    def stamp(path: str) -> tuple[str, bool]:
        return (f"{next(sizes)}", True) if path == recorded else former(path)

    sizes, former = itertools.count(), library_snapshot._stamp
    monkeypatch.setattr(library_snapshot, "_stamp", stamp)
    studio.add("radio.mp3")
    assert studio.check() == local_runner.DONE
    assert "2 songs, checked for the first time; 1 changed within the last minute" in studio.lines[0]
    assert studio.growing[0] == {recorded}
    assert studio.check() == WAITING
    studio.add("b.mp3")
    studio.outcomes = ["refused"]
    assert studio.check() == local_runner.NOT_BLESSED
    assert "3 songs: 1 new; 1 changed" in studio.lines[0]
    monkeypatch.undo()
    monkeypatch.setattr(run_subprocess, "start", studio.start)
    assert studio.check() == WAITING  # the others are trained on as they are, however lately they changed
    assert "1 changed" in studio.lines[0]


def test_where_all_files_grow_the_next_look_comes_soon_and_then_later(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library_snapshot, "time", time)
    pauses: list[float] = []

    def wait(stop: Stop, seconds: float) -> None:
        pauses.append(seconds)
        stop.signal = signal.SIGTERM if len(pauses) == 5 else None

    monkeypatch.setattr(watch.Stop, "wait", wait)
    assert watch.watch(studio.config, 400, studio.lines.append) == local_runner.DONE
    assert (pauses, studio.started) == ([60, 120, 240, 400, 400], [])


def test_a_library_that_is_not_there_is_said(studio: Studio) -> None:
    library = studio.library
    library.rename(library.with_name("elsewhere"))
    assert studio.check() == local_runner.FAILED
    assert "Cannot read " in studio.lines[0]
    assert "does not exist" in studio.lines[0]


def send(number: signal.Signals, when: Callable[[], bool]) -> threading.Thread:
    """Send a signal to this process as soon as something is so."""

    def act() -> None:
        while not when():
            time.sleep(0.01)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=act)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, local_runner.DONE), (signal.SIGINT, local_runner.INTERRUPTED)],
    ids=["SIGTERM", "SIGINT"],
)
def test_a_signal_ends_the_waiting(studio: Studio, number: signal.Signals, code: int) -> None:
    former = signal.getsignal(number)
    sender = send(number, lambda: any("Next check" in line for line in studio.lines))
    assert watch.watch(studio.config, 3_600, studio.lines.append) == code
    sender.join()
    assert f"Ended by {number.name}." in studio.lines[-1]
    assert signal.getsignal(number) is former


def test_a_signal_ends_the_run_that_goes_on(studio: Studio) -> None:
    studio.script = "import time; time.sleep(60)"
    sender = send(signal.SIGTERM, lambda: bool(studio.processes))
    assert watch.watch(studio.config, 3_600, studio.lines.append) == local_runner.DONE
    sender.join()
    assert studio.processes[0].returncode != 0
    assert not (studio.workspace / watch.SEEN_FILE).exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_run_that_a_signal_broke_is_no_failure_of_the_one_look(studio: Studio, number: signal.Signals) -> None:
    studio.script = "import time; time.sleep(60)"
    sender = send(number, lambda: bool(studio.processes))
    assert studio.check() == local_runner.INTERRUPTED
    sender.join()
    assert f"Ended by {number.name}." in studio.lines[-1]


def test_a_signal_before_a_run_has_begun_is_an_orderly_end(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_subprocess, "start", start)
    sender = send(signal.SIGINT, lambda: any("Running." in line for line in studio.lines))
    assert studio.check() == local_runner.INTERRUPTED
    sender.join()
    assert "Ended by SIGINT." in studio.lines[-1]
    assert capfd.readouterr() == ("", "")


def test_a_run_gets_one_signal_even_if_it_comes_while_the_waiting_begins(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "killpg", lambda group, number: sent.append((group, number)))

    class Sudden(Stop):
        """A signal comes at the moment from which there is a process."""

        def __setattr__(self, name: str, value: object) -> None:
            super().__setattr__(name, value)
            if name == "_process" and value:
                self._take(signal.SIGTERM, None)

    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    assert Sudden().wait_for(process) == 0
    assert sent == [(process.pid, signal.SIGINT)]


def test_many_looks_go_on_after_failures_until_the_use_is_wrong(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.outcomes = ["failed", "refused", "misused"]
    added = iter(["b.mp3", "c.mp3", "d.mp3"])
    monkeypatch.setattr(watch.Stop, "wait", lambda stop, seconds: studio.add(next(added)))
    assert watch.watch(studio.config, 60, studio.lines.append) == local_runner.WRONG_USE
    assert [line.split(": ")[1].split()[0] for line in studio.lines if " Run " in line] == [
        "failed",
        "refused",
        "misused",
    ]


@pytest.mark.parametrize("text", ["", "1", "h", "0h", "-1h", "1w", "1 h", "nan"])
def test_a_time_without_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="Expected a time such as 90s"):
        interval(text)


def test_times_have_units() -> None:
    assert [interval(text) for text in ("90s", "30m", "1.5h", "1d")] == [90, 1_800, 5_400, 86_400]


def test_the_command_has_the_options_of_a_run(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    data, workspace = studio.config.data.library, studio.config.root
    options = ["--data", data, "--workspace", workspace, "--genres", "cumbia,salsa", "--seed", "9", "--units", "8,4"]
    monkeypatch.setattr(sys, "argv", ["tumbao", "watch", *options, "--once"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0
    (asked,) = studio.started
    assert (asked.head.seed, asked.head.units, asked.push_to) == (9, (8, 4), f"{studio.workspace}/pushed")
    assert "2 songs, checked for the first time" in capfd.readouterr().err
    monkeypatch.setattr(sys, "argv", ["tumbao", "watch", *options, "--every", "soon"])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 2
    assert "Received: soon" in capfd.readouterr().err


def test_a_run_apart_gets_what_was_asked_and_gives_its_exit_code(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    with locked(studio.workspace):
        assert run_subprocess.start(studio.config).wait() == local_runner.FAILED
    assert f"{studio.workspace}, where another run is at work" in capfd.readouterr().err
    assert read_runs(studio.workspace) == []

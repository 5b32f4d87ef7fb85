"""`tumbao classify` of many files, some of whose worker processes are killed."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from tests.processes import children, kill, wait_until_gone
from tests.small_spec import SMALL
from tumbao.components.ingest.decoders import AudioSegment
from tumbao.components.ingest.fragments import Fragment, Fragments
from tumbao.pipeline.classify import ClassifyOptions, run_classify
from tumbao.serving.classify.batch import decoding
from tumbao.serving.classify.inputs import Song

RATE = 22_050
Tone = Callable[..., np.ndarray]


@pytest.fixture
def songs(tmp_path: Path, tone: Tone) -> list[Path]:
    soundfile.write(tmp_path / "0.wav", 0.1 * tone(60), RATE)
    for number in range(1, 8):
        shutil.copy(tmp_path / "0.wav", tmp_path / f"{number}.wav")
    (tmp_path / "text.wav").write_text("no song")
    return sorted(tmp_path.iterdir())


class KillingOutput(io.StringIO):
    def __init__(self, before: set[int]) -> None:
        super().__init__()
        self._before, self.killed = before, 0

    def write(self, text: str) -> int:
        if len(self.getvalue().splitlines()) % 2:
            found = children() - self._before
            self.killed += len(found)
            kill(found)
        return super().write(text)


def test_killed_workers_cost_no_file(songs: list[Path], pushed: Path) -> None:
    before = children()
    out, err = KillingOutput(before), io.StringIO()
    assert run_classify(ClassifyOptions(songs, pushed, as_json=True), Console(file=err, width=200), out) == 1
    assert "found 9 = classified 8 + rejected 1" in err.getvalue()
    assert out.killed
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [len(one.get("fragments", ())) for one in told] == 8 * [2] + [0]
    wait_until_gone(before)


@pytest.mark.parametrize("used", [0, 1, 4])
def test_a_consumer_that_stops_early_leaves_no_thread_and_no_process(songs: list[Path], used: int) -> None:
    before, threads = children(), set(threading.enumerate())
    stopped = RuntimeError("it is enough")
    asked = [Song(AudioSegment(str(path))) for path in songs]
    with pytest.raises(RuntimeError, match="it is enough"), decoding(asked, SMALL) as begun:
        for number, decoded in enumerate(begun):
            if number == used:
                raise stopped
            assert isinstance(next(iter(decoded.items)), Fragment)
            if number % 2:
                assert len(list(Fragments(decoded.items))) > 10
    wait_until_gone(before)
    deadline = time.monotonic() + 10
    while set(threading.enumerate()) - threads:
        assert time.monotonic() < deadline
        time.sleep(0.05)

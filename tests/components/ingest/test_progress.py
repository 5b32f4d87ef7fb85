"""Progress is reported to the listener, or to the log."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from tumbao.components.ingest import progress

Reports = list[tuple[str, int, int]]


@pytest.fixture
def reports() -> Reports:
    return []


def test_a_listener_gets_start_and_every_advance(reports: Reports) -> None:
    with progress.listen(lambda *report: reports.append(report)):
        progress.advance("not started in this process")
        progress.start("step", 5)
        progress.advance("step", 4)
        progress.advance("step")
        progress.report("other", 2, 3)
    assert reports == [("step", 0, 5), ("step", 4, 5), ("step", 5, 5), ("other", 2, 3)]


def test_the_previous_listener_is_restored_even_after_an_error(reports: Reports) -> None:
    with progress.listen(lambda *report: reports.append(report)):
        with pytest.raises(KeyError), progress.listen(lambda *_: None):
            progress.report("inner", 1, 2)
            raise KeyError
        progress.report("outer", 1, 2)
    assert reports == [("outer", 1, 2)]


def test_threads_are_all_counted(reports: Reports) -> None:
    with progress.listen(lambda *report: reports.append(report)), ThreadPoolExecutor(8) as pool:
        progress.start("threads", 4_000)
        list(pool.map(lambda _: progress.advance("threads"), range(4_000)))
    assert [done for _, done, _ in reports] == list(range(4_001))


def test_without_a_listener_the_end_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    progress.start("first", 1)
    progress.advance("first")
    caplog.clear()
    progress.start("second", 1_000)
    for _ in range(1_000):
        progress.advance("second")
    assert caplog.messages == ["second: 1000 of 1000"]


def test_a_long_step_is_logged_at_times(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "LOG_SECONDS", 0.0)
    progress.start("long", 2)
    progress.advance("long")
    assert caplog.messages == ["long: 0 of 2", "long: 1 of 2"]

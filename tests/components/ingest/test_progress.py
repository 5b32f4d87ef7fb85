"""Progress reaches whoever listens, and the log where nobody does."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor

import pytest

from tumbao.components.ingest import progress

Reports = list[tuple[str, int, int]]


@pytest.fixture
def heard() -> Reports:
    return []


def test_a_listener_hears_start_and_every_advance(heard: Reports) -> None:
    with progress.listen(lambda *report: heard.append(report)):
        progress.start("heard", 5)
        progress.advance("heard", 4)
        progress.advance("heard")
        progress.report("other", 2, 3)
    assert heard == [("heard", 0, 5), ("heard", 4, 5), ("heard", 5, 5), ("other", 2, 3)]


def test_a_step_that_was_not_started_here_goes_unseen(heard: Reports) -> None:
    with progress.listen(lambda *report: heard.append(report)):
        progress.advance("not started in this process")
    assert heard == []


def test_starting_again_counts_anew(heard: Reports) -> None:
    with progress.listen(lambda *report: heard.append(report)):
        for total in (2, 3):
            progress.start("anew", total)
            progress.advance("anew")
    assert heard == [("anew", 0, 2), ("anew", 1, 2), ("anew", 0, 3), ("anew", 1, 3)]


def test_the_former_listener_comes_back_even_after_an_error(heard: Reports) -> None:
    with progress.listen(lambda *report: heard.append(report)):
        with pytest.raises(KeyError), progress.listen(lambda *_: None):
            progress.report("inner", 1, 2)
            raise KeyError
        progress.report("outer", 1, 2)
    assert heard == [("outer", 1, 2)]


def test_threads_lose_no_count(heard: Reports) -> None:
    with progress.listen(lambda *report: heard.append(report)), ThreadPoolExecutor(8) as pool:
        progress.start("threads", 4_000)
        list(pool.map(lambda _: progress.advance("threads"), range(4_000)))
    assert [done for _, done, _ in heard] == list(range(4_001))


def test_where_nobody_listens_the_log_gets_the_end_and_little_else(caplog: pytest.LogCaptureFixture) -> None:
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

"""A line of cron's five fields is told from one that no service would take."""

from __future__ import annotations

import pytest

from tumbao.pipeline.cron import is_schedule


@pytest.mark.parametrize(
    "line", ["* * * * *", "0 3 * * 1", "59 23 31 12 7", "*/15 0-6/2 1,15 jan-jun,DEC mon", "5/10 * * * sun"]
)
def test_cron_lines_are_schedules(line: str) -> None:
    assert is_schedule(line)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "daily",
        "0 3 * *",
        "0 3 * * 1 1",
        "99 99 99 99 99",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "* * * * moon",
        "*/0 * * * *",
        "5-1 * * * *",
        "1, * * * *",
        "-1 * * * *",
    ],
)
def test_what_no_service_would_take_is_none(line: str) -> None:
    assert not is_schedule(line)

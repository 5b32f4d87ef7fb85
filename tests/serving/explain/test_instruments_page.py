"""The instruments' tables say what was measured, and in words what follows from it."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

import pytest

from tumbao.demo.instruments import MUTED, RESOUNDED, SCATTERED, Effect, Hearing
from tumbao.serving.explain.instruments_page import section


def effects(moved: Mapping[tuple[str, str], tuple[float, ...]]) -> tuple[Effect, ...]:
    return tuple(
        Effect("bachata", 1_000 + song, name, way, 0.9, 0.25, value)
        for (name, way), values in moved.items()
        for song, value in enumerate(values)
    )


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


@pytest.fixture(scope="module")
def page() -> str:
    told = {
        ("singer", MUTED): (0.5, 1.5),
        ("guira", MUTED): (-8.0, -4.0),
        ("guira", RESOUNDED): (-1.0, -2.0),
        ("guira", SCATTERED): (-9.0, -7.0),
        ("bass", MUTED): (-1.0, 0.5),
    }
    hearings = Hearing("bachata", 3, 2, effects(told)), Hearing("salsa", 12, 0, ())
    return str(section(hearings))


def test_instruments_stand_by_what_they_cost(page: str) -> None:
    rows = [text(row) for row in re.findall(r"<tr class.*?</tr>", page)]
    assert rows == [
        "güira defining -6.0 -8.0 … -4.0 90.0\N{NO-BREAK SPACE}% → 25.0\N{NO-BREAK SPACE}% 2".replace("\xa0", " "),
        "the same notes on another sound -1.5 -2.0 … -1.0 90.0 % → 25.0 % 2",
        "the same sound, out of rhythm -8.0 -9.0 … -7.0 90.0 % → 25.0 % 2",
        "bass -0.2 -1.0 … +0.5 90.0 % → 25.0 % 2",
        "singer +1.0 +0.5 … +1.5 90.0 % → 25.0 % 2",
    ]


def test_what_was_found_is_said_in_words(page: str) -> None:
    words = text(page)
    assert (
        "It misses the güira most, which defines the genre. On another sound the genre loses 25% of what it loses "
        "without it. Out of rhythm it is worse than not there."
    ) in words
    assert "2 of 3 new songs are answered as bachata; only those" in words
    assert "0 of 12 new songs are answered as salsa: there is nothing to ask about" in words
    assert page.count("synthetic songs") >= 3


def test_bars_share_a_scale_and_start_at_nothing(page: str) -> None:
    zero = {float(one) for one in re.findall(r'<u style="left:([\d.]+)%', page)}
    (at,) = zero
    assert at == pytest.approx(100 * 9 / 10.5, abs=0.01)
    bars = [tuple(map(float, one)) for one in re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%', page)]
    assert [round(left + width, 1) if left + width <= at + 0.02 else left for left, width in bars] == pytest.approx(
        [at] * 5, abs=0.1
    )
    assert bars[0][1] == pytest.approx(100 * 6 / 10.5, abs=0.01)


def test_a_genre_heard_in_several_instruments_is_said_to_be() -> None:
    told = {("piano", MUTED): (-0.5, 0.25), ("bass", MUTED): (0.0, 0.0)}
    page = str(section([Hearing("salsa", 2, 2, effects(told))]))
    assert "No single instrument is missed in every song" in text(page)

"""The section about instruments: table, bars and findings."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping

import pytest

from tumbao.datasets.demo.instruments import MUTED, OTHER_RHYTHM, OTHER_SOUND, Ablation, Effect
from tumbao.serving.explain.page import instruments_section


def effects(moved: Mapping[tuple[str, str], tuple[float, ...]]) -> tuple[Effect, ...]:
    return tuple(
        Effect("bachata", 1_000 + song, name, way, 0.9, 0.25, value, correct=value > -5)
        for (name, way), values in moved.items()
        for song, value in enumerate(values)
    )


def text(page: str) -> str:
    return " ".join(html.unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


@pytest.fixture(scope="module")
def page() -> str:
    changes = {
        ("singer", MUTED): (0.5, 1.5),
        ("guira", MUTED): (-8.0, -4.0),
        ("guira", OTHER_SOUND): (-1.0, -2.0),
        ("guira", OTHER_RHYTHM): (-9.0, -7.0),
        ("bass", MUTED): (-1.0, 0.5),
    }
    results = Ablation("bachata", 3, 2, effects(changes)), Ablation("salsa", 12, 0, ())
    return str(instruments_section(results))


def test_rows_are_sorted_by_the_effect_of_muting(page: str) -> None:
    rows = [text(row) for row in re.findall(r"<tr class.*?</tr>", page)]
    assert rows == [
        "güira defining 1 of 2 90.0 % → 25.0 % −6.0 −8.0 … −4.0",
        "the same notes with another sound 2 of 2 90.0 % → 25.0 % −1.5 −2.0 … −1.0",
        "the same sound, out of rhythm 0 of 2 90.0 % → 25.0 % −8.0 −9.0 … −7.0",
        "bass 2 of 2 90.0 % → 25.0 % −0.2 −1.0 … +0.5",
        "singer 2 of 2 90.0 % → 25.0 % +1.0 +0.5 … +1.5",
    ]


def test_findings_are_described_in_sentences(page: str) -> None:
    words = text(page)
    assert (
        "Muting the güira (a defining instrument) has the largest effect. "
        "Without it, 1 of 2 songs are still classified as bachata. "
        "With another sound, the loss is 25.0 % of the loss without it. "
        "Out of rhythm, the loss is larger than without it."
    ) in words
    assert "whose muting has the largest effect: its notes" in words
    assert "2 of 3 new songs are classified as bachata; only these" in words
    assert "0 of 12 new songs are classified as salsa: there is nothing to analyse" in words
    assert page.count("synthetic songs") >= 3


def test_bars_start_at_zero_of_one_scale(page: str) -> None:
    (zero,) = {float(one) for one in re.findall(r'<u style="left:([\d.]+)%', page)}
    assert zero == pytest.approx(100 * 9 / 10.5, abs=0.01)
    bars = [tuple(map(float, one)) for one in re.findall(r'<i style="left:([\d.]+)%;width:([\d.]+)%', page)]
    ends = [left if left > zero - 0.02 else left + width for left, width in bars]
    assert ends == pytest.approx([zero] * 5, abs=0.02)
    assert bars[0][1] == pytest.approx(100 * 6 / 10.5, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "findings"),
    [
        pytest.param(
            {("bass", MUTED): (-9.0, 0.5), ("guira", MUTED): (-3.0, -1.0), ("guira", OTHER_SOUND): (-1.0, -1.0)},
            "Muting the bass (not a defining instrument) has the largest effect, though not in every song. "
            "Without it, 1 of 2 songs are still classified as bachata. "
            "Among the defining instruments, the güira has the largest effect. "
            "With another sound, the loss is 50.0 % of the loss without it.",
            id="an instrument that is not defining",
        ),
        pytest.param(
            {("bass", MUTED): (-2.0, -2.0), ("guira", MUTED): (1.0, 0.0), ("guira", OTHER_RHYTHM): (-3.0, -3.0)},
            "Muting the bass (not a defining instrument) has the largest effect. "
            "Without it, 2 of 2 songs are still classified as bachata. "
            "Muting the defining instruments has no effect, so the controls are not informative.",
            id="no effect of defining instruments",
        ),
        pytest.param(
            {("bass", MUTED): (0.0, 0.0), ("singer", MUTED): (-0.5, 2.0)},
            "Muting any single instrument does not reduce the mean log-odds of the genre.",
            id="no effect",
        ),
    ],
)
def test_findings_depend_on_the_largest_effect(
    changes: Mapping[tuple[str, str], tuple[float, ...]], findings: str
) -> None:
    page = str(instruments_section([Ablation("bachata", 2, 2, effects(changes))]))
    assert f"these are analysed. {findings} Muted Still bachata" in text(page)

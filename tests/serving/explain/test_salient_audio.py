"""The place that counts is found in seconds and Hz, and the sound cut out of it holds nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.serving.explain.planted import PLANTED, noise
from tumbao.serving.explain import attribution_report
from tumbao.serving.explain.attribution import BANDS
from tumbao.serving.explain.attribution_report import Region
from tumbao.serving.explain.faithfulness import CELLS
from tumbao.serving.style import height_of

RATE = PLANTED.sample_rate_hz
SECONDS = np.arange(PLANTED.fragment_samples) / RATE


def level_db(samples: np.ndarray, hz: float) -> float:
    """Measure how loud a frequency is, in dB of a sine of amplitude 1."""
    window = np.hanning(len(samples))
    turns = np.exp(-2j * np.pi * hz * np.arange(len(samples)) / RATE)
    return 20 * np.log10(2 * abs(np.sum(samples * window * turns)) / window.sum() + 1e-12)


@pytest.mark.parametrize("height", [0.05, 0.5, 0.95])
def test_frequencies_are_those_of_the_axis(height: float) -> None:
    assert height_of(attribution_report.hz_at(height, PLANTED), PLANTED) == pytest.approx(height, abs=1e-3)


@pytest.mark.parametrize("parts", [CELLS, BANDS])
def test_bands_reach_from_end_to_end_of_the_axis(parts: int) -> None:
    bounds = attribution_report.band_edges(PLANTED, parts)
    assert (bounds[0], bounds[-1], len(bounds)) == (PLANTED.mel_max_hz, PLANTED.mel_min_hz, parts + 1)
    heights = [height_of(hz, PLANTED) for hz in bounds[1:-1]]
    np.testing.assert_allclose(heights, np.arange(parts - 1, 0, -1) / parts, atol=0.5 / 60 + 1e-3)


def test_a_cell_is_found_in_seconds_and_hertz() -> None:
    importance = np.zeros((60, 80))
    importance[8:12, 16:21] = 1  # the third cell from above, about the fourth from the left
    found = attribution_report.region(importance, PLANTED)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((0.8, 1.05), abs=0.06)
    heights = [height_of(hz, PLANTED) for hz in (found.low_hz, found.high_hz)]
    assert heights == pytest.approx([48 / 60, 52 / 60], abs=1e-3)


def test_a_band_is_found_over_all_time_and_a_moment_over_all_bands() -> None:
    band, moment = np.zeros((60, 80)), np.zeros((60, 80))
    band[20:24] = 1
    moment[:, 32:37] = 1
    found = attribution_report.region(band, PLANTED)
    assert (found.start_seconds, found.end_seconds) == (0, 4)
    found = attribution_report.region(moment, PLANTED)
    assert found.end_seconds - found.start_seconds < 0.6
    assert (found.low_hz, found.high_hz) == (0, 4_000)


def test_what_speaks_against_the_genre_is_left_out() -> None:
    importance = np.full((60, 80), -1.0)
    importance[40:44] = 3
    importance[40:44, :40] = -1
    found = attribution_report.region(importance, PLANTED)
    assert (found.start_seconds, found.end_seconds) == pytest.approx((2, 4), abs=0.15)


def test_the_cut_holds_its_band_and_its_time_alone() -> None:
    inside, below, above = (np.sin(2 * np.pi * hz * SECONDS) for hz in (1_000, 400, 2_500))
    late = np.where(SECONDS > 2.5, np.sin(2 * np.pi * 1_100 * SECONDS), 0)
    samples = (0.1 * (inside + below + above + late)).astype(np.float32)
    sound = attribution_report.cut(samples, Region(1.0, 2.25, 800.0, 1_300.0), PLANTED)
    assert sound.dtype == np.float32 and len(sound) == 1.25 * RATE
    heard = level_db(sound, 1_000)
    assert all(level_db(sound, hz) < heard - 50 for hz in (400, 1_100, 2_500))
    assert np.abs(sound).max() == pytest.approx(np.abs(samples).max())
    assert abs(sound[0]) < 1e-3 > abs(sound[-1])


def test_an_open_band_lets_everything_pass() -> None:
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, PLANTED.fragment_samples).astype(np.float32)
    sound = attribution_report.cut(samples, Region(0.0, 4.0, 0.0, 4_000.0), PLANTED)
    np.testing.assert_allclose(sound[100:-100], samples[100:-100], rtol=0.01)


def test_the_cut_of_silence_is_silent() -> None:
    sound = attribution_report.cut(
        np.zeros(PLANTED.fragment_samples, np.float32), Region(1.0, 2.0, 500.0, 600.0), PLANTED
    )
    assert not sound.any()


@pytest.mark.parametrize(
    "part", [Region(2.0, 2.0, 0.0, 100.0), Region(0.0, 5.0, 0.0, 100.0), Region(0.0, 1.0, 900.0, 4_001.0)]
)
def test_a_region_that_is_not_there_is_refused(part: Region) -> None:
    with pytest.raises(ValueError, match=r"within 4 s and 4000 Hz\. Received: Region"):
        attribution_report.cut(np.zeros(PLANTED.fragment_samples, np.float32), part, PLANTED)


def test_only_the_important_cells_are_left_of_a_picture() -> None:
    levels, importance = noise(0), np.tile(np.arange(80.0), (60, 1))
    left = attribution_report.masked(levels, importance)
    assert left.dtype == np.uint8
    kept = round(attribution_report.MAX_SHARE * CELLS**2) / CELLS * 80 / CELLS
    assert kept == pytest.approx(16)
    np.testing.assert_array_equal(left[:, 64:], levels[:, 64:])
    assert not left[:, :64].any()

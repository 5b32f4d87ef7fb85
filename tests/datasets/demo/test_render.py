from __future__ import annotations

import numpy as np
import pytest

from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, Waveform, waveform
from tumbao.datasets.demo.score import Score

SECOND = SAMPLE_RATE_HZ


def solo(program: int, *pitches: int, drum: bool = False, pan: int = 64, velocities: tuple[int, ...] = ()) -> Waveform:
    """Render one note a second."""
    score = Score(60, (4, 4), 0, is_minor=False, facts={})
    track = score.track("solo", program, 100, pan, drum)
    for beat, pitch in enumerate(pitches):
        track.add(beat, 0.9, pitch, velocities[beat] if velocities else 100)
    return waveform(score.midi())


def on_harmonics(sound: Waveform, pitch: float) -> float:
    """Energy on the first eight harmonics of a pitch, a third of a semitone to each side."""
    spectrum = np.abs(np.fft.rfft(sound.mean(1) * np.hanning(len(sound)))) ** 2
    hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)
    harmonics = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 9)
    return float(spectrum[np.any(np.abs(hertz / harmonics[:, None] - 1) < 0.02, 0)].sum())


@pytest.mark.parametrize("program", [0, 21, 23, 24, 25, 27, 33, 52, 53, 56, 57, 61, 64, 66, 68, 69, 71, 73, 75, 79])
def test_instruments_play_in_tune(program: int) -> None:
    pitches = (33, 38, 45) if program == 33 else (60, 67, 74, 81)
    sound = solo(program, *pitches)
    for second, pitch in enumerate(pitches):
        note = sound[second * SECOND + 8_000 : second * SECOND + 40_000]
        shares = [on_harmonics(note, pitch + semitones) for semitones in (0, -1, -0.7, 0.7, 1)]
        assert shares[0] > 3 * max(shares[1:])


def test_drums_last_longer_than_a_click() -> None:
    drums = [37, 41, 43, 45, 56, 60, 61, 62, 63, 64, 65, 66, 67, 69, 70, 73, 74, 75]
    sound = np.abs(solo(0, *drums, drum=True))
    assert np.isfinite(sound).all()
    for second, drum in enumerate(drums):
        stroke = sound[second * SECOND : second * SECOND + SECOND // 5]
        assert (stroke > 0.03 * stroke.max()).any(1).sum() > 0.015 * SECOND, drum


def test_rendering_depends_on_the_song_alone_and_is_in_range() -> None:
    first, _, second = solo(25, 60), solo(21, 60), solo(25, 60)
    assert first.shape[1] == 2 and first.dtype == np.float32
    assert np.array_equal(first, second)
    assert 0.05 < np.abs(first).max() <= 1
    assert np.abs(first[-100:]).max() < 1e-3


def test_velocity_and_pan_change_the_level() -> None:
    sound = np.abs(solo(71, 60, 60, pan=20, velocities=(40, 110)))
    assert sound[SECOND:].max() > 3 * sound[: SECOND // 2].max()
    left, right = (sound**2).sum(0)
    assert left > 3 * right


def test_plucked_strings_decay_and_winds_do_not() -> None:
    def held(program: int) -> float:
        sound = np.abs(solo(program, 60))
        return float(sound[int(0.7 * SECOND) : int(0.8 * SECOND)].max() / sound.max())

    assert held(25) < 0.4 < held(71)

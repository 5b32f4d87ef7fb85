from __future__ import annotations

import numpy as np
import pytest

from tumbao.datasets.demo import render
from tumbao.datasets.demo.render import SAMPLE_RATE_HZ, Waveform, waveform
from tumbao.datasets.demo.score import Score


def solo(
    program: int, pitch: int, *, drum: bool = False, pan: int = 64, velocities: tuple[int, ...] = (100,)
) -> Waveform:
    score = Score(60, (4, 4), 0, {})
    track = score.track("solo", program, 100, pan, drum)
    for beat, velocity in enumerate(velocities):
        track.add(beat, 0.9, pitch, velocity)
    return waveform(score.midi())


def on_harmonics(sound: Waveform, pitch: float) -> float:
    """Energy that lies on the first eight harmonics of a pitch, a third of a semitone to each side."""
    spectrum = np.abs(np.fft.rfft(sound[6_000:38_000].mean(1) * np.hanning(32_000))) ** 2
    hertz = np.fft.rfftfreq(32_000, 1 / SAMPLE_RATE_HZ)
    harmonics = 440 * 2 ** ((pitch - 69) / 12) * np.arange(1, 9)
    return float(spectrum[np.any(np.abs(hertz / harmonics[:, None] - 1) < 0.02, 0)].sum())


@pytest.mark.parametrize("program", [0, 21, 23, 24, 25, 27, 33, 52, 53, 56, 57, 61, 64, 66, 68, 69, 71, 73, 75, 79])
def test_every_instrument_plays_in_tune(program: int) -> None:
    for pitch in (33, 38, 45) if program == 33 else (60, 67, 74, 81):
        sound = solo(program, pitch)
        shares = [on_harmonics(sound, pitch + semitones) for semitones in (0, -1, -0.7, 0.7, 1)]
        assert shares[0] > 3 * max(shares[1:])


@pytest.mark.parametrize("drum", [37, 41, 43, 45, 56, 60, 61, 62, 63, 64, 65, 66, 67, 69, 70, 73, 74, 75])
def test_every_drum_rings_for_more_than_a_click(drum: int) -> None:
    sound = np.abs(solo(0, drum, drum=True))
    assert np.isfinite(sound).all()
    assert (sound[: SAMPLE_RATE_HZ // 5] > 0.01 * sound.max()).any(1).sum() > 0.015 * SAMPLE_RATE_HZ


def test_the_same_midi_gives_the_same_sound_between_minus_one_and_one() -> None:
    first, second = solo(25, 60), solo(25, 60)
    assert first.shape[1] == 2 and first.dtype == np.float32
    assert np.array_equal(first, second)
    assert 0.05 < np.abs(first).max() <= 1


def test_velocity_is_heard() -> None:
    sound = np.abs(solo(71, 60, velocities=(40, 110)))
    soft, loud = sound[: SAMPLE_RATE_HZ // 2].max(), sound[SAMPLE_RATE_HZ:].max()
    assert loud > 3 * soft


def test_pan_is_heard() -> None:
    energy = (solo(71, 60, pan=20) ** 2).sum(0)
    assert energy[0] > 3 * energy[1]


def test_a_plucked_string_decays_and_a_wind_holds() -> None:
    def held(program: int) -> float:
        sound = np.abs(solo(program, 60))
        return float(sound[int(0.7 * SAMPLE_RATE_HZ) : int(0.8 * SAMPLE_RATE_HZ)].max() / sound.max())

    assert held(25) < 0.4 < held(71)


def test_the_end_is_silent() -> None:
    assert np.abs(solo(56, 60)[-100:]).max() < 1e-3


def test_a_missing_sound_font_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render.soundfont.pretty_midi, "__file__", "/nowhere/pretty_midi/__init__.py")
    with pytest.raises(FileNotFoundError, match=r"Expected: /nowhere/pretty_midi/TimGM6mb\.sf2"):
        render.soundfont.source()

"""Information kept by a mel image, measured by converting it back to sound and computing the image again."""

from __future__ import annotations

import dataclasses

import numpy as np

from tumbao.components.ingest.mel import mel_decibels
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.inversion import apart_db, decibels, drawn, sound


@dataclasses.dataclass(frozen=True, eq=False)
class Fidelity:
    """A sound and the information kept by its mel image.

    `again` is reconstructed from the image of `original` alone; both are float32 [fragment_samples]. `steps_db` is half
    a palette step, the largest error of the 8 bits alone. `picture_db` is the mean difference between the mel
    spectrogram and the one read from the image, `sound_db` between the image and that of `again`.
    """

    name: str
    original: np.ndarray
    again: np.ndarray
    steps_db: float
    picture_db: float
    sound_db: float


def fidelity(name: str, samples: np.ndarray, spec: MelSpec) -> Fidelity:
    """Measure the information kept by the mel image of a sound (mono float32 [fragment_samples] in [-1, 1])."""
    picture = drawn(samples, spec)
    again = sound(picture, spec)
    spectrogram = mel_decibels(samples[np.newaxis], spec).numpy()[0].T
    return Fidelity(
        name=name,
        original=samples,
        again=again,
        steps_db=spec.dynamic_range_db / 255 / 2,
        picture_db=float(np.abs(decibels(picture, spec) - spectrogram).mean()),
        sound_db=apart_db(drawn(again, spec), picture, spec),
    )


def semitone_hz(spec: MelSpec) -> float:
    """Find the frequency up to which mel bands are a semitone or more apart, so that tuning cannot be resolved.

    This is the centre of the highest such band, or the lowest frequency if there is none.
    """
    import librosa

    centres = librosa.mel_frequencies(n_mels=spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)[1:-1]
    apart = centres[:-1][centres[1:] / centres[:-1] >= 2 ** (1 / 12)]
    return float(apart.max(initial=spec.mel_min_hz))


def known_sound(spec: MelSpec) -> np.ndarray:
    """Synthesize a test sound with a peak of 0.9: a scale of plucked tones over a drum, two beats per second."""
    seconds = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    since = seconds % 0.5
    hertz = 220 * 2 ** ((seconds // 0.5 % 8) / 7)
    plucked = sum(np.exp(-5 * since) * np.sin(2 * np.pi * part * hertz * since) / part for part in (1, 2, 3, 4, 5))
    drum = np.exp(-40 * since) * np.random.default_rng(0).standard_normal(len(seconds))
    samples = plucked + 0.5 * drum
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)

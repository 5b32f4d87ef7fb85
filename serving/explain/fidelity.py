"""What a mel image keeps of a sound, measured: drawn, made sound again from the picture alone, and drawn again."""

from __future__ import annotations

import dataclasses

import numpy as np

from tumbao.components.ingest.mel import mel_decibels
from tumbao.schema.mel_spec import MelSpec
from tumbao.serving.explain.inversion import apart_db, decibels, drawn, sound


@dataclasses.dataclass(frozen=True, eq=False)
class Fidelity:
    """A sound and what its picture keeps of it.

    Parameters
    ----------
    name : str
        What sound.
    original : np.ndarray [shape=(fragment_samples,), dtype=float32]
        The sound.
    again : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Made of its picture alone.
    steps_db : float
        Half a step of the palette, the most that 8 bits alone lose, in dB.
    picture_db : float
        Mean difference between the mel spectrogram and what can be read from the picture, in dB.
    sound_db : float
        Mean difference between the picture and that of `again`, in dB.
    """

    name: str
    original: np.ndarray
    again: np.ndarray
    steps_db: float
    picture_db: float
    sound_db: float


def fidelity(name: str, samples: np.ndarray, spec: MelSpec) -> Fidelity:
    """Measure what the picture of a sound keeps.

    Parameters
    ----------
    name : str
        What the sound is called.
    samples : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Mono, in [-1, 1].
    spec : MelSpec
        How it is drawn.

    Returns
    -------
    fidelity : Fidelity
        What was measured.
    """
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
    """Find up to where the mel bands stand a semitone or more apart, so that tuning cannot be told.

    Parameters
    ----------
    spec : MelSpec
        Parameters of the pictures.

    Returns
    -------
    hz : float
        Centre of the highest such band; the lowest frequency of all if there is none.
    """
    import librosa

    centres = librosa.mel_frequencies(n_mels=spec.mel_bands + 2, fmin=spec.mel_min_hz, fmax=spec.mel_max_hz)[1:-1]
    apart = centres[:-1][centres[1:] / centres[:-1] >= 2 ** (1 / 12)]
    return float(apart.max(initial=spec.mel_min_hz))


def known_sound(spec: MelSpec) -> np.ndarray:
    """Make a sound to measure with where there is no song: a scale of plucked tones over a drum, two beats a second.

    Parameters
    ----------
    spec : MelSpec
        Gives rate and length.

    Returns
    -------
    samples : np.ndarray [shape=(fragment_samples,), dtype=float32]
        Mono, its loudest sample at 0.9.
    """
    seconds = np.arange(spec.fragment_samples) / spec.sample_rate_hz
    since = seconds % 0.5
    hertz = 220 * 2 ** ((seconds // 0.5 % 8) / 7)
    plucked = sum(np.exp(-5 * since) * np.sin(2 * np.pi * part * hertz * since) / part for part in (1, 2, 3, 4, 5))
    drum = np.exp(-40 * since) * np.random.default_rng(0).standard_normal(len(seconds))
    samples = plucked + 0.5 * drum
    return (0.9 * samples / np.abs(samples).max()).astype(np.float32)

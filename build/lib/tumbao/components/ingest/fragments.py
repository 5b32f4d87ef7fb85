"""From a song's samples to its 30-second fragments.

Fragments are consecutive and do not overlap. The tail that does not fill a fragment is left out, in training and in
prediction alike. A song shorter than one fragment is padded with silence at its end and flagged; one shorter than
`MIN_SONG_SECONDS` is refused.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tumbao.components.ingest.waveform import AudioError, Reason
from tumbao.schema.mel_spec import MelSpec

MIN_SONG_SECONDS = 3.0
"""A song shorter than this says too little about its genre and is refused, in seconds."""


def cut(samples: np.ndarray, spec: MelSpec, path: str | Path = "song") -> tuple[np.ndarray, bool]:
    """Cut a song into fragments.

    Parameters
    ----------
    samples : np.ndarray [shape=(n,), dtype=float32]
        Mono samples at `spec.sample_rate_hz`.
    spec : MelSpec
        Says how long a fragment is.
    path : str or Path
        The song's file, for the error.

    Returns
    -------
    fragments : np.ndarray [shape=(k, spec.fragment_samples), dtype=float32]
        Consecutive fragments, k >= 1; a view of the samples unless padded.
    padded : bool
        The song was shorter than a fragment and silence was added at its end.

    Raises
    ------
    AudioError
        If the song is shorter than `MIN_SONG_SECONDS`.
    ValueError
        If the samples are not one row of float32.

    Examples
    --------
    >>> fragments, padded = cut(np.zeros(70 * 22_050, np.float32), MelSpec())
    >>> fragments.shape, padded
    ((2, 661500), False)
    """
    if samples.ndim != 1 or samples.dtype != np.float32:
        raise ValueError(
            f"Expected mono float32 samples of shape (n,). Received: shape={samples.shape}, dtype={samples.dtype}. "
            "Did you forget to decode?"
        )
    if len(samples) < MIN_SONG_SECONDS * spec.sample_rate_hz:
        seconds = len(samples) / spec.sample_rate_hz
        raise AudioError(path, Reason.TOO_SHORT, f"lasts {seconds:.1f} s, expected at least {MIN_SONG_SECONDS:.0f} s")
    if len(samples) < spec.fragment_samples:
        return np.pad(samples, (0, spec.fragment_samples - len(samples)))[np.newaxis], True
    count = len(samples) // spec.fragment_samples
    return samples[: count * spec.fragment_samples].reshape(count, spec.fragment_samples), False


def fragment_count(seconds: float, spec: MelSpec) -> int:
    """Count the fragments that `cut` makes of a song.

    Parameters
    ----------
    seconds : float >= 0
        Length of the song, in seconds.
    spec : MelSpec
        Says how long a fragment is.

    Returns
    -------
    int
        Number of fragments; 0 where `cut` refuses the song.

    Examples
    --------
    >>> [fragment_count(seconds, MelSpec()) for seconds in (2.9, 3.0, 59.9, 60.0)]
    [0, 1, 1, 2]
    """
    samples = round(seconds * spec.sample_rate_hz)
    if samples < MIN_SONG_SECONDS * spec.sample_rate_hz:
        return 0
    return max(1, samples // spec.fragment_samples)

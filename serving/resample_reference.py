"""Reference implementation of the audio preprocessing, for ports to other languages.

Every pushed model contains a copy under `edge/`, which requires only Python and NumPy. From a file's samples to the
input of the model:

1. **Mix**: at the file's own rate, each sample is the weighted mean of all channels, see `WEIGHTS`; for mono and stereo
   it is the plain mean. For each whole second of the file (a remainder belongs to the last second, and a shorter song
   is one second), two decisions depend on C, the covariance of the channels in that second. Let the weights w sum to 1.
   First, channels cancel each other if w·C·w < `MIN_POWER` · sum(w_i² C_ii); only in that case, in order from the
   second channel on, each channel whose covariance with the mix of the channels before it is negative gets the weight
   -w_i. Second, if the square of the mix's mean is more than `MAX_OFFSET_POWER` of its variance, the mean is
   subtracted. If a second is mixed differently from the previous one, its first rate // `FADES_A_SECOND` samples fade
   linearly from the previous mix to its own.
2. **Resample**, if the rates differ. With r = rate_out / rate_in and s = min(1, r), sample m of the result is
   the sum over n of x[n] · h(m / r - n), where x is 0 outside the song and
   h(t) = s·c · sinc(s·c·t) · I0(β·sqrt(1 - (s·t / L)²)) / I0(β) for s·t between -L and L, else 0,
   with sinc(t) = sin(πt) / (πt), c = `CUTOFF`, L = `REACH` and β = `BETA`. The result has round(r · n) samples.
   At 11025, 22050 and 44100 Hz the result equals that of soxr's quality HQ, with which the training songs were
   resampled; at other rates soxr's filter differs slightly in the highest 5 % of the band.
3. **Cut** into consecutive fragments. The remainder at the end is not used; a song shorter than one fragment is
   repeated until the fragment is full. A fragment that exceeds ±1 is divided by its largest magnitude. A fragment with
   no sample beyond ±`SILENCE` contains no information about the genre: leave it out.

    python reference.py input.wav waveform.f32    # the first fragment: float32, little-endian
"""

from __future__ import annotations

import json
import math
import sys
import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np

SILENCE = 1e-4
"""A fragment is silent if no sample exceeds this magnitude."""

MIN_POWER = 0.5
"""Power of a mix below which channels cancel, as a share of the power that uncorrelated channels would have."""

MAX_OFFSET_POWER = 0.5
"""Largest power of a constant offset, as a share of the mix's variance."""

FADES_A_SECOND = 20
"""Number of fades that fit into one second; a fade lasts 50 ms."""

_CENTRE, _SURROUND = 2**0.5, 0.5**0.5
WEIGHTS = {
    3: (1, 1, _CENTRE),
    4: (1, 1, _SURROUND, _SURROUND),
    5: (1, 1, _CENTRE, _SURROUND, _SURROUND),
    6: (1, 1, _CENTRE, 0, _SURROUND, _SURROUND),
    7: (1, 1, _CENTRE, 0, 1, _SURROUND, _SURROUND),
    8: (1, 1, _CENTRE, 0, _SURROUND, _SURROUND, _SURROUND, _SURROUND),
}
"""Weights by number of channels, in the channel order of WAVE, before division by their sum.

For other numbers of channels all weights are equal. From six channels on, the fourth is the low-frequency channel. If a
file declares other loudspeakers, use their weights: 1 for front left and right and for a rear centre, sqrt(2) for the
centre, sqrt(1/2) for the surrounds, 0 for low frequencies.
"""

CUTOFF = 0.956872
"""Frequency at which the filter's gain is one half, as a share of half the lower rate."""

REACH = 97.25
"""Half the length of the filter, in samples of the lower rate."""

BETA = 13.04
"""Shape parameter of the filter's Kaiser window."""


def read_wav(path: str | Path) -> tuple[np.ndarray, int]:
    """Read a WAV file with 16-bit samples: float32 [n, channels] in [-1, 1), and the sampling rate in Hz."""
    with wave.open(str(path), "rb") as file:
        if file.getsampwidth() != 2:
            raise ValueError(f"{path}: expected samples of 2 bytes. Received: {file.getsampwidth()}")
        samples = np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32_768
        return samples.reshape(-1, file.getnchannels()), file.getframerate()


def mix(channels: np.ndarray, rate_hz: int) -> np.ndarray:
    """Mix the channels of a song to mono: float32 [n, channels] → float32 [n]."""
    count = channels.shape[1]
    weights = np.array(WEIGHTS.get(count, [1] * count), np.float64)
    weights /= weights.sum()
    seconds = max(1, len(channels) // rate_hz)
    mono = np.empty(len(channels), np.float32)
    before = None
    for second in range(seconds):
        gains, offset = _gains(channels[second * rate_hz : (second + 1) * rate_hz], weights)
        part = slice(second * rate_hz, (second + 1) * rate_hz if second < seconds - 1 else None)
        mono[part] = channels[part] @ gains - offset
        if before is not None and not (offset == before[1] and np.array_equal(gains, before[0])):
            fade = np.arange(1, rate_hz // FADES_A_SECOND + 1) / (rate_hz // FADES_A_SECOND)
            part = slice(part.start, part.start + len(fade))
            former = channels[part] @ before[0] - before[1]
            mono[part] = former + fade * (mono[part] - former)
        before = gains, offset
    return mono


def _gains(second: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, float]:
    means = second.mean(axis=0, dtype=np.float64)
    centred = second - means
    covariance = centred.T @ centred / len(second)
    gains = weights.copy()
    if weights @ covariance @ weights < MIN_POWER * (weights**2 @ covariance.diagonal()):
        for channel in range(1, len(gains)):
            if gains[:channel] @ covariance[:channel, channel] < 0:
                gains[channel] *= -1
    offset = float(gains @ means)
    return gains, offset if offset**2 > MAX_OFFSET_POWER * (gains @ covariance @ gains) else 0.0


def resample(samples: np.ndarray, rate_in_hz: int, rate_out_hz: int) -> np.ndarray:
    """Resample mono samples: float32 [n] → float32 [m], m = round(n · rate_out_hz / rate_in_hz)."""
    if rate_in_hz == rate_out_hz:
        return samples
    divisor = math.gcd(rate_in_hz, rate_out_hz)
    up, down = rate_out_hz // divisor, rate_in_hz // divisor
    scale = min(1.0, rate_out_hz / rate_in_hz)
    reach = math.ceil(REACH / scale)
    padded = np.concatenate([np.zeros(reach), samples, np.zeros(reach + down)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1)  # row n is centred on samples[n]
    resampled = np.zeros((2 * len(samples) * up + down) // (2 * down), np.float32)
    for phase in range(min(up, len(resampled))):  # samples of the result that are `up` apart share one filter phase
        first, remainder = divmod(phase * down, up)
        time = scale * (remainder / up - np.arange(-reach, reach + 1))
        window = np.i0(BETA * np.sqrt(np.maximum(0, 1 - (time / REACH) ** 2))) / np.i0(BETA)
        taps = np.where(np.abs(time) < REACH, scale * CUTOFF * np.sinc(CUTOFF * time) * window, 0)
        part = resampled[phase::up]
        part[:] = np.einsum("nt,t->n", windows[first::down][: len(part)], taps)
    return resampled


def fragments(channels: np.ndarray, rate_hz: int, rate_out_hz: int, fragment_samples: int) -> Iterator[np.ndarray]:
    """Mix, resample and cut a song, float32 [n, channels], into inputs `waveform` of the model without a batch axis.

    `mel` in model.json has `rate_out_hz`, as `sample_rate_hz`, and the seconds of a fragment. Silent fragments are left
    out.
    """
    samples = resample(mix(channels, rate_hz), rate_hz, rate_out_hz)
    samples = np.resize(samples, max(fragment_samples, len(samples)))
    for start in range(0, len(samples) - fragment_samples + 1, fragment_samples):
        fragment = samples[start : start + fragment_samples]
        peak = np.abs(fragment).max()
        if peak >= SILENCE:
            yield fragment / max(peak, np.float32(1))


if __name__ == "__main__":
    model = json.loads(Path(__file__).with_name("expected.json").read_text(encoding="utf-8"))["waveform"]
    first = next(fragments(*read_wav(sys.argv[1]), model["sample_rate_hz"], model["shape"][1]))
    first.astype("<f4").tofile(sys.argv[2])
